"""Whether a node has signed something: by its signing key, as the orchestrator knows it.

A node may change its key at any time. It may be a contract wallet (ERC-1271), which only the chain can ask;
the orchestrator does.
"""

from collections.abc import Mapping
from typing import Protocol

from contracts.digests import digest_text
from contracts.errors import InvalidMessage
from contracts.signatures import recover_signer


class SignerBook(Protocol):
    """Who knows the signing keys. Every method may raise HubUnavailable or HubRefused."""

    def signers(self) -> Mapping[str, str]:
        """Signing key address by node address."""

    def accepts(self, node: str, digest: str, signature: str) -> bool:
        """Whether the chain would take a signature over a digest as the node's signing key's."""


class Signers:
    """Signing key by node: read once, and again where a signature does not fit."""

    def __init__(self, book: SignerBook) -> None:
        self._book = book
        self._known: Mapping[str, str] = {}

    def knows(self, node: str) -> bool:
        """Whether it is a node at all."""
        if node not in self._known:
            self._known = self._book.signers()
        return node in self._known

    def have_signed(self, node: str, digest: bytes, signature: str) -> bool:
        """Whether the node has signed the digest; what its key did not, its wallet is asked about."""
        if not self.knows(node):
            return False
        recovered = _recovered(digest, signature)
        if self._is_key_of(node, recovered):
            return True
        # It may have changed its key since.
        self._known = self._book.signers()
        if self._is_key_of(node, recovered):
            return True
        return self._book.accepts(node, digest_text(digest), signature)

    def _is_key_of(self, node: str, account: str | None) -> bool:
        return account is not None and account == self._known.get(node, "").lower()


def _recovered(digest: bytes, signature: str) -> str | None:
    try:
        return recover_signer(digest, signature).lower()
    except InvalidMessage:
        return None
