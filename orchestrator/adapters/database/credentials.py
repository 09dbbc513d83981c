"""Tokens, sessions and people in tables."""

from collections.abc import Collection
from typing import cast

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from orchestrator.adapters.database.credential_models import SessionRow, TokenRow, UserRow
from orchestrator.domain.credentials import (
    NewToken,
    OpenSession,
    SessionKind,
    SessionRecord,
    TokenRecord,
    UserRecord,
)
from orchestrator.domain.identity import Role


class SqlTokenRepository:
    """``TokenRepository`` over one session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def by_hashes(self, token_hashes: Collection[str]) -> dict[str, TokenRecord]:
        """The tokens with those hashes, as far as there are any."""
        rows = self._session.scalars(select(TokenRow).where(TokenRow.token_hash.in_(token_hashes)))
        return {row.token_hash: _token(row) for row in rows}

    def by_id(self, token: int) -> TokenRecord | None:
        """The token of that number."""
        row = self._session.get(TokenRow, token)
        return None if row is None else _token(row)

    def after(self, token: int, limit: int, *, node: str | None) -> list[TokenRecord]:
        """The tokens after a number, oldest first; of a node where one is named."""
        query = select(TokenRow).where(TokenRow.id > token).order_by(TokenRow.id).limit(limit)
        if node is not None:
            query = query.where(TokenRow.node == node)
        return [_token(row) for row in self._session.scalars(query)]

    def add(self, token: NewToken, token_hash: str) -> TokenRecord:
        """Record a token."""
        row = TokenRow(
            name=token.name,
            role=token.role,
            token_hash=token_hash,
            node=token.node,
            operations=_listed(token.operations),
            created_unix_s=token.created_unix_s,
            expires_unix_s=token.expires_unix_s,
            issued_by=token.issued_by,
            signer=token.signer,
        )
        self._session.add(row)
        self._session.flush()
        return _token(row)

    def replace(self, token: TokenRecord, token_hash: str) -> None:
        """Give a token another secret and other times; the sessions that it opened end."""
        self._session.execute(delete(SessionRow).where(SessionRow.token == token.id))
        self._session.execute(
            update(TokenRow)
            .where(TokenRow.id == token.id)
            .values(
                token_hash=token_hash,
                created_unix_s=token.created_unix_s,
                expires_unix_s=token.expires_unix_s,
            )
        )

    def remove(self, token: int) -> None:
        """Forget a token and end the sessions that it opened; nothing happens when there is none."""
        self._session.execute(delete(TokenRow).where(TokenRow.id == token))

    def remove_named(self, name: str) -> None:
        """Forget all tokens of a name, likewise."""
        self._session.execute(delete(TokenRow).where(TokenRow.name == name))

    def remove_expired(self, now_unix_s: int) -> None:
        """Forget all tokens that have expired, likewise."""
        self._session.execute(delete(TokenRow).where(TokenRow.expires_unix_s <= now_unix_s))


class SqlSessionRepository:
    """``SessionRepository`` over one session of the database."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def by_hash(self, kind: SessionKind, secret_hash: str) -> SessionRecord | None:
        """The one with that hash."""
        query = select(SessionRow).where(SessionRow.kind == kind, SessionRow.secret_hash == secret_hash)
        row = self._session.scalar(query)
        return None if row is None else _record(row)

    def take(self, kind: SessionKind, secret_hash: str) -> SessionRecord | None:
        """The one with that hash, which is forgotten: of two who ask, one gets it."""
        record = self.by_hash(kind, secret_hash)
        if record is not None:
            self.remove(secret_hash)
        return record

    def count(self, kind: SessionKind) -> int:
        """How many there are."""
        query = select(func.count()).select_from(SessionRow).where(SessionRow.kind == kind)
        return self._session.scalar(query) or 0

    def add(self, session: SessionRecord, secret_hash: str) -> None:
        """Record one."""
        self._session.add(
            SessionRow(
                kind=session.kind,
                secret_hash=secret_hash,
                name=session.name,
                role=session.role,
                node=session.node,
                operations=_listed(session.operations),
                token=session.token,
                expires_unix_s=session.expires_unix_s,
            )
        )
        self._session.flush()

    def remove(self, secret_hash: str) -> None:
        """Forget one; nothing happens when there is none."""
        self._session.execute(delete(SessionRow).where(SessionRow.secret_hash == secret_hash))

    def open_after(self, session: int, limit: int, now_unix_s: int) -> list[OpenSession]:
        """The browsers' sessions after a number that have not expired, in order."""
        query = select(SessionRow).where(
            SessionRow.id > session, SessionRow.kind == "session", SessionRow.expires_unix_s > now_unix_s
        )
        return [_open(row) for row in self._session.scalars(query.order_by(SessionRow.id).limit(limit))]

    def end(self, session: int) -> bool:
        """Forget the browser's session of that number; False when there is none."""
        row = self._session.get(SessionRow, session)
        if row is None or row.kind != "session":
            return False
        self._session.execute(delete(SessionRow).where(SessionRow.id == session))
        return True

    def remove_named(self, name: str) -> None:
        """Forget all of a name."""
        self._session.execute(delete(SessionRow).where(SessionRow.name == name))

    def remove_expired(self, now_unix_s: int) -> None:
        """Forget all that have expired."""
        self._session.execute(delete(SessionRow).where(SessionRow.expires_unix_s <= now_unix_s))


class SqlUserRepository:
    """``UserRepository`` over one session of the database."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def by_name(self, name: str) -> UserRecord | None:
        """The person of that name."""
        row = self._session.get(UserRow, name)
        if row is None:
            return None
        return _user(row)

    def after(self, name: str, limit: int) -> list[UserRecord]:
        """The people after a name, by name."""
        query = select(UserRow).where(UserRow.name > name).order_by(UserRow.name).limit(limit)
        return [_user(row) for row in self._session.scalars(query)]

    def save(self, user: UserRecord) -> None:
        """Insert or replace a person."""
        self._session.merge(
            UserRow(
                name=user.name,
                password_hash=user.password_hash,
                failures=user.failures,
                waits_until_unix_s=user.waits_until_unix_s,
            )
        )

    def remove(self, name: str) -> bool:
        """Forget a person; False when there was none."""
        if self._session.get(UserRow, name) is None:
            return False
        self._session.execute(delete(UserRow).where(UserRow.name == name))
        return True


def _user(row: UserRow) -> UserRecord:
    return UserRecord(row.name, row.password_hash, row.failures, row.waits_until_unix_s)


def _open(row: SessionRow) -> OpenSession:
    return OpenSession(row.id, row.name, cast(Role, row.role), row.node, row.token, row.expires_unix_s)


def _record(row: SessionRow) -> SessionRecord:
    return SessionRecord(
        kind=cast(SessionKind, row.kind),
        name=row.name,
        role=cast(Role, row.role),
        node=row.node,
        operations=_operations(row.operations),
        token=row.token,
        expires_unix_s=row.expires_unix_s,
    )


def _token(row: TokenRow) -> TokenRecord:
    return TokenRecord(
        id=row.id,
        name=row.name,
        role=cast(Role, row.role),
        node=row.node,
        operations=_operations(row.operations),
        created_unix_s=row.created_unix_s,
        expires_unix_s=row.expires_unix_s,
        issued_by=row.issued_by,
        signer=row.signer,
    )


def _operations(listed: list[str] | None) -> frozenset[str] | None:
    return None if listed is None else frozenset(listed)


def _listed(operations: frozenset[str] | None) -> list[str] | None:
    return None if operations is None else sorted(operations)
