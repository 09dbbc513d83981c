"""A request that is sent twice is done once: what is kept of a request under its ``Idempotency-Key``."""

from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.domain.errors import Conflict, Unacceptable

KEPT_S = 24 * 3600
"""How long an answer is given again."""
RUNNING_S = 120
"""After this time a request that gave no answer is taken for dead, and its key may be used again."""


class InvalidIdempotencyKey(Unacceptable):
    """The key is empty, too long, or holds more than visible ASCII characters."""

    code = "invalid_idempotency_key"


class IdempotencyKeyReused(Unacceptable):
    """The key was sent before with another request."""

    code = "idempotency_key_reused"


class RequestStillRunning(Conflict):
    """The request with this key has no answer yet."""

    code = "request_still_running"


class AnswerNotKept(Conflict):
    """The request with this key was answered, and the answer held a secret that is not kept."""

    code = "answer_not_kept"


@dataclass(frozen=True)
class KeptAnswer:
    """An answer as it is given again; ``body`` None where it held a secret."""

    status: int
    headers: Mapping[str, str]
    body: bytes | None


@dataclass(frozen=True)
class Claim:
    """The right to answer the request of a scope, for whoever holds the token."""

    scope: str
    token: str


@dataclass(frozen=True)
class IdempotencyRecord:
    """One request: ``scope`` says whose key of which operation it is, ``fingerprint`` what was asked."""

    claim: Claim
    fingerprint: str
    claimed_unix_s: int
    answer: KeptAnswer | None = None

    def is_dead(self, now_unix_s: int) -> bool:
        """Whether its answer is no longer kept, or will not come any more."""
        lasts_s = RUNNING_S if self.answer is None else KEPT_S
        return now_unix_s >= self.claimed_unix_s + lasts_s
