"""Requests with an ``Idempotency-Key`` in a table."""

from sqlalchemy import delete
from sqlalchemy.orm import Session

from orchestrator.adapters.database.models import IdempotencyRow
from orchestrator.domain.idempotency import Claim, IdempotencyRecord, KeptAnswer


class SqlIdempotencyRepository:
    """``IdempotencyRepository`` over one session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def of_scope(self, scope: str) -> IdempotencyRecord | None:
        """The request of a scope."""
        row = self._session.get(IdempotencyRow, scope)
        if row is None:
            return None
        answer = None if row.status is None else KeptAnswer(row.status, row.headers, row.body)
        return IdempotencyRecord(Claim(row.scope, row.token), row.fingerprint, row.claimed_unix_s, answer)

    def save(self, record: IdempotencyRecord) -> None:
        """Insert or replace the request of its scope."""
        answer = record.answer
        self._session.merge(
            IdempotencyRow(
                scope=record.claim.scope,
                token=record.claim.token,
                fingerprint=record.fingerprint,
                claimed_unix_s=record.claimed_unix_s,
                status=None if answer is None else answer.status,
                headers={} if answer is None else dict(answer.headers),
                body=None if answer is None else answer.body,
            )
        )
        self._session.flush()

    def remove(self, claim: Claim) -> None:
        """Forget a request, if the claim still holds."""
        self._session.execute(
            delete(IdempotencyRow).where(
                IdempotencyRow.scope == claim.scope, IdempotencyRow.token == claim.token
            )
        )

    def remove_claimed_until(self, unix_s: int) -> None:
        """Forget all requests that were claimed at that time or before."""
        self._session.execute(delete(IdempotencyRow).where(IdempotencyRow.claimed_unix_s <= unix_s))
