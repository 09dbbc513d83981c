"""The inner process: results, exit codes, deadlines, and nothing left behind."""

import json
import math
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from contracts.digests import ZERO_DIGEST
from contracts.network_policy import NetworkPolicy
from tests.unit.global_sim import GENESIS, POLICY_DIGEST, SPEC_BYTES, make_adapter
from tier_global.clock import SystemClock
from tier_global.errors import InnerJobFailed, InnerJobLate, InnerJobRefused, SetupError
from tier_global.inner import InnerJob, InnerProcess

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
def job(tmp_path: Path) -> InnerJob:
    spec, parent = tmp_path / "task.json", tmp_path / "parent.safetensors"
    spec.write_bytes(SPEC_BYTES)
    parent.write_bytes(GENESIS)
    return InnerJob(spec, parent, tmp_path / "out", soon(), PURPOSE, POLICY_DIGEST)


def inner(tmp_path: Path, script: str) -> InnerProcess:
    (tmp_path / "script.py").write_text(script)
    command = [sys.executable, str(tmp_path / "script.py")]
    return InnerProcess(command, tmp_path / "network.json", tmp_path / "inner.log", SystemClock())


def soon(seconds: float = FAR_S) -> float:
    return time.time() + seconds


def test_train_gives_the_files_of_the_job(tmp_path: Path, job: InnerJob) -> None:
    trained = inner(tmp_path, WRITES.format(report="{}")).train(job)

    assert (trained.adapter, trained.report) == (b"adapter", b"{}")
    assert json.loads((tmp_path / "arguments.json").read_text()) == [
        *("train", "--spec", str(job.spec), "--network", str(tmp_path / "network.json")),
        *("--parent", str(job.parent), "--out", str(job.out)),
        *("--deadline-unix-s", str(int(job.deadline_unix_s))),
        *("--purpose", PURPOSE, "--policy-digest", POLICY_DIGEST),
        *("--exit-with-parent", str(os.getpid())),
    ]


def test_evaluate_gives_losses_by_name(tmp_path: Path, job: InnerJob) -> None:
    candidate = tmp_path / "all.safetensors"
    candidate.write_bytes(make_adapter(1))
    report = json.dumps({"losses_nats": {"parent": 2.5, "all": None, "other": 1}})

    losses = inner(tmp_path, WRITES.format(report=report)).evaluate(job, {"all": candidate})

    assert losses["parent"] == 2.5
    assert math.isnan(losses["all"])
    assert losses.keys() == {"parent", "all"}


@pytest.mark.parametrize(
    "report", ["", "{", "[]", "{}", '{"losses_nats": {"parent": 1}}', '{"losses_nats": 3}']
)
def test_a_report_without_the_losses_is_a_failure(tmp_path: Path, job: InnerJob, report: str) -> None:
    with pytest.raises(InnerJobFailed):
        inner(tmp_path, WRITES.format(report=report)).evaluate(job, {"all": job.parent})


@pytest.mark.parametrize(("code", "error"), [(1, InnerJobFailed), (2, InnerJobFailed), (4, InnerJobLate)])
def test_exit_codes(tmp_path: Path, job: InnerJob, code: int, error: type[InnerJobFailed]) -> None:
    with pytest.raises(error):
        inner(tmp_path, f"raise SystemExit({code})").train(job)


@pytest.mark.parametrize(
    ("refusal", "rule"),
    [
        ('{"rule": "hours", "site": "hospital-1"}', "hours"),
        ('{"rule": "hospital-1 has 17 records", "site": "hospital-1"}', "unknown"),
        ('{"rule": 3}', "unknown"),
        ("[]", "unknown"),
        ("{", "unknown"),
        (None, "unknown"),
    ],
)
def test_a_refusal_says_the_rule_and_nothing_else(
    tmp_path: Path, job: InnerJob, refusal: str | None, rule: str
) -> None:
    job.out.mkdir()
    if refusal is not None:
        (job.out / "refusal.json").write_text(refusal)
    with pytest.raises(InnerJobRefused) as caught:
        inner(tmp_path, "raise SystemExit(3)").train(job)
    assert (caught.value.rule, str(caught.value)) == (rule, f"policy rule {rule}")


def test_the_networks_policy_is_what_the_inner_tier_writes(tmp_path: Path) -> None:
    policy = NetworkPolicy(sites={"hospital-1": POLICY_DIGEST, "hospital-2": ZERO_DIGEST})
    script = f"""
import pathlib, sys
out = pathlib.Path(sys.argv[sys.argv.index("--out") + 1])
(out / "network-policy.json").write_bytes({policy.canonical_bytes()!r})
"""
    assert inner(tmp_path, script).network_policy() == policy


@pytest.mark.parametrize("script", ["raise SystemExit(1)", "", "raise SystemExit(3)"])
def test_without_a_policy_of_the_network_there_is_none_to_approve(tmp_path: Path, script: str) -> None:
    with pytest.raises(SetupError, match=r"inner\.log"):
        inner(tmp_path, script).network_policy()


def test_what_the_job_says_stays_in_the_network(tmp_path: Path, job: InnerJob) -> None:
    script = "import sys; sys.stderr.write('hospital-1: 17 records\\n'); raise SystemExit(1)"
    with pytest.raises(InnerJobFailed) as failure:
        inner(tmp_path, script).train(job)

    assert "hospital" not in str(failure.value)
    assert "hospital-1: 17 records" in (tmp_path / "inner.log").read_text()


def test_success_without_files_is_a_failure(tmp_path: Path, job: InnerJob) -> None:
    with pytest.raises(InnerJobFailed, match="no adapter"):
        inner(tmp_path, "").train(job)


def test_a_command_that_is_not_there(tmp_path: Path, job: InnerJob) -> None:
    missing = InnerProcess(["/nonexistent"], tmp_path / "n.json", tmp_path / "inner.log", SystemClock())
    with pytest.raises(InnerJobFailed, match="cannot be started"):
        missing.train(job)


def test_at_the_deadline_the_whole_group_is_killed(
    tmp_path: Path, job: InnerJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tier_global.inner._TERM_PATIENCE_S", 0.5)

    with pytest.raises(InnerJobLate):
        inner(tmp_path, SPAWNS_AND_HANGS).train(replace(job, deadline_unix_s=soon(3.0)))

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
