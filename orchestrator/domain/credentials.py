"""What is kept of the credentials that were given out, never their secrets; and the ports to keep it."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, Protocol

from orchestrator.domain.identity import Role


@dataclass(frozen=True)
class TokenRecord:
    """An API token without the token. ``issued_by`` names who asked for it.

    ``signer`` is the signing key that its holder proved, if it was given for that: it ends with that key.
    """

    id: int
    name: str
    role: Role
    node: str | None
    operations: frozenset[str] | None
    created_unix_s: int
    expires_unix_s: int
    issued_by: str
    signer: str | None = None


@dataclass(frozen=True)
class NewToken:
    """A token that is about to be recorded."""

    name: str
    role: Role
    node: str | None
    operations: frozenset[str] | None
    created_unix_s: int
    expires_unix_s: int
    issued_by: str
    signer: str | None = None


class TokenRepository(Protocol):
    """API tokens."""

    def by_hashes(self, token_hashes: Collection[str]) -> dict[str, TokenRecord]:
        """The tokens with those hashes, as far as there are any."""

    def by_id(self, token: int) -> TokenRecord | None:
        """The token of that number."""

    def after(self, token: int, limit: int, *, node: str | None) -> list[TokenRecord]:
        """The tokens after a number, oldest first; of a node where one is named."""

    def add(self, token: NewToken, token_hash: str) -> TokenRecord:
        """Record a token."""

    def replace(self, token: TokenRecord, token_hash: str) -> None:
        """Give a token another secret and other times; the sessions that it opened end."""

    def remove(self, token: int) -> None:
        """Forget a token and end the sessions that it opened; nothing happens when there is none."""

    def remove_named(self, name: str) -> None:
        """Forget all tokens of a name, likewise."""

    def remove_expired(self, now_unix_s: int) -> None:
        """Forget all tokens that have expired, likewise."""


SessionKind = Literal["session", "ticket", "challenge"]


@dataclass(frozen=True)
class SessionRecord:
    """A browser's session, a ticket that opens one, or a challenge that a node is to sign.

    ``token`` is the token that it rests on, if any.
    """

    kind: SessionKind
    name: str
    role: Role
    node: str | None
    operations: frozenset[str] | None
    token: int | None
    expires_unix_s: int


@dataclass(frozen=True)
class OpenSession:
    """A browser's session under its number."""

    session: int
    name: str
    role: Role
    node: str | None
    token: int | None
    expires_unix_s: int


class SessionRepository(Protocol):
    """Sessions, tickets and challenges."""

    def by_hash(self, kind: SessionKind, secret_hash: str) -> SessionRecord | None:
        """The one with that hash."""

    def take(self, kind: SessionKind, secret_hash: str) -> SessionRecord | None:
        """The one with that hash, which is forgotten: of two who ask, one gets it."""

    def open_after(self, session: int, limit: int, now_unix_s: int) -> list[OpenSession]:
        """The browsers' sessions after a number that have not expired, in order."""

    def end(self, session: int) -> bool:
        """Forget the browser's session of that number; False when there is none."""

    def count(self, kind: SessionKind) -> int:
        """How many there are."""

    def add(self, session: SessionRecord, secret_hash: str) -> None:
        """Record one."""

    def remove(self, secret_hash: str) -> None:
        """Forget one; nothing happens when there is none."""

    def remove_named(self, name: str) -> None:
        """Forget all of a name."""

    def remove_expired(self, now_unix_s: int) -> None:
        """Forget all that have expired."""


@dataclass(frozen=True)
class UserRecord:
    """A person with a password; after too many wrong ones the name waits."""

    name: str
    password_hash: str
    failures: int = 0
    waits_until_unix_s: int = 0


class UserRepository(Protocol):
    """People with a password."""

    def by_name(self, name: str) -> UserRecord | None:
        """The person of that name."""

    def after(self, name: str, limit: int) -> list[UserRecord]:
        """The people after a name, by name."""

    def save(self, user: UserRecord) -> None:
        """Insert or replace a person."""

    def remove(self, name: str) -> bool:
        """Forget a person; False when there was none."""
