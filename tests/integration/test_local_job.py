"""Inner rounds through NVFlare's simulator: what comes out, and that nothing stays behind.

Each job starts a server and two sites as processes; their imports are most of the time it takes.
"""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file

from contracts.digests import sha256_digest
from tests.integration.local_world import LocalWorld, draft, make_world, run, start

DEADLINE_SECONDS = 90.0
SERVER_AND_SITES = 4
"""Processes that carry the mark in mid-job, at least: NVFlare's main process, its server, two sites."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> LocalWorld:
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def endless(tmp_path_factory: pytest.TempPathFactory) -> LocalWorld:
    """A task that trains until it is stopped."""
    return make_world(tmp_path_factory.mktemp("endless")).with_steps(100_000)


@pytest.fixture(scope="module")
def trained(world: LocalWorld, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished train job."""
    out = tmp_path_factory.mktemp("trained")
    done = run(*world.job("train", out))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return out


def report_in(folder: Path) -> dict[str, object]:
    report: dict[str, object] = json.loads((folder / "report.json").read_bytes())
    return report


def wait_until(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < end, f"not within {DEADLINE_SECONDS} s: {what}"
        time.sleep(0.05)


class RunningJob:
    """A job that runs until it is stopped; its processes are known by a variable in their environment."""

    def __init__(self, world: LocalWorld, out: Path, *more: str) -> None:
        self.out = out
        self._mark = f"TEST_JOB={uuid.uuid4().hex}"
        name, _, value = self._mark.partition("=")
        self.process = start(world.job("train", out, *more), **{name: value})

    def members(self) -> list[int]:
        """All living processes of the job, its supervisor and guardian included."""
        return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if self._is_member(pid)]

    def sites(self) -> list[int]:
        """The processes in which hospitals work."""
        return [pid for pid in self.members() if b"simulator_worker" in _read(pid, "cmdline")]

    def wait_until_training(self) -> None:
        def training() -> bool:
            assert self.process.poll() is None, self.process.stderr and self.process.stderr.read()
            progress = self.out / "progress.json"
            return progress.exists() and json.loads(progress.read_bytes())["stage"] == "training"

        wait_until(training, "the hospitals train")
        assert len(self.members()) >= SERVER_AND_SITES
        assert len(self.sites()) == 2

    def wait_until_gone(self) -> None:
        wait_until(lambda: not self.members(), "no process of the job is left")
        left = sorted(path.name for path in self.out.iterdir())
        assert set(left) <= {"job.log", "progress.json"}

    def _is_member(self, pid: int) -> bool:
        return self._mark.encode() in _read(pid, "environ").split(b"\0")


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def test_a_train_job_leaves_the_networks_adapter_and_report(world: LocalWorld, trained: Path) -> None:
    adapter = (trained / "adapter.safetensors").read_bytes()
    world.spec.manifest.decode(adapter)
    report = report_in(trained)
    assert report["kind"] == "train"
    assert report["adapter_digest"] == sha256_digest(adapter)
    assert report["adapter_bytes"] == len(adapter)
    assert report["parent_digest"] == world.spec.genesis_digest != report["adapter_digest"]
    assert report["task_digest"] == world.spec.digest
    assert (report["sites"], report["records"], report["steps_per_site"]) == (2, 48, 6)
    assert report["sites_left_out"] == {}
    assert json.loads((trained / "progress.json").read_bytes()) == {
        "stage": "done",
        "done": 12,
        "total": 12,
        "unit": "steps",
    }


def test_the_same_inputs_give_the_same_adapter(world: LocalWorld, trained: Path, tmp_path: Path) -> None:
    assert run(*world.job("train", tmp_path)).returncode == 0
    again = (tmp_path / "adapter.safetensors").read_bytes()
    assert again == (trained / "adapter.safetensors").read_bytes()


def test_an_evaluate_job_measures_parent_and_candidates(
    world: LocalWorld, trained: Path, tmp_path: Path
) -> None:
    candidate = trained / "adapter.safetensors"
    done = run(
        *world.job("evaluate", tmp_path),
        *("--candidate", f"all={candidate}", "--candidate", f"without-0={world.genesis_file}"),
    )
    assert (done.returncode, done.stderr) == (0, "")
    report = report_in(tmp_path)
    losses = report["losses_nats"]
    assert isinstance(losses, dict)
    assert losses.keys() == {"parent", "all", "without-0"}
    assert losses["parent"] == losses["without-0"] != losses["all"]
    assert (report["sites"], report["records"], report["strata"]) == (2, 16, 2)
    # What a hospital counted is nowhere in what leaves the network.
    assert "hospital" not in json.dumps(report)


def test_adapters_are_tested_on_public_records(world: LocalWorld, trained: Path, tmp_path: Path) -> None:
    done = run(
        *("test", "--spec", str(world.spec_file), "--records", str(world.test_file), "--base", "base"),
        *("--adapter", f"one={trained / 'adapter.safetensors'}", "--adapter", f"zero={world.genesis_file}"),
        *("--model-cache", str(world.model_cache), "--out", str(tmp_path)),
    )
    assert (done.returncode, done.stderr) == (0, "")
    results = report_in(tmp_path)["results"]
    assert isinstance(results, dict)
    assert results["base"] == results["zero"]
    assert results["one"]["records"] == 20
    assert results["one"]["loss_nats"] != results["base"]["loss_nats"]
    assert results["one"]["interval_low"] <= results["one"]["accuracy"] <= results["one"]["interval_high"]


def test_a_hospitals_wrong_record_is_bad_input_and_is_not_quoted(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    with (world.hospital(2) / "train.jsonl").open("a") as records:
        records.write('{"text": "patient Smith", "label": "z"}\n')
    out = tmp_path / "out"
    done = run(*world.job("train", out))
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "site hospital-2" in done.stderr
    assert "line 25: label: not one of the task's labels" in done.stderr
    assert "Smith" not in done.stderr
    assert not (out / "report.json").exists()
    assert not (out / "adapter.safetensors").exists()


def test_a_deadline_ends_the_job(endless: LocalWorld, tmp_path: Path) -> None:
    job = RunningJob(endless, tmp_path, "--deadline-unix-s", str(time.time() + 12))
    assert job.process.wait(DEADLINE_SECONDS) == 4
    assert job.process.stderr is not None
    assert job.process.stderr.read() == "tier_local: the deadline passed before the job was done\n"
    job.wait_until_gone()


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_whatever_ends_the_supervisor_nothing_stays(
    endless: LocalWorld, tmp_path: Path, signal_number: signal.Signals
) -> None:
    job = RunningJob(endless, tmp_path)
    job.wait_until_training()
    job.process.send_signal(signal_number)
    assert job.process.wait(DEADLINE_SECONDS) == -signal_number
    job.wait_until_gone()


def test_when_a_hospitals_process_is_killed_the_job_fails(endless: LocalWorld, tmp_path: Path) -> None:
    job = RunningJob(endless, tmp_path)
    job.wait_until_training()
    os.kill(job.sites()[0], signal.SIGKILL)
    assert job.process.wait(DEADLINE_SECONDS) == 1
    job.wait_until_gone()


def test_a_job_ends_with_its_parent_if_asked(endless: LocalWorld, tmp_path: Path) -> None:
    mark = f"TEST_PARENT={uuid.uuid4().hex}"
    name, _, value = mark.partition("=")
    out = tmp_path / "out"
    command = ["-m", "tier_local", *endless.job("train", out, "--exit-with-parent")]
    script = f"import os, subprocess, sys; subprocess.run([sys.executable, *{command!r}, str(os.getpid())])"
    parent = subprocess.Popen([sys.executable, "-c", script], env=os.environ | {name: value})

    def members() -> list[int]:
        everyone = map(int, filter(str.isdigit, os.listdir("/proc")))
        return [pid for pid in everyone if mark.encode() in _read(pid, "environ").split(b"\0")]

    wait_until(lambda: len(members()) >= 2 + SERVER_AND_SITES, "the job's processes run")
    parent.kill()
    parent.wait()
    wait_until(lambda: not members(), "no process of the job is left")


def test_a_parent_with_another_manifest_is_bad_input(world: LocalWorld, tmp_path: Path) -> None:
    tensors = load_file(world.genesis_file)
    tensors.popitem()
    save_file(tensors, tmp_path / "short.safetensors")
    arguments = world.job("train", tmp_path / "out")
    arguments[arguments.index("--parent") + 1] = str(tmp_path / "short.safetensors")
    done = run(*arguments)
    assert done.returncode == 2
    assert "adapter parent" in done.stderr
    assert "is missing" in done.stderr


def test_genesis_is_reproducible(world: LocalWorld, tmp_path: Path) -> None:
    (tmp_path / "draft.json").write_text(json.dumps(draft()))
    done = run(
        *("genesis", "--draft", str(tmp_path / "draft.json")),
        *("--model-cache", str(world.model_cache), "--out", str(tmp_path / "again")),
    )
    assert (done.returncode, done.stderr) == (0, "")
    for name in ("task.json", "adapter.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (world.spec_file.parent / name).read_bytes()
    assert sha256_digest(world.spec_file.read_bytes()) == world.spec.digest
    assert sha256_digest(world.genesis_file.read_bytes()) == world.spec.genesis_digest
