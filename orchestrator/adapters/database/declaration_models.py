"""The tables of what networks declare of themselves."""

from sqlalchemy import String, Text
from sqlalchemy.orm import Mapped, mapped_column

from orchestrator.adapters.database.models import Address, Base, DigestText


class SiteRow(Base):
    """A site."""

    __tablename__ = "sites"

    node: Mapped[str] = mapped_column(Address, primary_key=True)
    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    state: Mapped[str] = mapped_column(String(20))


class PolicyRow(Base):
    """A version of a policy; ``document`` is canonical JSON."""

    __tablename__ = "policies"

    node: Mapped[str] = mapped_column(Address, primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    digest: Mapped[str] = mapped_column(DigestText)
    document: Mapped[str] = mapped_column(Text)
    declared_unix_s: Mapped[int]
