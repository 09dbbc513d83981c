"""Starts daemons, waits until each is ready, notices when one dies, and stops them all.

Each daemon has its own log. Children of children are the process tree's matter
(``tier_local.processes``): every daemon is started inside the launcher's tree.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.local.hosts import THIS_MACHINE, Host

POLL_S = 0.1
STOP_GRACE_S = 10.0
TAIL_LINES = 15


class LauncherError(Exception):
    """The launcher cannot go on; the message says why."""


class DaemonDied(LauncherError):
    """A daemon ended that should run; the message names it and shows the end of its log."""


@dataclass(frozen=True)
class Daemon:
    """A running daemon and where it writes."""

    name: str
    process: subprocess.Popen[bytes]
    log_file: Path


class Supervisor:
    """The daemons of one launcher, in the order they were started."""

    def __init__(self, log_folder: Path, environment: Mapping[str, str]) -> None:
        self._log_folder = log_folder
        self._environment = dict(environment)
        self._daemons: list[Daemon] = []

    def start(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        ready: Callable[[], bool],
        timeout_s: float,
        environment: Mapping[str, str] | None = None,
        host: Host = THIS_MACHINE,
    ) -> None:
        """Start a daemon and wait until ``ready()``.

        Raises:
            DaemonDied: it, or another daemon, ended meanwhile.
            LauncherError: it was not ready in time.
        """
        self.launch(name, command, environment=environment, host=host)
        self.wait_for(ready, f"{name} to be ready", timeout_s)

    def launch(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        environment: Mapping[str, str] | None = None,
        host: Host = THIS_MACHINE,
    ) -> None:
        """Start a daemon without waiting for it."""
        log_file = self._log_folder / f"{name}.log"
        with log_file.open("ab") as log:
            process = subprocess.Popen(
                host.command(command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment | dict(environment or {}),
                # A group of its own: Ctrl-C reaches the launcher alone, which stops the daemons in order.
                process_group=0,
            )
        self._daemons.append(Daemon(name, process, log_file))

    def wait_for(
        self, condition: Callable[[], bool], what: str, timeout_s: float, *, poll_s: float = POLL_S
    ) -> None:
        """Wait until a condition holds while every daemon lives.

        Raises:
            DaemonDied: a daemon ended meanwhile.
            LauncherError: the condition did not hold in time.
        """
        deadline_s = time.monotonic() + timeout_s
        while not condition():
            self.check()
            if time.monotonic() > deadline_s:
                raise LauncherError(f"waited {timeout_s:.0f} s in vain for {what}")
            time.sleep(poll_s)

    def check(self) -> None:
        """Raise ``DaemonDied`` if a daemon has ended."""
        for daemon in self._daemons:
            exit_code = daemon.process.poll()
            if exit_code is not None:
                raise DaemonDied(
                    f"{daemon.name} ended with exit code {exit_code}; the end of {daemon.log_file}:\n"
                    + tail(daemon.log_file)
                )

    def processes(self) -> Mapping[str, int]:
        """Name → process id of every daemon."""
        return {daemon.name: daemon.process.pid for daemon in self._daemons}

    def stop(self) -> None:
        """Stop all daemons, the last started first: ask, wait, then kill."""
        for daemon in reversed(self._daemons):
            _signal_group(daemon.process, signal.SIGTERM)
        deadline_s = time.monotonic() + STOP_GRACE_S
        for daemon in reversed(self._daemons):
            try:
                daemon.process.wait(max(0.0, deadline_s - time.monotonic()))
            except subprocess.TimeoutExpired:
                _signal_group(daemon.process, signal.SIGKILL)
                daemon.process.wait()
        self._daemons.clear()


def tail(log_file: Path, lines: int = TAIL_LINES) -> str:
    """The last lines of a log."""
    return "\n".join(log_file.read_text(errors="replace").splitlines()[-lines:])


def _signal_group(process: subprocess.Popen[bytes], signal_number: int) -> None:
    if process.poll() is None:
        try:
            os.killpg(process.pid, signal_number)
        except ProcessLookupError:
            return
