"""Threads of one process that write to one SQLite file: each in its turn, and other processes in between."""

import threading
import time

from orchestrator.adapters.database.engine import LONGEST_WAIT_S, LOOK_AGAIN_S
from orchestrator.domain.ports import RecordsUnavailable


class Turn:
    """Held while a thread writes; a thread that has waited lets another process look first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        """Wait for the turn. Raises RecordsUnavailable."""
        if self._lock.acquire(blocking=False):
            return
        if not self._lock.acquire(timeout=LONGEST_WAIT_S):
            raise RecordsUnavailable("others write to the database without end")
        # The thread before has just finished: one that went on at once would always be the first.
        time.sleep(LOOK_AGAIN_S)

    def __exit__(self, *_: object) -> None:
        """Let the next thread write."""
        self._lock.release()
