"""Asks contracts what they have signed (ERC-1271), where a signature is not by an account's key.

The question costs a call to the chain, so it comes last, outside of any unit, and is bounded: by the minute
for whoever asks, and at a time for all together.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from threading import BoundedSemaphore
from typing import TypeVar

from orchestrator.domain.chain import ChainError
from orchestrator.domain.errors import BadSignature, Unavailable
from orchestrator.domain.ports import ContractSigners
from orchestrator.domain.signatures import SignatureClaim, UnprovenSignature
from orchestrator.services.audit import asker
from orchestrator.services.throttle import Throttle

MOST_AT_A_TIME = 4
"""Questions that wait for the chain; a slow endpoint must not hold all of the hub's threads."""

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class SignatureService:
    """``contracts`` None: this hub cannot ask them, and takes signatures by keys only."""

    contracts: ContractSigners | None
    throttle: Throttle
    _places: BoundedSemaphore = field(default_factory=lambda: BoundedSemaphore(MOST_AT_A_TIME))

    def settle(self, attempt: Callable[[SignatureClaim | None], Answer]) -> Answer:
        """What ``attempt`` gives; when it doubts a signature that a contract accepts, then given that claim.

        Raises:
            BadSignature: the account's contract, if it is one, does not accept the signature.
            TooManyRequests, Unavailable: it cannot be asked now.
        """
        try:
            return attempt(None)
        except UnprovenSignature as doubt:
            if self.contracts is None:
                raise
            if not self.accept(doubt.claim):
                raise BadSignature(f"{doubt}, and no contract at that account accepts it") from doubt
            accepted = doubt.claim
        return attempt(accepted)

    def accept(self, claim: SignatureClaim) -> bool:
        """Whether the chain would take it; False where the chain is not asked.

        Raises:
            TooManyRequests, Unavailable: it cannot be asked now.
        """
        if self.contracts is None:
            return False
        self.throttle.contract_signature(asker() or f"account:{claim.account}")
        if not self._places.acquire(blocking=False):
            raise Unavailable("too many signatures of contracts are being checked; try again in a moment")
        try:
            return self.contracts.have_signed(claim)
        except ChainError as error:
            raise Unavailable(
                "the signature is not by the account's key, and the chain cannot be asked whether the "
                "account is a contract that accepts it; try again in a moment"
            ) from error
        finally:
            self._places.release()
