"""Finds what was done to an audit log: rows that were edited, dropped, inserted or reordered, and names them.

The rows alone show whatever was not done to all rows behind it too. Who rewrites a whole log can make its
hashes fit again; the roots that were anchored on chain meanwhile, nobody can.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from contracts.audit import AuditRow, epoch_root
from contracts.digests import ZERO_DIGEST

TamperingKind = Literal["edited", "dropped", "inserted", "reordered", "replaced", "rewritten", "unanchored"]


@dataclass(frozen=True)
class AnchoredEpoch:
    """What the chain says of an epoch of a log."""

    sender: str
    epoch: int
    root: str
    first: int
    last: int


@dataclass(frozen=True)
class Tampering:
    """Something that is not as it was written, from one row's number to another's."""

    kind: TamperingKind
    first: int
    last: int
    sentence: str


def check_log(rows: Sequence[AuditRow], epochs: Sequence[AnchoredEpoch]) -> tuple[Tampering, ...]:
    """What is wrong with a log, which has to be whole and in the order in which it was found."""
    found = [*_misplaced(rows), *_missing(rows, epochs), *_edited(rows)]
    by_number = {row.number: row for row in rows}
    found += _replaced(by_number, {each.first for each in found if each.kind == "edited"})
    found += _not_as_anchored(by_number, epochs)
    return tuple(sorted(found, key=lambda each: (each.first, each.last)))


def _misplaced(rows: Sequence[AuditRow]) -> Iterator[Tampering]:
    for number, times in Counter(row.number for row in rows).items():
        if times > 1:
            sentence = f"there are {times} rows {number}: all but one were inserted"
            yield Tampering("inserted", number, number, sentence)
    for one, next_one in pairwise(rows):
        if next_one.number < one.number:
            sentence = f"row {next_one.number} stands behind row {one.number}"
            yield Tampering("reordered", next_one.number, one.number, sentence)


def _missing(rows: Sequence[AuditRow], epochs: Sequence[AnchoredEpoch]) -> Iterator[Tampering]:
    """Gaps in the numbers, at the end too as far as the chain knows of more rows."""
    numbers = sorted({0} | {row.number for row in rows})
    anchored = max((epoch.last for epoch in epochs), default=0)
    if anchored > numbers[-1]:
        numbers.append(anchored + 1)
    for one, next_one in pairwise(numbers):
        if next_one > one + 1:
            first, last = one + 1, next_one - 1
            yield Tampering("dropped", first, last, f"{_rows(first, last)} missing")


def _edited(rows: Sequence[AuditRow]) -> Iterator[Tampering]:
    for row in rows:
        if row.computed_hash() != row.hash:
            sentence = f"row {row.number} was edited: its contents do not have the hash that it states"
            yield Tampering("edited", row.number, row.number, sentence)


def _replaced(rows: Mapping[int, AuditRow], edited: set[int]) -> Iterator[Tampering]:
    """Rows that fit themselves, and not the row that was written behind them."""
    for number in sorted(rows):
        row, before = rows[number], rows.get(number - 1)
        if number == 1 and row.previous_hash != ZERO_DIGEST:
            yield Tampering("replaced", 1, 1, "row 1 follows another row: the log's beginning was replaced")
        if before is None or number in edited or row.previous_hash == before.hash:
            continue
        sentence = f"row {number - 1} was replaced: row {number} was written behind another one"
        yield Tampering("replaced", number - 1, number - 1, sentence)


def _not_as_anchored(rows: Mapping[int, AuditRow], epochs: Sequence[AnchoredEpoch]) -> Iterator[Tampering]:
    covered = 0
    for epoch in sorted(epochs, key=lambda each: (each.first, each.last)):
        if epoch.first > covered + 1:
            first, last = covered + 1, epoch.first - 1
            yield Tampering("unanchored", first, last, f"{_rows(first, last)} in no anchored epoch")
        covered = max(covered, epoch.last)
        if any(number not in rows for number in range(epoch.first, epoch.last + 1)):
            continue  # said to be missing
        root = epoch_root([rows[number] for number in range(epoch.first, epoch.last + 1)])
        if root != epoch.root:
            sentence = (
                f"{_rows(epoch.first, epoch.last)} not what {epoch.sender} anchored as epoch {epoch.epoch}: "
                f"their root is {root}, the chain's is {epoch.root}"
            )
            yield Tampering("rewritten", epoch.first, epoch.last, sentence)


def _rows(first: int, last: int) -> str:
    return f"row {first} is" if first == last else f"rows {first} to {last} are"
