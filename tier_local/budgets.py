"""What a hospital's budgets have been used for, counted from the rows of its egress log. Pure.

A day is the 24 hours and a year the 365 days up to now, so that no midnight and no New Year gives twice
as much.
"""

import math
from collections.abc import Sequence

from tier_local.egress import Departure, EgressRow, Part, Work

DAY_S = 86_400
YEAR_S = 365 * DAY_S


def steps_of_day(rows: Sequence[EgressRow], now_unix_s: int) -> int:
    """Training steps that were begun in the last 24 hours."""
    return sum(entry.steps for entry in _works(rows) if entry.time_unix_s > now_unix_s - DAY_S)


def steps_of_task(rows: Sequence[EgressRow], task_digest: str) -> int:
    """Training steps that were ever begun for a task."""
    return sum(entry.steps for entry in _works(rows) if entry.task_digest == task_digest)


def mu_squared_of_year(rows: Sequence[EgressRow], now_unix_s: int) -> float:
    """What the departures of the last 365 days cost in privacy."""
    return math.fsum(
        row.entry.release.mu_squared
        for row in rows
        if isinstance(row.entry, Departure)
        and row.entry.release is not None
        and row.entry.time_unix_s > now_unix_s - YEAR_S
    )


def may_repeat(rows: Sequence[EgressRow], task_digest: str, parent_digest: str) -> bool:
    """Whether an update of this parent was paid for before, so that its bytes may come again for nothing."""
    return any(
        isinstance(row.entry, Departure)
        and row.entry.release is not None
        and (row.entry.task_digest, row.entry.parent_digest) == (task_digest, parent_digest)
        for row in rows
    )


def has_left(rows: Sequence[EgressRow], part: Part) -> bool:
    """Whether the very same bytes left before, as the noised update that they are."""
    return any(
        isinstance(row.entry, Departure) and row.entry.release is not None and part in row.entry.parts
        for row in rows
    )


def _works(rows: Sequence[EgressRow]) -> list[Work]:
    return [row.entry for row in rows if isinstance(row.entry, Work)]
