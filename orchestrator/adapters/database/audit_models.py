"""The table of the audit log."""

from sqlalchemy import BigInteger, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from orchestrator.adapters.database.models import Address, Base, DigestText

_ShortText = String(200)


class AuditRowRow(Base):
    """A row of the audit log, as ``contracts.audit.AuditRow`` has it."""

    __tablename__ = "audit_log"
    # Nothing follows the same row twice, whatever the locks do: the chain cannot fork.
    __table_args__ = (
        UniqueConstraint("previous_hash", name="uq_audit_log_previous_hash"),
        Index("ix_audit_log_principal", "principal"),
        Index("ix_audit_log_task", "task"),
        Index("ix_audit_log_node", "node"),
        Index("ix_audit_log_body_digest", "body_digest"),
    )

    number: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    time_unix_s: Mapped[int]
    principal: Mapped[str] = mapped_column(_ShortText)
    role: Mapped[str] = mapped_column(_ShortText)
    operation: Mapped[str] = mapped_column(_ShortText)
    task: Mapped[int | None]
    round: Mapped[int | None]
    node: Mapped[str | None] = mapped_column(Address)
    outcome: Mapped[str] = mapped_column(String(10))
    reason: Mapped[str | None] = mapped_column(_ShortText)
    correlation_id: Mapped[str] = mapped_column(_ShortText)
    body_digest: Mapped[str | None] = mapped_column(DigestText)
    previous_hash: Mapped[str] = mapped_column(DigestText)
    hash: Mapped[str] = mapped_column(DigestText)


class AuditEpochRow(Base):
    """Rows whose Merkle root was given to the outbox."""

    __tablename__ = "audit_epochs"

    first: Mapped[int] = mapped_column("first_row", primary_key=True, autoincrement=False)
    last: Mapped[int] = mapped_column("last_row")
    root: Mapped[str] = mapped_column(DigestText)
    closed_unix_s: Mapped[int]
