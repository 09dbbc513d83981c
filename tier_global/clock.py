"""Time as a port, so that rounds can be tested without waiting."""

import time
from typing import Protocol


class Clock(Protocol):
    """Tells the time and passes it."""

    def now_unix_s(self) -> float:
        """Seconds since 1970, as deadlines are given."""

    def sleep(self, seconds: float) -> None:
        """Let time pass."""


class SystemClock:
    """The machine's clock."""

    def now_unix_s(self) -> float:
        return time.time()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)
