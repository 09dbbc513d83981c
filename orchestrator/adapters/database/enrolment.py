"""Invites and enrolments in tables."""

from typing import cast

from sqlalchemy import select
from sqlalchemy.orm import Session

from contracts.messages import Enrolment
from orchestrator.adapters.database.enrolment_models import EnrolmentRow, InviteRow
from orchestrator.domain.enrolment import EnrolmentRecord, EnrolmentStatus, InviteRecord


class SqlEnrolmentRepository:
    """``EnrolmentRepository`` over one session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def add_invite(
        self, digest: str, network: str, group: int, now_unix_s: int, expires_unix_s: int
    ) -> InviteRecord:
        """Record an invite."""
        row = InviteRow(
            digest=digest,
            network=network,
            group=group,
            created_unix_s=now_unix_s,
            expires_unix_s=expires_unix_s,
        )
        self._session.add(row)
        self._session.flush()
        return _invite(row)

    def invite(self, digest: str) -> InviteRecord | None:
        """The invite whose secret has that digest."""
        row = self._session.scalar(select(InviteRow).where(InviteRow.digest == digest))
        return None if row is None else _invite(row)

    def add(
        self, invite: InviteRecord, statement: Enrolment, signature: str, now_unix_s: int
    ) -> EnrolmentRecord:
        """Keep a statement, which uses the invite up."""
        row = EnrolmentRow(
            node=statement.node,
            group=invite.group,
            statement=statement.model_dump(mode="json"),
            signature=signature,
            status="pending",
            received_unix_s=now_unix_s,
            changed_unix_s=now_unix_s,
        )
        self._session.add(row)
        self._session.flush()
        self._session.get_one(InviteRow, invite.id).enrolment = row.id
        self._session.flush()
        return _record(row)

    def get(self, enrolment: int) -> EnrolmentRecord | None:
        """The enrolment of that number."""
        row = self._session.get(EnrolmentRow, enrolment)
        return None if row is None else _record(row)

    def all(self) -> list[EnrolmentRecord]:
        """All enrolments, oldest first."""
        return [_record(row) for row in self._session.scalars(select(EnrolmentRow).order_by(EnrolmentRow.id))]

    def after(self, enrolment: int, limit: int) -> list[EnrolmentRecord]:
        """The enrolments after a number, oldest first."""
        query = select(EnrolmentRow).where(EnrolmentRow.id > enrolment).order_by(EnrolmentRow.id)
        return [_record(row) for row in self._session.scalars(query.limit(limit))]

    def save(self, record: EnrolmentRecord) -> None:
        """Store what became of an enrolment; its statement and signature stay as they are."""
        row = self._session.get_one(EnrolmentRow, record.id)
        row.status = record.status
        row.changed_unix_s = record.changed_unix_s
        row.reason = record.reason


def _invite(row: InviteRow) -> InviteRecord:
    return InviteRecord(
        id=row.id,
        digest=row.digest,
        network=row.network,
        group=row.group,
        created_unix_s=row.created_unix_s,
        expires_unix_s=row.expires_unix_s,
        enrolment=row.enrolment,
    )


def _record(row: EnrolmentRow) -> EnrolmentRecord:
    return EnrolmentRecord(
        id=row.id,
        group=row.group,
        statement=Enrolment.parse(row.statement),
        signature=row.signature,
        status=cast(EnrolmentStatus, row.status),
        received_unix_s=row.received_unix_s,
        changed_unix_s=row.changed_unix_s,
        reason=row.reason,
    )
