"""Who signed: an account's key (ECDSA), or else the account's contract (ERC-1271), as the chain takes it.

The first can be seen in the bytes. The second only the chain knows: what the key did not sign is doubted, and
whoever may ask the chain asks, and comes back with the claim that the contract accepted.
"""

from dataclasses import dataclass
from typing import Protocol

from contracts.digests import digest_text
from contracts.errors import InvalidMessage
from contracts.messages import Domain
from orchestrator.domain.errors import BadSignature


@dataclass(frozen=True)
class SignatureClaim:
    """That an account signed a digest."""

    account: str
    digest: str
    signature: str


class UnprovenSignature(BadSignature):
    """The signature is not by the account's key; the account may be a contract that accepts it."""

    def __init__(self, message: str, claim: SignatureClaim) -> None:
        super().__init__(message)
        self.claim = claim


class SignedMessage(Protocol):
    """EIP-712 typed data."""

    def require_signer(self, domain: Domain, signature: str, signer: str) -> None:
        """Raises InvalidMessage unless the signer's key made the signature."""

    def digest(self, domain: Domain) -> bytes:
        """What is signed."""


def require_signed(
    message: SignedMessage,
    domain: Domain,
    signature: str,
    account: str,
    *,
    accepted: SignatureClaim | None,
    refusal: str,
) -> None:
    """Refuse a message that ``account`` has not signed.

    ``accepted`` is what its contract accepted, if it was asked.

    Raises:
        UnprovenSignature: the key did not sign it, nor did a contract as far as is known; the text is
            ``refusal`` and what is wrong with the signature.
    """
    try:
        message.require_signer(domain, signature, account)
    except InvalidMessage as error:
        claim = SignatureClaim(account, digest_text(message.digest(domain)), signature)
        if claim != accepted:
            raise UnprovenSignature(f"{refusal}: {error}", claim) from error
