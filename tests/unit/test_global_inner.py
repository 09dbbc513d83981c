"""The inner process: results, exit codes, deadlines, and nothing left behind."""

import json
import math
import os
import sys
import time
from pathlib import Path

import pytest

from tests.unit.global_sim import GENESIS, SPEC_BYTES, make_adapter
from tier_global.clock import SystemClock
from tier_global.errors import InnerJobFailed, InnerJobLate
from tier_global.inner import InnerProcess

FAR_S = 60.0

WRITES = """
import json, pathlib, sys
out = pathlib.Path(sys.argv[sys.argv.index("--out") + 1])
out.mkdir(parents=True, exist_ok=True)
(out / "report.json").write_text({report!r})
(out / "adapter.safetensors").write_bytes(b"adapter")
(out.parent / "arguments.json").write_text(json.dumps(sys.argv[1:]))
"""
SPAWNS_AND_HANGS = """
import pathlib, signal, subprocess, sys, time
out = pathlib.Path(sys.argv[sys.argv.index("--out") + 1])
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
(out.parent / "child.pid").write_text(str(child.pid))
time.sleep(600)
"""

PURPOSE = "7-2-0xaa-train"


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path, Path]:
    """Spec, parent, out."""
    spec, parent = tmp_path / "task.json", tmp_path / "parent.safetensors"
    spec.write_bytes(SPEC_BYTES)
    parent.write_bytes(GENESIS)
    return spec, parent, tmp_path / "out"


def inner(tmp_path: Path, script: str) -> InnerProcess:
    (tmp_path / "script.py").write_text(script)
    command = [sys.executable, str(tmp_path / "script.py")]
    return InnerProcess(command, tmp_path / "network.json", tmp_path / "inner.log", SystemClock())


def soon(seconds: float = FAR_S) -> float:
    return time.time() + seconds


def test_train_gives_the_files_of_the_job(tmp_path: Path, files: tuple[Path, Path, Path]) -> None:
    spec, parent, out = files
    deadline_unix_s = soon()

    trained = inner(tmp_path, WRITES.format(report="{}")).train(spec, parent, out, deadline_unix_s, PURPOSE)

    assert (trained.adapter, trained.report) == (b"adapter", b"{}")
    assert json.loads((tmp_path / "arguments.json").read_text()) == [
        *("train", "--spec", str(spec), "--network", str(tmp_path / "network.json"), "--parent", str(parent)),
        *("--out", str(out), "--deadline-unix-s", str(int(deadline_unix_s))),
        *("--purpose", PURPOSE, "--exit-with-parent", str(os.getpid())),
    ]


def test_evaluate_gives_losses_by_name(tmp_path: Path, files: tuple[Path, Path, Path]) -> None:
    spec, parent, out = files
    candidate = tmp_path / "all.safetensors"
    candidate.write_bytes(make_adapter(1))
    report = json.dumps({"losses_nats": {"parent": 2.5, "all": None, "other": 1}})

    losses = inner(tmp_path, WRITES.format(report=report)).evaluate(
        spec, parent, {"all": candidate}, out, soon(), PURPOSE
    )

    assert losses["parent"] == 2.5
    assert math.isnan(losses["all"])
    assert losses.keys() == {"parent", "all"}


@pytest.mark.parametrize(
    "report", ["", "{", "[]", "{}", '{"losses_nats": {"parent": 1}}', '{"losses_nats": 3}']
)
def test_a_report_without_the_losses_is_a_failure(
    tmp_path: Path, files: tuple[Path, Path, Path], report: str
) -> None:
    spec, parent, out = files
    with pytest.raises(InnerJobFailed):
        inner(tmp_path, WRITES.format(report=report)).evaluate(
            spec, parent, {"all": parent}, out, soon(), PURPOSE
        )


@pytest.mark.parametrize(("code", "error"), [(1, InnerJobFailed), (2, InnerJobFailed), (4, InnerJobLate)])
def test_exit_codes(
    tmp_path: Path, files: tuple[Path, Path, Path], code: int, error: type[InnerJobFailed]
) -> None:
    with pytest.raises(error):
        inner(tmp_path, f"raise SystemExit({code})").train(*files, soon(), PURPOSE)


def test_what_the_job_says_stays_in_the_network(tmp_path: Path, files: tuple[Path, Path, Path]) -> None:
    script = "import sys; sys.stderr.write('hospital-1: 17 records\\n'); raise SystemExit(1)"
    with pytest.raises(InnerJobFailed) as failure:
        inner(tmp_path, script).train(*files, soon(), PURPOSE)

    assert "hospital" not in str(failure.value)
    assert "hospital-1: 17 records" in (tmp_path / "inner.log").read_text()


def test_success_without_files_is_a_failure(tmp_path: Path, files: tuple[Path, Path, Path]) -> None:
    with pytest.raises(InnerJobFailed, match="no adapter"):
        inner(tmp_path, "").train(*files, soon(), PURPOSE)


def test_a_command_that_is_not_there(tmp_path: Path, files: tuple[Path, Path, Path]) -> None:
    missing = InnerProcess(["/nonexistent"], tmp_path / "n.json", tmp_path / "inner.log", SystemClock())
    with pytest.raises(InnerJobFailed, match="cannot be started"):
        missing.train(*files, soon(), PURPOSE)


def test_at_the_deadline_the_whole_group_is_killed(
    tmp_path: Path, files: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tier_global.inner._TERM_PATIENCE_S", 0.5)

    with pytest.raises(InnerJobLate):
        inner(tmp_path, SPAWNS_AND_HANGS).train(*files, soon(3.0), PURPOSE)

    child = int((tmp_path / "child.pid").read_text())
    assert ended_within(child, 10.0)


def ended_within(pid: int, seconds: float) -> bool:
    give_up = time.monotonic() + seconds
    while time.monotonic() < give_up:
        try:
            os.kill(pid, 0)
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.05)
    return False
