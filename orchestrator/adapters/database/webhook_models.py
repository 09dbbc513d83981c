"""The tables of webhooks."""

from sqlalchemy import JSON, BigInteger, ForeignKey, Index, LargeBinary, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from orchestrator.adapters.database.models import Base, RowNumber


class SubscriptionRow(Base):
    """A receiver."""

    __tablename__ = "webhooks"
    # A number is never given twice: message ids are made of it.
    __table_args__ = {"sqlite_autoincrement": True}  # noqa: RUF012

    id: Mapped[int] = mapped_column(RowNumber, primary_key=True)
    url: Mapped[str] = mapped_column(String(2000))
    kinds: Mapped[list[str]] = mapped_column(JSON)
    salt: Mapped[bytes] = mapped_column(LargeBinary)
    after_event: Mapped[int]
    created_unix_s: Mapped[int]


class DeliveryRow(Base):
    """One event for one receiver."""

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        UniqueConstraint("subscription", "event", name="uq_webhook_deliveries_event"),
        Index("ix_webhook_deliveries_due", "status", "next_unix_s"),
    )

    id: Mapped[int] = mapped_column(RowNumber, primary_key=True)
    subscription: Mapped[int] = mapped_column(BigInteger, ForeignKey("webhooks.id", ondelete="CASCADE"))
    event: Mapped[int]
    status: Mapped[str] = mapped_column(String(10))
    attempts: Mapped[int]
    next_unix_s: Mapped[int]
    changed_unix_s: Mapped[int]
    answered: Mapped[int | None]
    error: Mapped[str | None] = mapped_column(String(300))
