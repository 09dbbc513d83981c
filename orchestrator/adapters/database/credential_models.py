"""The tables of credentials: hashes of tokens and sessions."""

from sqlalchemy import JSON, ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from orchestrator.adapters.database.models import Address, Base, RowNumber


class TokenRow(Base):
    """An API token's hash; ``operations`` None: all that its role may do."""

    __tablename__ = "api_tokens"

    id: Mapped[int] = mapped_column(RowNumber, primary_key=True)
    name: Mapped[str] = mapped_column(String(100), index=True)
    role: Mapped[str] = mapped_column(String(20))
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    node: Mapped[str | None] = mapped_column(Address)
    operations: Mapped[list[str] | None] = mapped_column(JSON(none_as_null=True))
    created_unix_s: Mapped[int]
    expires_unix_s: Mapped[int]
    issued_by: Mapped[str] = mapped_column(String(100))
    signer: Mapped[str | None] = mapped_column(Address)


class SessionRow(Base):
    """A session's or ticket's hash; it goes with the token that it rests on."""

    __tablename__ = "sessions"

    id: Mapped[int] = mapped_column(RowNumber, primary_key=True)
    kind: Mapped[str] = mapped_column(String(10))
    secret_hash: Mapped[str] = mapped_column(String(64), unique=True)
    name: Mapped[str] = mapped_column(String(100))
    role: Mapped[str] = mapped_column(String(20))
    node: Mapped[str | None] = mapped_column(Address)
    operations: Mapped[list[str] | None] = mapped_column(JSON(none_as_null=True))
    token: Mapped[int | None] = mapped_column(ForeignKey("api_tokens.id", ondelete="CASCADE"), index=True)
    expires_unix_s: Mapped[int]


class UserRow(Base):
    """A person with a password."""

    __tablename__ = "users"

    name: Mapped[str] = mapped_column(String(80), primary_key=True)
    password_hash: Mapped[str] = mapped_column(String(200))
    failures: Mapped[int]
    waits_until_unix_s: Mapped[int]
