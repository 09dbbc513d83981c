"""The tables of enrolment."""

from typing import Any

from sqlalchemy import BigInteger, ForeignKey, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from orchestrator.adapters.database.models import Address, Base, DigestText, RowNumber


class EnrolmentRow(Base):
    """A statement, as it was signed, and what became of it."""

    __tablename__ = "enrolments"

    id: Mapped[int] = mapped_column(RowNumber, primary_key=True)
    node: Mapped[str] = mapped_column(Address, index=True)
    group: Mapped[int] = mapped_column("group_number")
    statement: Mapped[dict[str, Any]]
    signature: Mapped[str] = mapped_column(Text)
    status: Mapped[str] = mapped_column(String(10))
    received_unix_s: Mapped[int]
    changed_unix_s: Mapped[int]
    reason: Mapped[str | None] = mapped_column(String(500))


class InviteRow(Base):
    """An invite; its secret is with the network alone."""

    __tablename__ = "enrolment_invites"

    id: Mapped[int] = mapped_column(RowNumber, primary_key=True)
    digest: Mapped[str] = mapped_column(DigestText, unique=True)
    network: Mapped[str] = mapped_column(String(100))
    group: Mapped[int] = mapped_column("group_number")
    created_unix_s: Mapped[int]
    expires_unix_s: Mapped[int]
    enrolment: Mapped[int | None] = mapped_column(BigInteger, ForeignKey("enrolments.id"), unique=True)
