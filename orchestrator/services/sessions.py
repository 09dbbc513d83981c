"""Who may look at the dashboard: sessions and single-use sign-in links, kept hashed beside the API tokens.

A session only reads, whatever role signed in. Its record bears the name of the token that opened it, so
that forgetting a token's name ends its sessions too; and its hash is made in another domain than a token's,
so that neither a cookie nor a link ever works as an API token.
"""

import secrets
from dataclasses import dataclass
from hashlib import sha256

from orchestrator.domain.errors import Unauthenticated
from orchestrator.domain.ports import Clock, Records, TokenRecord
from orchestrator.services.audit import identify
from orchestrator.services.tokens import Principal

SESSION_S = 12 * 3600
TICKET_S = 15 * 60


@dataclass(frozen=True)
class SessionService:
    """Opens, checks and closes browser sessions."""

    records: Records
    clock: Clock

    def open(self, holder: Principal) -> str:
        """A session for whoever showed a token; its secret goes into the cookie and nowhere else."""
        secret = secrets.token_urlsafe(32)
        self._add("session", secret, holder.name, self._end_for(holder))
        return secret

    def issue_ticket(self, holder: Principal) -> str:
        """A ticket that opens one session, once, within a quarter of an hour."""
        issued_unix_s = self.clock.now_unix_s()
        ticket = f"{issued_unix_s}.{secrets.token_urlsafe(32)}"
        # Kept until the end of the session that it may open: that end is bound to the token's own.
        self._add("ticket", ticket, holder.name, self._end_for(holder))
        return ticket

    def redeem_ticket(self, ticket: str) -> str:
        """A session in exchange for a ticket, which is used up.

        Raises:
            Unauthenticated: the ticket is not known, was used, or is too old.
        """
        ticket_hash = _hash("ticket", ticket)
        with self.records.write() as unit:
            record = unit.tokens.by_hash(ticket_hash)
            unit.tokens.remove(ticket_hash)
            if record is not None:
                identify(record.name, record.role)
        # A known ticket begins with the time at which we wrote it: its hash covers that.
        if record is None or self.clock.now_unix_s() >= int(ticket.partition(".")[0]) + TICKET_S:
            raise Unauthenticated("this sign-in link was used already, or is older than 15 minutes")
        return self.open(Principal(record.name, record.role, record.expires_unix_s))

    def holder_of(self, secret: str | None) -> Principal | None:
        """The session behind a cookie, or None when there is no valid one."""
        if not secret:
            return None
        with self.records.read() as unit:
            record = unit.tokens.by_hash(_hash("session", secret))
        if record is None or self._expired(record):
            return None
        return Principal(record.name, record.role, record.expires_unix_s)

    def close(self, secret: str) -> None:
        """End a session."""
        with self.records.write() as unit:
            unit.tokens.remove(_hash("session", secret))

    def _end_for(self, holder: Principal) -> int:
        end_unix_s = self.clock.now_unix_s() + SESSION_S
        return end_unix_s if holder.expires_unix_s is None else min(end_unix_s, holder.expires_unix_s)

    def _add(self, kind: str, secret: str, name: str, expires_unix_s: int) -> None:
        with self.records.write() as unit:
            unit.tokens.remove_expired(self.clock.now_unix_s())
            unit.tokens.add(name, "reader", _hash(kind, secret), expires_unix_s)

    def _expired(self, record: TokenRecord) -> bool:
        return record.expires_unix_s is not None and record.expires_unix_s <= self.clock.now_unix_s()


def _hash(kind: str, secret: str) -> str:
    return sha256(f"{kind}:{secret}".encode()).hexdigest()
