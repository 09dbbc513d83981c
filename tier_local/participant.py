"""A server or a site of a deployed federation: a process that lives across rounds and leaves nothing behind.

``serve`` runs NVFlare in a process tree of its own until it is asked to stop, and holds a lock in the kit's
folder meanwhile: the operating system lets go of it however the process dies, so ``running_process`` never
lies.
"""

import fcntl
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from queue import Empty, SimpleQueue
from typing import BinaryIO

from tier_local.environment import OF_A_SERVER, federation_environment
from tier_local.errors import BadInput, JobFailed
from tier_local.exchange import SiteFile
from tier_local.kit import RENEW_DAYS, Kit, Role
from tier_local.processes import ProcessTree

LOG_FILE = "collegium.log"

_LOCK_FILE = "running"
_MODULE = {
    Role.SERVER: "nvflare.private.fed.app.server.server_train",
    Role.SITE: "nvflare.private.fed.app.client.client_train",
}
_GRACE_SECONDS = 5.0
_LOOK_SECONDS = 0.5
_DAY_SECONDS = 86_400.0


class AlreadyRunning(BadInput):
    """Another process runs the same kit."""


def serve(kit: Kit, exit_with_parent: int | None = None) -> None:
    """Run the kit's server or site here until SIGTERM, SIGINT or SIGHUP; then nothing of it lives.

    Raises:
        BadInput: it is an admin's kit, the site's own file is missing, or the kit runs already.
        JobFailed: NVFlare ended by itself.
    """
    command = command_of(kit)
    # Not an Event: its lock may be held by the very wait that a handler interrupts.
    asked_to_stop: SimpleQueue[int] = SimpleQueue()
    for signal_number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(signal_number, lambda number, _frame: asked_to_stop.put(number))
    with (kit.folder / _LOCK_FILE).open("a+b") as lock:
        _take(lock, kit)
        with ProcessTree.guard(grace_seconds=_GRACE_SECONDS, exit_with_parent=exit_with_parent) as tree:
            with (kit.folder / LOG_FILE).open("ab") as log:
                process = tree.start(
                    command,
                    env=environment_of(kit),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
            watch = _CertificateWatch(kit)
            while not _has_come(asked_to_stop, _LOOK_SECONDS):
                watch.look(time.monotonic(), datetime.now(UTC))
                if (exit_code := process.poll()) is not None:
                    raise JobFailed(
                        f"NVFlare ended with exit code {exit_code}; the log is {kit.folder / LOG_FILE}"
                    )
                if not tree.guarded:
                    raise JobFailed("the guardian of the kit's processes was killed")


class _CertificateWatch:
    """Says every day on stderr that a certificate ends soon."""

    def __init__(self, kit: Kit) -> None:
        self._kit = kit
        self._next_look_s = 0.0

    def look(self, monotonic_s: float, now: datetime) -> None:
        """Say it, if it is true and has not been said today."""
        if monotonic_s < self._next_look_s:
            return
        self._next_look_s = monotonic_s + _DAY_SECONDS
        if (days := self._kit.certificate().days_left(now)) < RENEW_DAYS:
            sys.stderr.write(
                f"the certificate of {self._kit.name} ends in {days} days; run 'collegium local renew'\n"
            )


def running_process(kit: Kit) -> int | None:
    """The id of the process that serves the kit, None when nobody does."""
    try:
        with (kit.folder / _LOCK_FILE).open("rb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(lock.read() or b"0") or None
    except FileNotFoundError:
        pass
    return None


def _has_come(signals: "SimpleQueue[int]", timeout_seconds: float) -> bool:
    """Whether a signal comes within that time."""
    try:
        signals.get(timeout=timeout_seconds)
    except Empty:
        return False
    return True


def _take(lock: BinaryIO, kit: Kit) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise AlreadyRunning(
            f"the kit {kit.folder} runs already, as process {running_process(kit)}"
        ) from None
    lock.truncate(0)
    lock.write(str(os.getpid()).encode())
    lock.flush()


def command_of(kit: Kit) -> list[str]:
    """NVFlare's command that serves the kit.

    Raises:
        BadInput: it is an admin's kit.
    """
    module = _MODULE.get(kit.role)
    if module is None:
        raise BadInput(f"{kit.folder} is the kit of a {kit.role}; only a server and a site are started")
    own = [f"uid={kit.name}"] if kit.role is Role.SITE else []
    return [
        *(sys.executable, "-m", module, "-m", str(kit.folder), "-s", kit.startup_file_name),
        *("--set", "secure_train=true", *own, f"org={kit.certificate().organization}", "config_folder="),
    ]


def environment_of(kit: Kit) -> dict[str, str]:
    """The environment in which the kit is served.

    Raises:
        BadInput: a site's own file is missing.
    """
    is_site = kit.role is Role.SITE
    threads = SiteFile.at(kit.site_files_folder, kit.name).threads if is_site else 1
    environment = federation_environment(threads, kit.site_files_folder)
    return environment if is_site else environment | OF_A_SERVER
