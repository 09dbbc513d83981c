"""Rows that each hold the hash of the row before, and what somebody did to them afterwards.

A row's hash is the SHA-256 of its canonical JSON (RFC 8785), with the hash of the row before it and without
its own. The rows alone show whatever was not done to all rows behind it too: who rewrites a whole chain can
make its hashes fit again, so that its newest hash belongs where the writer of the chain cannot reach.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Literal

import rfc8785
from pydantic import BaseModel, ConfigDict, Field

from contracts.digests import ZERO_DIGEST, Digest, sha256_digest

MOST_EXACT = (1 << 53) - 1
"""The largest integer that canonical JSON can write."""

TamperingKind = Literal["edited", "dropped", "inserted", "reordered", "replaced", "rewritten", "unanchored"]


class ChainedRow(BaseModel):
    """A row in its place in a chain; what it says is in the fields of the class that inherits."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    number: Annotated[int, Field(ge=1, le=MOST_EXACT)]
    previous_hash: Digest
    """The hash of the row before; zeros in the first row."""
    hash: Digest

    def computed_hash(self) -> str:
        """What ``hash`` has to be for these contents."""
        return sha256_digest(rfc8785.dumps(self.model_dump(mode="json", exclude={"hash"})))

    def line(self) -> str:
        """The row as a line of a file, without its line feed."""
        return rfc8785.dumps(self.model_dump(mode="json")).decode()


@dataclass(frozen=True)
class Tampering:
    """Something that is not as it was written, from one row's number to another's."""

    kind: TamperingKind
    first: int
    last: int
    sentence: str


def next_number(previous: ChainedRow | None) -> int:
    """The number of the row behind ``previous``; None where the chain is empty."""
    return 1 if previous is None else previous.number + 1


def next_previous_hash(previous: ChainedRow | None) -> str:
    """What the row behind ``previous`` holds as the hash of the row before."""
    return ZERO_DIGEST if previous is None else previous.hash


def check_chain(rows: Sequence[ChainedRow], last_number: int = 0) -> tuple[Tampering, ...]:
    """What is wrong with a chain, which has to be whole and in the order in which it was found.

    ``last_number``: so many rows there were at least, as is known from elsewhere.
    """
    found = [*_misplaced(rows), *_missing(rows, last_number), *_edited(rows)]
    by_number = {row.number: row for row in rows}
    found += _replaced(by_number, {each.first for each in found if each.kind == "edited"})
    return tuple(sorted(found, key=lambda each: (each.first, each.last)))


def rows_are(first: int, last: int) -> str:
    """The rows as the beginning of a sentence."""
    return f"row {first} is" if first == last else f"rows {first} to {last} are"


def _misplaced(rows: Sequence[ChainedRow]) -> Iterator[Tampering]:
    for number, times in Counter(row.number for row in rows).items():
        if times > 1:
            sentence = f"there are {times} rows {number}: all but one were inserted"
            yield Tampering("inserted", number, number, sentence)
    for one, next_one in pairwise(rows):
        if next_one.number < one.number:
            sentence = f"row {next_one.number} stands behind row {one.number}"
            yield Tampering("reordered", next_one.number, one.number, sentence)


def _missing(rows: Sequence[ChainedRow], last_number: int) -> Iterator[Tampering]:
    """Gaps in the numbers, at the end too as far as more rows are known of."""
    numbers = sorted({0} | {row.number for row in rows})
    if last_number > numbers[-1]:
        numbers.append(last_number + 1)
    for one, next_one in pairwise(numbers):
        if next_one > one + 1:
            first, last = one + 1, next_one - 1
            yield Tampering("dropped", first, last, f"{rows_are(first, last)} missing")


def _edited(rows: Sequence[ChainedRow]) -> Iterator[Tampering]:
    for row in rows:
        if row.computed_hash() != row.hash:
            sentence = f"row {row.number} was edited: its contents do not have the hash that it states"
            yield Tampering("edited", row.number, row.number, sentence)


def _replaced(rows: Mapping[int, ChainedRow], edited: set[int]) -> Iterator[Tampering]:
    """Rows that fit themselves, and not the row that was written behind them."""
    for number in sorted(rows):
        row, before = rows[number], rows.get(number - 1)
        if number == 1 and row.previous_hash != ZERO_DIGEST:
            yield Tampering("replaced", 1, 1, "row 1 follows another row: the log's beginning was replaced")
        if before is None or number in edited or row.previous_hash == before.hash:
            continue
        sentence = f"row {number - 1} was replaced: row {number} was written behind another one"
        yield Tampering("replaced", number - 1, number - 1, sentence)
