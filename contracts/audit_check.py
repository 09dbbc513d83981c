"""Finds what was done to an audit log: rows that were edited, dropped, inserted or reordered, and names them.

The rows alone show whatever was not done to all rows behind it too. Who rewrites a whole log can make its
hashes fit again; the roots that were anchored on chain meanwhile, nobody can.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from contracts.audit import AuditRow, epoch_root
from contracts.hash_chain import Tampering, check_chain, rows_are


@dataclass(frozen=True)
class AnchoredEpoch:
    """What the chain says of an epoch of a log."""

    sender: str
    epoch: int
    root: str
    first: int
    last: int


def check_log(rows: Sequence[AuditRow], epochs: Sequence[AnchoredEpoch]) -> tuple[Tampering, ...]:
    """What is wrong with a log, which has to be whole and in the order in which it was found."""
    anchored = max((epoch.last for epoch in epochs), default=0)
    found = [*check_chain(rows, anchored), *_not_as_anchored({row.number: row for row in rows}, epochs)]
    return tuple(sorted(found, key=lambda each: (each.first, each.last)))


def _not_as_anchored(rows: Mapping[int, AuditRow], epochs: Sequence[AnchoredEpoch]) -> Iterator[Tampering]:
    covered = 0
    for epoch in sorted(epochs, key=lambda each: (each.first, each.last)):
        if epoch.first > covered + 1:
            first, last = covered + 1, epoch.first - 1
            yield Tampering("unanchored", first, last, f"{rows_are(first, last)} in no anchored epoch")
        covered = max(covered, epoch.last)
        if any(number not in rows for number in range(epoch.first, epoch.last + 1)):
            continue  # said to be missing
        root = epoch_root([rows[number] for number in range(epoch.first, epoch.last + 1)])
        if root != epoch.root:
            sentence = (
                f"{rows_are(epoch.first, epoch.last)} not what {epoch.sender} anchored as epoch "
                f"{epoch.epoch}: their root is {root}, the chain's is {epoch.root}"
            )
            yield Tampering("rewritten", epoch.first, epoch.last, sentence)
