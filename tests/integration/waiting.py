"""Waiting for a condition of this process, with a deadline."""

import threading
import time
from collections.abc import Callable

DEADLINE_S = 20.0
_LOOK_AGAIN_S = 0.001


def until(holds: Callable[[], bool]) -> None:
    """Return when it holds; fail when it does not within the deadline."""
    give_up_s = time.monotonic() + DEADLINE_S
    pause = threading.Event()
    while not holds():
        assert time.monotonic() < give_up_s, "it never held"
        pause.wait(_LOOK_AGAIN_S)
