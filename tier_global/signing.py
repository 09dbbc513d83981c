"""What signs for a node in its rounds, as a port; and the signer that holds the key in the same process."""

from typing import Protocol

from contracts.messages import Attestation, Commit, Domain, Proposal
from contracts.signatures import personal_digest, sign
from tier_global.exchange import identity_text
from tier_global.keys import SigningKey

RoundMessage = Proposal | Commit | Attestation
"""What a node signs in a round; a reveal needs no signature."""


class Signer(Protocol):
    """Signs for one node. Every method may raise NodeRefusal."""

    @property
    def node(self) -> str:
        """The account that the node was admitted with."""

    def address(self) -> str:
        """The account of the signing key, or the contract wallet that it signs for."""

    def sign(self, message: RoundMessage) -> str:
        """The signature of a message."""

    def identify(self, task: int, round_number: int, challenge: str) -> str:
        """The signature that says who the node is, in one round."""


class KeySigner:
    """Signs whatever it is given with a key that it holds."""

    def __init__(self, node: str, key: SigningKey, domain: Domain) -> None:
        self._node = node
        self._key = key
        self._domain = domain

    @property
    def node(self) -> str:
        return self._node

    def address(self) -> str:
        return self._key.address

    def sign(self, message: RoundMessage) -> str:
        return message.sign(self._domain, self._key.reveal())

    def identify(self, task: int, round_number: int, challenge: str) -> str:
        text = identity_text(self._domain.chain_id, self._node, task, round_number, challenge)
        return sign(personal_digest(text), self._key.reveal())
