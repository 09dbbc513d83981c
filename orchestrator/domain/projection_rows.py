"""The projection as plain rows: what two of them differ in, and what one is replaced with."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

RowKey = tuple[tuple[str, int | str], ...]
"""The columns that name a row, and what they hold."""


@dataclass(frozen=True)
class ProjectionRow:
    """A row of one of the projection's tables; ``place`` is the table's among them."""

    place: int
    table: str
    key: RowKey
    values: Mapping[str, object]
    """All its columns, those of the key too."""


@dataclass(frozen=True)
class Difference:
    """The first thing that a stored projection says otherwise than the chain."""

    table: str
    key: RowKey
    column: str | None
    """None: the whole row is missing, or is one too many."""
    stored: object
    chain: object

    @property
    def sentence(self) -> str:
        """What is wrong, for people."""
        row = ", ".join([self.table, *(f"{column} {value}" for column, value in self.key)])
        if self.column is not None:
            return f"{row}: {self.column} is {self.stored!r}, and {self.chain!r} by the chain"
        return f"{row}: the row is missing" if self.stored is None else f"{row}: the chain says nothing of it"


def first_difference(stored: Iterator[ProjectionRow], chain: Iterator[ProjectionRow]) -> Difference | None:
    """Where two projections part; both give their rows by table and key, in ascending order."""
    ours, theirs = next(stored, None), next(chain, None)
    while ours is not None or theirs is not None:
        if ours != theirs:
            return _difference(ours, theirs)
        ours, theirs = next(stored, None), next(chain, None)
    return None


def _difference(ours: ProjectionRow | None, theirs: ProjectionRow | None) -> Difference:
    if theirs is None or (ours is not None and (ours.place, ours.key) < (theirs.place, theirs.key)):
        assert ours is not None, "one of the two is a row"
        return Difference(ours.table, ours.key, None, dict(ours.values), None)
    if ours is None or (theirs.place, theirs.key) < (ours.place, ours.key):
        return Difference(theirs.table, theirs.key, None, None, dict(theirs.values))
    column = next(name for name, value in ours.values.items() if theirs.values[name] != value)
    return Difference(ours.table, ours.key, column, ours.values[column], theirs.values[column])
