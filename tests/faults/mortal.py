"""Worker and API in processes of their own that can be killed at any step, and whose clocks a test can move.

They run in children of multiprocessing's fork server: everything is imported already, so that a life costs
little.
"""

import os
import re
import signal
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from io import FileIO
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import uvicorn
from sqlalchemy import Connection, Engine, event
from sqlalchemy.orm import Session

import orchestrator.app  # noqa: F401 (imported once, before the children are forked)
from orchestrator import worker
from orchestrator.adapters.artifacts import FolderArtifactStore
from orchestrator.composition import SystemClock
from orchestrator.settings import Settings

_WRITE = re.compile(r"\s*(?:INSERT INTO|UPDATE|DELETE FROM)\s+\"?(\w+)", re.IGNORECASE)
_NOT_COUNTED = re.compile("lease|witness")
"""A worker renews its lease and looks at the chain's nodes as time passes; those are no steps of a round."""
LONGEST_PAUSE_S = 0.1
"""Of a worker whose turn failed. In life it is longer; a test has more failures than time."""
_ONLY_ASKS = re.compile(
    "[lf]?stat(vfs)?|fspath|scandir|listdir|getpid|urandom|fileno|isatty|tell|seek|read.*"
)


Step = Literal["commit", "file"]


@dataclass(frozen=True)
class Death:
    """The step at which a process kills itself, counted from its start, and on which side of it.

    A step is a transaction that changes something, or a call of the artifact store to the file system.
    """

    number: int
    side: Literal["before", "after"]
    step: Step = "commit"


class Steps:
    """Counts the steps of one kind, writes them into a journal, and dies at the one that it was told."""

    def __init__(self, step: Step, death: Death | None, journal: Path) -> None:
        self._step = step
        self._death = death
        self._journal = journal
        self._count = 0
        self._lock = threading.Lock()

    def before(self) -> int:
        """A step begins; its number."""
        with self._lock:
            self._count += 1
            number = self._count
        self._reach(number, "before")
        return number

    def after(self, number: int, what: str) -> None:
        """A step is done."""
        with self._journal.open("a") as journal:
            journal.write(what + "\n")
        self._reach(number, "after")

    def _reach(self, number: int, side: Literal["before", "after"]) -> None:
        if self._death == Death(number, side, self._step):
            os.kill(os.getpid(), signal.SIGKILL)


class _Transaction(threading.local):
    """What the present transaction of a thread has changed."""

    def __init__(self) -> None:
        self.tables: set[str] = set()
        self.committed: set[str] = set()
        self.number = 0


class Commits:
    """Takes every transaction that changes something for a step."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self._transaction = _Transaction()

    def watch(self) -> None:
        """Look at every database that this process opens."""
        event.listen(Engine, "before_cursor_execute", self._note)
        event.listen(Engine, "rollback", self._forget)
        event.listen(Engine, "commit", self._before)
        event.listen(Session, "after_commit", self._after)

    def _note(self, _connection: Connection, _cursor: object, statement: str, *_: Any) -> None:
        found = _WRITE.match(statement)
        if found and not _NOT_COUNTED.search(found[1]):
            self._transaction.tables.add(found[1])

    def _forget(self, _connection: Connection) -> None:
        self._transaction.tables = set()

    def _before(self, _connection: Connection) -> None:
        transaction = self._transaction
        transaction.committed, transaction.tables = transaction.tables, set()
        if transaction.committed:
            transaction.number = self._steps.before()

    def _after(self, _session: Session) -> None:
        transaction = self._transaction
        if transaction.committed:
            what, transaction.committed = " ".join(sorted(transaction.committed)), set()
            self._steps.after(transaction.number, what)


class FileCalls:
    """Takes every call of the artifact store to the file system for a step."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps

    def watch(self) -> None:
        """Look at every upload."""
        for name in ("put", "append"):
            setattr(FolderArtifactStore, name, self._watched(getattr(FolderArtifactStore, name)))

    def _watched(self, method: Any) -> Any:
        def watched(*arguments: Any) -> Any:
            sys.setprofile(self._see)
            try:
                return method(*arguments)
            finally:
                sys.setprofile(None)

        return watched

    def _see(self, _frame: FrameType, what: str, function: Any) -> None:
        if what not in ("c_call", "c_return", "c_exception") or not _concerns_files(function):
            return
        if what == "c_call":
            self._number = self._steps.before()
        else:
            self._steps.after(self._number, function.__name__)


def _concerns_files(function: Any) -> bool:
    owner = getattr(function, "__self__", None)
    is_call = getattr(function, "__module__", None) in ("posix", "fcntl") or isinstance(owner, FileIO)
    # What only asks changes nothing.
    return (is_call or function is open) and not _ONLY_ASKS.fullmatch(function.__name__)


def run_worker(
    settings: Settings,
    death: Death | None,
    folder: Path,
    clock_offset_s: "Synchronized[int]",
    rpc_timeout_s: float | None,
) -> None:
    """Work until SIGTERM or the death; the log and the journal of commits go into the folder.

    ``rpc_timeout_s``: how long the chain may take for an answer; None: as long as in life.
    """
    _write_into(folder / "worker.log")
    move_clock(clock_offset_s)
    worker._LONGEST_PAUSE_S = LONGEST_PAUSE_S
    if rpc_timeout_s is not None:
        for name in ("open_reader", "open_lanes"):
            setattr(worker, name, partial(getattr(worker, name), timeout_s=rpc_timeout_s))
    Commits(Steps("commit", death, folder / "commits")).watch()
    worker.run(settings)


def serve_api(
    environment: Mapping[str, str],
    death: Death | None,
    folder: Path,
    clock_offset_s: "Synchronized[int]",
    port: int,
) -> None:
    """Serve until SIGTERM or the death; the log and the journals go into the folder."""
    _write_into(folder / "api.log")
    move_clock(clock_offset_s)
    Commits(Steps("commit", death, folder / "api-commits")).watch()
    FileCalls(Steps("file", death, folder / "api-files")).watch()
    os.environ.update(environment)
    uvicorn.run(
        "orchestrator.app:create_app_from_environment",
        factory=True,
        port=port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=1,
        ws="none",
    )


def _write_into(log_file: Path) -> None:
    """Send what this process prints into a file."""
    with log_file.open("ab") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)


def move_clock(offset_s: "Synchronized[int]") -> None:
    """Let this process's clock show the machine's time and an offset that others may change."""

    def now_unix_s(_: SystemClock) -> int:
        return int(time.time()) + offset_s.value

    SystemClock.now_unix_s = now_unix_s  # type: ignore[method-assign]
