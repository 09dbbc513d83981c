"""What is on its way out of a node's stake, as the registry's `Unbonding` library keeps it.

A queue is a tuple of entries, the first to mature first. Amounts are base units of the token.
"""

from collections.abc import Sequence
from dataclasses import dataclass

MOST_ENTRIES = 4
"""How many entries a node's queue has at most; see docs/protocol.md, bounds on gas."""


@dataclass(frozen=True)
class UnbondingEntry:
    """An amount on its way out of a stake."""

    matures_unix_s: int
    amount: int


def with_exit(queue: Sequence[UnbondingEntry], leaving: UnbondingEntry) -> tuple[UnbondingEntry, ...]:
    """The queue after an exit; where all places are taken it joins the last entry, which matures with it."""
    kept, joined = queue[: MOST_ENTRIES - 1], queue[MOST_ENTRIES - 1 :]
    return (*kept, UnbondingEntry(leaving.matures_unix_s, leaving.amount + total(joined)))


def without_latest(queue: Sequence[UnbondingEntry], most: int) -> tuple[UnbondingEntry, ...]:
    """The queue less ``most`` at most, taken from what matures last."""
    kept = list(queue)
    while most > 0 and kept:
        last = kept.pop()
        if last.amount > most:
            kept.append(UnbondingEntry(last.matures_unix_s, last.amount - most))
        most -= min(most, last.amount)
    return tuple(kept)


def total(queue: Sequence[UnbondingEntry]) -> int:
    """All that is on its way out."""
    return sum(entry.amount for entry in queue)
