"""The audit log's port and the words for what is searched in it; its format is ``contracts.audit``."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from contracts.audit import AuditEntry, AuditOutcome, AuditRow


@dataclass(frozen=True)
class AuditFilter:
    """Which rows are looked for; None means any."""

    principal: str | None = None
    operation: str | None = None
    outcome: AuditOutcome | None = None
    task: int | None = None
    node: str | None = None


ANY_ROW = AuditFilter()


@dataclass(frozen=True)
class AuditEpoch:
    """Rows that are anchored together, from the first to the last, and their Merkle root."""

    first: int
    last: int
    root: str
    closed_unix_s: int


class AuditRepository(Protocol):
    """The log. There is no way to change or remove a row."""

    def append(self, entry: AuditEntry) -> AuditRow:
        """Write the next row; whoever else writes waits until this unit has ended."""

    def last(self) -> AuditRow | None:
        """The newest row; None in an empty log."""

    def after(self, number: int, limit: int, wanted: AuditFilter) -> list[AuditRow]:
        """The rows after a number that are wanted, oldest first."""

    def tells_of(self, operation: str, body_digest: str) -> bool:
        """Whether a row says that an operation with that body was done."""

    def rows(self, first: int, last: int) -> Iterator[AuditRow]:
        """The rows from one number to another, oldest first, not all in memory at once."""

    def last_epoch(self) -> AuditEpoch | None:
        """The newest epoch; None before the first was closed."""

    def add_epoch(self, epoch: AuditEpoch) -> None:
        """Record that an epoch was closed."""
