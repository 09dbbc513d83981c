"""Ends the worker's pause when calls wait for a transaction, once nobody has written for a moment.

A node's message need not wait for the worker's next look, and messages that come at the same time still share
a transaction. Where the records cannot tell at once whether anything was written, the pause is as long as it
is.
"""

import threading
import time
from dataclasses import dataclass

from orchestrator.domain.ports import Records, RecordsUnavailable

STILL_S = 0.03
"""How long nobody must have written: what many nodes send at the same time comes closer together."""


@dataclass(frozen=True)
class Arrivals:
    """Looks at whether anything was written, which costs next to nothing, and only then at the outbox."""

    records: Records

    def wait(self, stop: threading.Event, longest_s: float) -> None:
        """Return when calls are queued and nobody writes, when ``stop`` is set, or after ``longest_s``."""
        ends_s = time.monotonic() + longest_s
        # What was written while the worker was at its turn has not been looked at either.
        seen, is_news = self.records.version(), True
        while (left_s := ends_s - time.monotonic()) > 0:
            if stop.wait(left_s if seen is None else min(STILL_S, left_s)):
                return
            version = self.records.version()
            if version != seen:
                seen, is_news = version, True
            elif is_news and version is not None:
                is_news = False
                if self._has_queued():
                    return

    def _has_queued(self) -> bool:
        try:
            with self.records.read() as unit:
                return unit.outbox.has_queued()
        except RecordsUnavailable:
            # The next turn says so.
            return False
