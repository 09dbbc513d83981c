"""Runs the network's inner tier as a process of its own, with a deadline, and leaves nothing of it behind.

The command line is the one of ``tier_local``. The process gets a session of its own, so that all of it can be
signalled; ``--exit-with-parent`` makes it follow this process into any death.
"""

import json
import math
import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from contracts.errors import ContractViolation
from contracts.network_policy import NetworkPolicy
from tier_global.clock import Clock
from tier_global.errors import InnerJobFailed, InnerJobLate, InnerJobRefused, SetupError
from tier_global.exchange import MAX_REPORT_BYTES

_TERM_PATIENCE_S = 10.0
_WAIT_STEP_S = 0.2
_MORE_NICENESS = 5
"""The inner job computes for minutes. Everything else on the machine, above all what must answer Flower's
heartbeats within 30 seconds, comes first."""
_EXIT_REFUSED = 3
_EXIT_DEADLINE_PASSED = 4
_NETWORK_POLICY_S = 60.0
_MOST_POLICY_BYTES = 1 << 16
_RULE_NAME = re.compile(r"[a-z_]{1,40}")


@dataclass(frozen=True)
class Trained:
    """The network's one adapter file and its report, as bytes that nobody has checked yet."""

    adapter: bytes
    report: bytes


@dataclass(frozen=True)
class InnerJob:
    """What an inner job starts from, and when it must be done."""

    spec: Path
    parent: Path
    out: Path
    deadline_unix_s: float
    purpose: str
    """What the job is for. Asked again for the same, after a crash say, a deployed federation gives the job
    that runs or is done, and does not do it twice."""
    policy_digest: str
    """The network's policy as it approved the task on chain; the hospitals refuse under any other."""


class InnerTier(Protocol):
    """Trains and evaluates adapters inside the network. Both raise InnerJobFailed."""

    def train(self, job: InnerJob) -> Trained:
        """Train one adapter from the parent."""

    def evaluate(self, job: InnerJob, candidates: Mapping[str, Path]) -> Mapping[str, float]:
        """Loss (nats per target token) of "parent" and of each candidate by name; NaN where there is none."""


class InnerProcess:
    """The inner tier behind its command line."""

    def __init__(self, command: Sequence[str], network_file: Path, log_file: Path, clock: Clock) -> None:
        self._command = tuple(command)
        self._network_file = network_file
        self._log_file = log_file
        self._clock = clock

    def train(self, job: InnerJob) -> Trained:
        self._run("train", job, ())
        try:
            adapter = (job.out / "adapter.safetensors").read_bytes()
        except OSError as error:
            raise InnerJobFailed("the inner job left no adapter") from error
        return Trained(adapter=adapter, report=_read_report(job.out))

    def evaluate(self, job: InnerJob, candidates: Mapping[str, Path]) -> Mapping[str, float]:
        options = [part for name, path in candidates.items() for part in ("--candidate", f"{name}={path}")]
        self._run("evaluate", job, options)
        return _losses(_read_report(job.out), {"parent", *candidates})

    def network_policy(self) -> NetworkPolicy:
        """What the network approves in its hospitals' names, as their policies are now.

        Raises:
            SetupError: the network's file or a hospital's policy cannot be read.
        """
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder)
            arguments = ["network-policy", "--network", str(self._network_file), "--out", str(out)]
            deadline_unix_s = self._clock.now_unix_s() + _NETWORK_POLICY_S
            try:
                self._run_command("network-policy", arguments, out, deadline_unix_s)
                with (out / "network-policy.json").open("rb") as file:
                    return NetworkPolicy.parse(file.read(_MOST_POLICY_BYTES))
            except (InnerJobFailed, OSError, ContractViolation) as error:
                raise SetupError(
                    f"the inner tier gives no policy of the network; {self._log_file} says why"
                ) from error

    def _run(self, name: str, job: InnerJob, options: Sequence[str]) -> None:
        arguments = [
            name,
            *("--spec", str(job.spec), "--network", str(self._network_file), "--parent", str(job.parent)),
            *options,
            *("--out", str(job.out), "--deadline-unix-s", str(int(job.deadline_unix_s))),
            *("--purpose", job.purpose, "--policy-digest", job.policy_digest),
            *("--exit-with-parent", str(os.getpid())),
        ]
        self._run_command(name, arguments, job.out, job.deadline_unix_s)

    def _run_command(self, job: str, arguments: Sequence[str], out: Path, deadline_unix_s: float) -> None:
        command = [*self._command, *arguments]
        self._log_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._log_file.open("ab") as log:
            try:
                process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
                )
            except OSError as error:
                raise InnerJobFailed("the inner command cannot be started") from error
        try:
            os.setpriority(os.PRIO_PROCESS, process.pid, os.getpriority(os.PRIO_PROCESS, 0) + _MORE_NICENESS)
            exit_code = self._wait(process, deadline_unix_s)
        finally:
            self._end(process)
        if exit_code is None or exit_code == _EXIT_DEADLINE_PASSED:
            raise InnerJobLate(f"the inner {job} job did not end before its deadline")
        if exit_code == _EXIT_REFUSED:
            raise InnerJobRefused(_rule(out))
        if exit_code != 0:
            raise InnerJobFailed(f"the inner {job} job ended with exit code {exit_code}")

    def _wait(self, process: subprocess.Popen[bytes], deadline_unix_s: float) -> int | None:
        """The exit code, or None when the deadline came first. Does not reap the process."""
        while True:
            left_s = deadline_unix_s - self._clock.now_unix_s()
            exited = _exited(process)
            if exited is not None or left_s <= 0:
                return exited
            self._clock.sleep(min(left_s, _WAIT_STEP_S))

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        """Stop what is left of the process's group, ask first, then force; only then reap the process.

        While it is not reaped, nobody else can get its process id, so that the signals cannot hit strangers.
        """
        if _exited(process) is None:
            os.killpg(process.pid, signal.SIGTERM)
            self._wait(process, self._clock.now_unix_s() + _TERM_PATIENCE_S)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _exited(process: subprocess.Popen[bytes]) -> int | None:
    """The exit code of a process that has ended, and None of one that runs; the process stays unreaped."""
    status = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    if status is None:
        return None
    return status.si_status if status.si_code == os.CLD_EXITED else -status.si_status


def _read_report(out: Path) -> bytes:
    try:
        with (out / "report.json").open("rb") as file:
            report = file.read(MAX_REPORT_BYTES + 1)
    except OSError as error:
        raise InnerJobFailed("the inner job left no report") from error
    if len(report) > MAX_REPORT_BYTES:
        raise InnerJobFailed(f"the inner job's report has more than {MAX_REPORT_BYTES} bytes")
    return report


def _rule(out: Path) -> str:
    """The rule by which a hospital refused; nothing else of the file is for the hub's eyes."""
    try:
        rule = json.loads((out / "refusal.json").read_bytes())["rule"]
    except (OSError, ValueError, TypeError, KeyError):
        rule = None
    return rule if isinstance(rule, str) and _RULE_NAME.fullmatch(rule) else "unknown"


def _losses(report: bytes, names: set[str]) -> dict[str, float]:
    try:
        found = json.loads(report)["losses_nats"]
        losses = {name: math.nan if found[name] is None else float(found[name]) for name in names}
    except (ValueError, TypeError, KeyError) as error:
        raise InnerJobFailed("the inner job's report does not hold the losses that were asked for") from error
    return losses
