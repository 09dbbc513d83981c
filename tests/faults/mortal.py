"""A worker in a process of its own that can be killed at any commit, and whose clock a test can move.

Runs in a child of multiprocessing's fork server: everything is imported already, so that a life costs little.
"""

import os
import re
import signal
import time
from dataclasses import dataclass
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import Connection, Engine, event
from sqlalchemy.orm import Session

from orchestrator import worker
from orchestrator.composition import SystemClock
from orchestrator.settings import Settings

_WRITE = re.compile(r"\s*(?:INSERT INTO|UPDATE|DELETE FROM)\s+\"?(\w+)", re.IGNORECASE)
_NOT_COUNTED = re.compile("lease|witness")
"""A worker renews its lease and looks at the chain's nodes as time passes; those are no steps of a round."""


@dataclass(frozen=True)
class Death:
    """The commit at which a process kills itself, counted from its start, and on which side of it."""

    commit: int
    side: Literal["before", "after"]


class Commits:
    """Counts the transactions that change something, and dies at the one that it was told."""

    def __init__(self, death: Death | None, journal: Path) -> None:
        self._death = death
        self._journal = journal
        self._tables: set[str] = set()
        self._changed: set[str] = set()
        self._count = 0

    def watch(self) -> None:
        """Look at every database that this process opens."""
        event.listen(Engine, "before_cursor_execute", self._note)
        event.listen(Engine, "rollback", self._forget)
        event.listen(Engine, "commit", self._before)
        event.listen(Session, "after_commit", self._after)

    def _note(self, _connection: Connection, _cursor: object, statement: str, *_: Any) -> None:
        found = _WRITE.match(statement)
        if found and not _NOT_COUNTED.search(found[1]):
            self._tables.add(found[1])

    def _forget(self, _connection: Connection) -> None:
        self._tables = set()

    def _before(self, _connection: Connection) -> None:
        self._changed, self._tables = self._tables, set()
        if self._changed:
            self._count += 1
            self._reach("before")

    def _after(self, _session: Session) -> None:
        if self._changed:
            with self._journal.open("a") as journal:
                journal.write(" ".join(sorted(self._changed)) + "\n")
            self._changed = set()
            self._reach("after")

    def _reach(self, side: str) -> None:
        if self._death == Death(self._count, side):  # type: ignore[arg-type]
            os.kill(os.getpid(), signal.SIGKILL)


def run_worker(
    settings: Settings, death: Death | None, folder: Path, clock_offset_s: "Synchronized[int]"
) -> None:
    """Work until SIGTERM or the death; the log and the journal of commits go into the folder."""
    with (folder / "worker.log").open("ab") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    move_clock(clock_offset_s)
    Commits(death, folder / "commits").watch()
    worker.run(settings)


def move_clock(offset_s: "Synchronized[int]") -> None:
    """Let this process's clock show the machine's time and an offset that others may change."""

    def now_unix_s(_: SystemClock) -> int:
        return int(time.time()) + offset_s.value

    SystemClock.now_unix_s = now_unix_s  # type: ignore[method-assign]
