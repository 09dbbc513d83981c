"""The audit log in a table that this code only ever adds to."""

from collections.abc import Iterator
from typing import cast

from sqlalchemy import select
from sqlalchemy.orm import Session

from contracts.audit import AuditEntry, AuditOutcome, AuditRow
from orchestrator.adapters.database.audit_models import AuditEpochRow, AuditRowRow
from orchestrator.domain.audit import AuditEpoch, AuditFilter

_BATCH_ROWS = 1000


class SqlAuditRepository:
    """``AuditRepository`` over one session."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._appended: AuditRow | None = None

    def append(self, entry: AuditEntry) -> AuditRow:
        """Write the next row; whoever else writes waits until this unit has ended."""
        # Nobody else can have written after a row of this unit's own.
        row = AuditRow.after(self._appended or self.last(), entry)
        self._session.add(AuditRowRow(**row.model_dump()))
        self._appended = row
        return row

    def last(self) -> AuditRow | None:
        """The newest row; None in an empty log."""
        row = self._session.scalar(select(AuditRowRow).order_by(AuditRowRow.number.desc()).limit(1))
        return None if row is None else _audit_row(row)

    def after(self, number: int, limit: int, wanted: AuditFilter) -> list[AuditRow]:
        """The rows after a number that are wanted, oldest first."""
        query = select(AuditRowRow).where(AuditRowRow.number > number)
        for column, value in (
            (AuditRowRow.principal, wanted.principal),
            (AuditRowRow.operation, wanted.operation),
            (AuditRowRow.outcome, wanted.outcome),
            (AuditRowRow.task, wanted.task),
            (AuditRowRow.node, wanted.node),
        ):
            if value is not None:
                query = query.where(column == value)
        return [
            _audit_row(row) for row in self._session.scalars(query.order_by(AuditRowRow.number).limit(limit))
        ]

    def tells_of(self, operation: str, body_digest: str) -> bool:
        """Whether a row says that an operation with that body was done."""
        query = select(AuditRowRow.number).where(
            AuditRowRow.body_digest == body_digest,
            AuditRowRow.operation == operation,
            AuditRowRow.outcome == "done",
        )
        return self._session.scalar(query.limit(1)) is not None

    def rows(self, first: int, last: int) -> Iterator[AuditRow]:
        """The rows from one number to another, oldest first, not all in memory at once."""
        query = (
            select(AuditRowRow)
            .where(AuditRowRow.number >= first, AuditRowRow.number <= last)
            .order_by(AuditRowRow.number)
            .execution_options(yield_per=_BATCH_ROWS)
        )
        for row in self._session.scalars(query):
            yield _audit_row(row)

    def last_epoch(self) -> AuditEpoch | None:
        """The newest epoch; None before the first was closed."""
        row = self._session.scalar(select(AuditEpochRow).order_by(AuditEpochRow.first.desc()).limit(1))
        return None if row is None else AuditEpoch(row.first, row.last, row.root, row.closed_unix_s)

    def add_epoch(self, epoch: AuditEpoch) -> None:
        """Record that an epoch was closed."""
        self._session.add(
            AuditEpochRow(
                first=epoch.first, last=epoch.last, root=epoch.root, closed_unix_s=epoch.closed_unix_s
            )
        )
        self._session.flush()


def _audit_row(row: AuditRowRow) -> AuditRow:
    # Read as it is: what somebody made of the table by hand must come to light, not fail on the way.
    return AuditRow.model_construct(
        time_unix_s=row.time_unix_s,
        principal=row.principal,
        role=row.role,
        operation=row.operation,
        task=row.task,
        round=row.round,
        node=row.node,
        outcome=cast(AuditOutcome, row.outcome),
        reason=row.reason,
        correlation_id=row.correlation_id,
        body_digest=row.body_digest,
        number=row.number,
        previous_hash=row.previous_hash,
        hash=row.hash,
    )
