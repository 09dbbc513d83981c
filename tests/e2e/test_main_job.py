"""The whole of Collegium, by the launcher that `make demo` uses, with a tiny random Llama and toy records."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from contracts.digests import sha256_digest
from contracts.task import TaskSpec
from tier_local.processes import MARK_VARIABLE

PROPOSERS = 2
RUN_TIMEOUT_S = 540.0
"""Three times what it takes on two quiet cores."""


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Callable[..., "subprocess.Popen[bytes]"]]:
    """Starts launchers below a temporary folder; kills what a failed test left."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*options: str) -> "subprocess.Popen[bytes]":
        command = [
            sys.executable,
            "-m",
            "deploy.local",
            "--profile",
            "tiny",
            "--folder",
            str(tmp_path / "run"),
        ]
        command += ["--model-cache", str(tmp_path / "models"), *options]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float = 150.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, f"waited {timeout_s:.0f} s in vain: {what}"
        time.sleep(0.1)


def command_line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except (psutil.NoSuchProcess, psutil.AccessDenied):  # it ended meanwhile; a zombie counts as ended
        return []


def processes_below(folder: Path) -> list[str]:
    """Command lines of all marked processes of this run, found by its folder."""
    found = []
    for process in psutil.process_iter():
        try:
            environment = process.environ()
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        line = " ".join(command_line(process))
        if MARK_VARIABLE in environment and str(folder) in line + " ".join(environment.values()):
            found.append(line)
    return found


@pytest.mark.timeout(600)
def test_a_round_is_final_verified_and_paid(
    tmp_path: Path, launch: Callable[..., "subprocess.Popen[bytes]"]
) -> None:
    # In deployed federations: the simulator's path is the shorter part of this one, and has its own tests.
    process = launch("--inner", "deployed")
    output = process.communicate(timeout=RUN_TIMEOUT_S)[0].decode()
    assert process.returncode == 0, output

    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["inner"] == "deployed"
    rounds = report["rounds"]
    assert [entry["phase"] for entry in rounds] == ["final"]
    assert [len(entry["proposals"]) for entry in rounds] == [PROPOSERS]
    assert all(proposal["accepted"] for entry in rounds for proposal in entry["proposals"])
    spec = TaskSpec.parse((tmp_path / "run" / "task" / "task.json").read_bytes())
    assert rounds[0]["parent"] == spec.genesis_digest
    assert report["verified"] is True
    audit = report["audit"]
    assert audit["epochs"] >= 1
    assert 1 <= audit["anchored_rows"] <= audit["rows"]
    assert "alone" not in report["accuracy"]
    # Final says that the voters' median improvement by the aggregate is not below 0; how much one tiny round
    # adds on the test set is nobody's promise.
    assert len(report["accuracy"]["rounds"]) == 1

    # What is lost to rounding, and closeness that no voter earned, goes back to the pool.
    paid = sum(report["rewards"].values())
    assert 0.5 * 300 * 10**18 < paid <= 300 * 10**18

    # The processes that hold the nodes' keys signed what the nodes sent.
    logs = [log.read_text() for log in (tmp_path / "run" / "logs").glob("signer-*.log")]
    assert sum("proposal signed" in log for log in logs) == PROPOSERS

    artifact = rounds[-1]["aggregate"].removeprefix("0x")
    stored = tmp_path / "run" / "orchestrator" / "artifacts" / artifact[:2] / artifact
    assert sha256_digest(stored.read_bytes()) == rounds[-1]["aggregate"]
    assert (tmp_path / "run" / "adapter" / "adapter_config.json").is_file()
    assert processes_below(tmp_path / "run") == []


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_when_the_launcher_is_ended(
    tmp_path: Path, launch: Callable[..., "subprocess.Popen[bytes]"], signal_number: signal.Signals
) -> None:
    process = launch()
    superlink_log = tmp_path / "run" / "logs" / "superlink.log"
    wait_until(lambda: superlink_log.exists() or process.poll() is not None, "the SuperLink to be started")
    assert process.poll() is None
    assert processes_below(tmp_path / "run")

    os.kill(process.pid, signal_number)
    process.wait(timeout=60)
    wait_until(lambda: processes_below(tmp_path / "run") == [], "every process of the run to be gone")


def test_a_daemon_that_dies_is_named_with_the_end_of_its_log(
    tmp_path: Path, launch: Callable[..., "subprocess.Popen[bytes]"]
) -> None:
    process = launch()
    worker_log = tmp_path / "run" / "logs" / "worker.log"
    wait_until(lambda: worker_log.exists() or process.poll() is not None, "the worker to be started")
    workers = [
        child for child in psutil.Process(process.pid).children() if command_line(child)[-1:] == ["worker"]
    ]
    assert len(workers) == 1
    workers[0].kill()

    output = process.communicate(timeout=60)[0].decode()
    assert process.returncode == 1
    assert re.search(r"worker ended with exit code -9; the end of .*worker\.log", output)
    wait_until(lambda: processes_below(tmp_path / "run") == [], "every process of the run to be gone")


def test_an_unknown_inner_environment_is_refused(launch: Callable[..., "subprocess.Popen[bytes]"]) -> None:
    process = launch("--inner", "cloud")
    output = process.communicate(timeout=60)[0].decode()
    assert process.returncode == 2
    assert "invalid choice: 'cloud' (choose from 'simulator', 'deployed')" in output


def test_a_second_launcher_in_the_same_folder_is_refused(
    tmp_path: Path, launch: Callable[..., "subprocess.Popen[bytes]"]
) -> None:
    first = launch()
    wait_until(lambda: (tmp_path / "run" / "logs").is_dir(), "the first run to begin")
    second = launch()
    output = second.communicate(timeout=60)[0].decode()
    assert second.returncode == 1
    assert "another run uses" in output
    assert first.poll() is None


def test_a_folder_with_something_else_is_not_emptied(
    tmp_path: Path, launch: Callable[..., "subprocess.Popen[bytes]"]
) -> None:
    precious = tmp_path / "run" / "thesis.txt"
    precious.parent.mkdir()
    precious.write_text("ten years of work")
    process = launch()
    output = process.communicate(timeout=60)[0].decode()
    assert process.returncode == 1
    assert "was not made by this launcher" in output
    assert precious.read_text() == "ten years of work"
