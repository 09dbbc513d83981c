"""Who may look at the dashboard: sessions and single-use sign-in links, kept hashed.

A session has the rights of whoever opened it; one that a token opened ends with that token. Sessions lie in a
table of their own, so that neither a cookie nor a link ever works as an API token.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

from orchestrator.domain.credentials import OpenSession, SessionKind, SessionRecord
from orchestrator.domain.errors import NotFound, Unauthenticated
from orchestrator.domain.identity import Principal
from orchestrator.domain.pages import Key, Page
from orchestrator.domain.ports import Clock, Records, Unit
from orchestrator.services.audit import identify
from orchestrator.services.tokens import is_live

SESSION_S = 12 * 3600
TICKET_S = 15 * 60


@dataclass(frozen=True)
class SessionService:
    """Opens, checks and closes browser sessions."""

    records: Records
    clock: Clock

    def open(self, holder: Principal, is_current: Callable[[Unit], bool] = lambda _: True) -> str:
        """A session for whoever proved who they are; its secret goes into the cookie and nowhere else.

        Raises:
            Unauthenticated: the proof is not ``is_current`` any more.
        """
        secret = secrets.token_urlsafe(32)
        self._add("session", secret, holder, is_current)
        return secret

    def issue_ticket(self, holder: Principal) -> str:
        """A ticket that opens one session, once, within a quarter of an hour."""
        issued_unix_s = self.clock.now_unix_s()
        ticket = f"{issued_unix_s}.{secrets.token_urlsafe(32)}"
        # Kept until the end of the session that it may open: that end is bound to the token's own.
        self._add("ticket", ticket, holder)
        return ticket

    def redeem_ticket(self, ticket: str) -> str:
        """A session in exchange for a ticket, which is used up.

        Raises:
            Unauthenticated: the ticket is not known, was used, or is too old.
        """
        ticket_hash = _hash("ticket", ticket)
        with self.records.write() as unit:
            record = unit.sessions.take("ticket", ticket_hash)
            if record is not None:
                identify(record.name, record.role)
        # A known ticket begins with the time at which we wrote it: its hash covers that.
        if record is None or self.clock.now_unix_s() >= int(ticket.partition(".")[0]) + TICKET_S:
            raise Unauthenticated("this sign-in link was used already, or is older than 15 minutes")
        return self.open(_principal(record))

    def holder_of(self, secret: str | None) -> Principal | None:
        """The session behind a cookie, or None when there is no valid one."""
        if not secret:
            return None
        with self.records.read() as unit:
            record = unit.sessions.by_hash("session", _hash("session", secret))
            if record is None or not self._is_live(unit, record):
                return None
        return _principal(record)

    def list(self, after: Key | None, limit: int) -> Page[OpenSession]:
        """The open sessions, by number."""
        number = 0 if after is None else int(after[0])
        with self.records.read() as unit:
            found = unit.sessions.open_after(number, limit + 1, self.clock.now_unix_s())
        return Page.of(found, limit, lambda session: (session.session,))

    def end(self, session: int) -> None:
        """Sign a browser out from now on. Raises NotFound."""
        with self.records.write() as unit:
            if not unit.sessions.end(session):
                raise NotFound(f"there is no session {session}")

    def close(self, secret: str) -> None:
        """End a session."""
        with self.records.write() as unit:
            unit.sessions.remove(_hash("session", secret))

    def _is_live(self, unit: Unit, session: SessionRecord) -> bool:
        now_unix_s = self.clock.now_unix_s()
        if now_unix_s >= session.expires_unix_s:
            return False
        if session.token is None:
            return True
        token = unit.tokens.by_id(session.token)
        return token is not None and is_live(unit, token, now_unix_s)

    def _add(
        self,
        kind: SessionKind,
        secret: str,
        holder: Principal,
        is_current: Callable[[Unit], bool] = lambda _: True,
    ) -> None:
        now_unix_s = self.clock.now_unix_s()
        ends_unix_s = min(now_unix_s + SESSION_S, holder.expires_unix_s)
        record = SessionRecord(
            kind=kind,
            name=holder.name,
            role=holder.role,
            node=holder.node,
            operations=holder.operations,
            token=holder.token,
            expires_unix_s=ends_unix_s,
        )
        with self.records.write() as unit:
            if not is_current(unit):
                raise Unauthenticated("this sign-in was overtaken by a change; try again")
            unit.sessions.remove_expired(now_unix_s)
            unit.sessions.add(record, _hash(kind, secret))


def _principal(record: SessionRecord) -> Principal:
    return Principal(
        record.name, record.role, record.expires_unix_s, record.node, record.operations, record.token
    )


def _hash(kind: SessionKind, secret: str) -> str:
    return sha256(f"{kind}:{secret}".encode()).hexdigest()
