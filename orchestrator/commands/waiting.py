"""Waiting for a condition, never without a deadline."""

import time
from collections.abc import Callable
from typing import TypeVar

from orchestrator.commands.output import CommandError, ExitCode

_POLL_S = 0.25

Found = TypeVar("Found")


def wait_for(look: Callable[[], Found | None], what: str, timeout_s: float) -> Found:
    """What ``look`` finds, once it finds something.

    Raises:
        CommandError: it found nothing in time (exit code 4).
    """
    deadline_s = time.monotonic() + timeout_s
    while (found := look()) is None:
        if time.monotonic() >= deadline_s:
            raise CommandError(
                f"{what} took more than {timeout_s:.0f} s", code="timed_out", exit_code=ExitCode.TIMED_OUT
            )
        time.sleep(_POLL_S)
    return found
