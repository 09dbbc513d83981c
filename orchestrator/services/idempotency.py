"""Keeps the answers of requests that carry an ``Idempotency-Key``, so that the same request is done once."""

import secrets
from dataclasses import dataclass
from hashlib import sha256

from orchestrator.domain.idempotency import (
    KEPT_S,
    AnswerNotKept,
    Claim,
    IdempotencyKeyReused,
    IdempotencyRecord,
    KeptAnswer,
    RequestStillRunning,
)
from orchestrator.domain.ports import Clock, Records


@dataclass(frozen=True)
class IdempotencyService:
    """Claims, keeps and gives back; the claim of a process that died before its answer ends after a while."""

    records: Records
    clock: Clock

    def begin(self, *, owner: str, operation: str, key: str, request: bytes) -> Claim | KeptAnswer:
        """The answer that was given to this request before, or the claim to answer it now.

        Raises:
            IdempotencyKeyReused: the owner used the key of this operation for another request.
            RequestStillRunning: the same request is being answered.
            AnswerNotKept: the same request was answered with a secret.
        """
        now_unix_s = self.clock.now_unix_s()
        claim = Claim(_digest(owner, operation, key), secrets.token_hex(16))
        fingerprint = sha256(request).hexdigest()
        with self.records.write() as unit:
            unit.idempotency.remove_claimed_until(now_unix_s - KEPT_S)
            known = unit.idempotency.of_scope(claim.scope)
            if known is None or known.is_dead(now_unix_s):
                unit.idempotency.save(IdempotencyRecord(claim, fingerprint, now_unix_s))
                return claim
        if known.fingerprint != fingerprint:
            raise IdempotencyKeyReused("this Idempotency-Key was sent with another request before")
        if known.answer is None:
            raise RequestStillRunning(
                "the request with this Idempotency-Key is being answered; ask again soon"
            )
        if known.answer.body is None:
            raise AnswerNotKept("this request was answered; the answer held a secret and cannot be repeated")
        return known.answer

    def finish(self, claim: Claim, answer: KeptAnswer) -> None:
        """Keep the answer; nothing happens when the claim was given to somebody else meanwhile."""
        with self.records.write() as unit:
            known = unit.idempotency.of_scope(claim.scope)
            if known is not None and known.claim == claim:
                record = IdempotencyRecord(claim, known.fingerprint, self.clock.now_unix_s(), answer)
                unit.idempotency.save(record)

    def release(self, claim: Claim) -> None:
        """Forget a request that has no answer to keep, so that it can be sent again."""
        with self.records.write() as unit:
            unit.idempotency.remove(claim)


def _digest(*parts: str) -> str:
    return sha256("\n".join(parts).encode()).hexdigest()
