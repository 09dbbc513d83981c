"""Nodes sign in with their signing key: a challenge, one signed answer, a short-lived operator's token."""

import secrets
from dataclasses import dataclass
from hashlib import sha256

from contracts.deployment import Deployment
from contracts.digests import digest_text
from contracts.errors import InvalidMessage
from contracts.sign_in import SignIn
from orchestrator.domain.credentials import SessionRecord
from orchestrator.domain.errors import BadSignature, Unauthenticated, Unavailable, UnknownNode
from orchestrator.domain.ports import Clock, Records, Unit
from orchestrator.domain.signatures import SignatureClaim, UnprovenSignature
from orchestrator.services.audit import identify
from orchestrator.services.signatures import SignatureService
from orchestrator.services.tokens import IssuedToken, TokenService

CHALLENGE_S = 300
TOKEN_S = 3600
MOST_CHALLENGES = 10_000
"""More open challenges than that are somebody's nonsense."""


@dataclass(frozen=True)
class NodeSignInService:
    """Challenges and what answers them; ``public_url`` is the address that nodes dial."""

    records: Records
    clock: Clock
    tokens: TokenService
    deployment: Deployment
    public_url: str
    signatures: SignatureService

    def challenge(self, node: str) -> SignIn:
        """What the node's signing key is to sign within five minutes.

        Raises:
            UnknownNode: the node was never admitted.
            Unavailable: too many challenges are open.
        """
        now_unix_s, nonce = self.clock.now_unix_s(), secrets.token_hex(16)
        expires_unix_s = now_unix_s + CHALLENGE_S
        with self.records.write() as unit:
            asked = self._sign_in(node, _signer(unit, node), nonce, expires_unix_s)
            unit.sessions.remove_expired(now_unix_s)
            if unit.sessions.count("challenge") >= MOST_CHALLENGES:
                raise Unavailable("too many sign-ins are under way; try again in a few minutes")
            record = SessionRecord("challenge", node, "operator", node, None, None, expires_unix_s)
            unit.sessions.add(record, _hash(nonce))
        return asked

    def redeem(self, nonce: str, signature: str) -> IssuedToken:
        """A token for the signed challenge of that nonce, which is used up whatever comes of it.

        Raises:
            Unauthenticated: the challenge is not known, was used or is too old, or neither the signing key
                nor, where that is a contract, the contract signed.
            TooManyRequests, Unavailable: as ``SignatureService.settle``.
        """
        with self.records.write() as unit:
            record = unit.sessions.take("challenge", _hash(nonce))
        if record is None or record.node is None or self.clock.now_unix_s() >= record.expires_unix_s:
            raise Unauthenticated("this challenge is not known, was used already, or is too old")
        with self.records.read() as unit:
            signer = _signer(unit, record.node)
        asked = self._sign_in(record.node, signer, nonce, record.expires_unix_s)
        try:
            self.signatures.settle(lambda accepted: _require_signed(asked, signature, accepted))
        except BadSignature as error:
            raise Unauthenticated(str(error)) from error
        identify(record.name, "operator")
        return self.tokens.issue_to_signer(record.node, signer, TOKEN_S)

    def _sign_in(self, node: str, signer: str, nonce: str, expires_unix_s: int) -> SignIn:
        return SignIn(
            url=self.public_url,
            node=node,
            signer=signer,
            chain_id=self.deployment.chain_id,
            registry=self.deployment.registry,
            nonce=nonce,
            issued_unix_s=expires_unix_s - CHALLENGE_S,
            expires_unix_s=expires_unix_s,
        )


def _require_signed(asked: SignIn, signature: str, accepted: SignatureClaim | None) -> None:
    try:
        is_by_key = asked.signer_of(signature) == asked.signer
    except InvalidMessage:
        is_by_key = False
    claim = SignatureClaim(asked.signer, digest_text(asked.digest), signature)
    if not is_by_key and claim != accepted:
        raise UnprovenSignature("the signature is not by the node's signing key over this challenge", claim)


def _signer(unit: Unit, node: str) -> str:
    state = unit.projection.node(node)
    if state is None:
        raise UnknownNode(f"node {node} was never admitted")
    return state.signer


def _hash(nonce: str) -> str:
    return sha256(f"challenge:{nonce}".encode()).hexdigest()
