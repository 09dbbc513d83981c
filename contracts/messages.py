"""The protocol's typed messages: the same EIP-712 structs as in ``evm/src/Messages.sol``.

Field order and types here ARE the wire format; a test holds them to the type hashes in Solidity.
Amounts of time are unix seconds, scores are millionths of a nat (micronats) per target token.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, Self

from eth_abi.abi import encode
from eth_utils.address import is_address, to_checksum_address
from eth_utils.crypto import keccak
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    WithJsonSchema,
)

from contracts.digests import Digest
from contracts.errors import InvalidMessage
from contracts.signatures import domain_separator, recover_signer, sign, struct_hash, typed_digest

SCORE_LIMIT_MICRONATS = 8_000_000
"""Scores are clipped to ±8 nats."""
INVALID_SCORE = -(2**31)
"""Sentinel: I hold bytes that match the digest, and they break the manifest."""
UNAVAILABLE_SCORE = INVALID_SCORE + 1
"""Sentinel: I could not get bytes that match the digest."""
MAX_PROPOSERS = 16


def _checksum_address(text: str) -> str:
    if not is_address(text):
        raise ValueError("not an EVM address")
    return to_checksum_address(text)


def _score_in_range(score: int) -> int:
    if score not in (INVALID_SCORE, UNAVAILABLE_SCORE) and abs(score) > SCORE_LIMIT_MICRONATS:
        raise ValueError(f"a score lies within ±{SCORE_LIMIT_MICRONATS} micronats or is a sentinel")
    return score


Address = Annotated[
    str,
    AfterValidator(_checksum_address),
    WithJsonSchema({"type": "string", "pattern": "^0x[0-9a-fA-F]{40}$"}),
]
Score = Annotated[int, AfterValidator(_score_in_range)]
TaskNumber = Annotated[int, Field(ge=1, lt=1 << 64)]
RoundNumber = Annotated[int, Field(ge=1, lt=1 << 32)]
Context = Annotated[str, StringConstraints(pattern=r"^0x[0-9a-f]{32}$")]
Nonce = Annotated[int, Field(ge=0, lt=1 << 256)]
UnixSeconds = Annotated[int, Field(ge=0, lt=1 << 64)]
NetworkName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._\-]{0,99}$")]
FlowerKey = Annotated[
    str, StringConstraints(pattern=r"^ecdsa-sha2-nistp(256|384|521) [A-Za-z0-9+/]{40,400}={0,2}$")
]
Signature = Annotated[str, StringConstraints(pattern=r"^0x([0-9a-f]{2}){65,1024}$")]


@dataclass(frozen=True)
class Domain:
    """The EIP-712 domain: name ``Collegium``, version ``1``, a chain, the contract that takes the message."""

    chain_id: int
    verifying_contract: str

    @property
    def separator(self) -> bytes:
        """The domain's hash."""
        return domain_separator("Collegium", "1", self.chain_id, self.verifying_contract)


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def parse(cls, fields: object) -> Self:
        """The message in ``fields`` (JSON-like).

        Raises:
            InvalidMessage: a field is missing, unknown or out of range; the message names it.
        """
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise InvalidMessage(f"{cls.__name__.lower()}.{where}: {first['msg']}") from error


class _SignedMessage(_Message):
    """A message that a node's signing key signs (EIP-712)."""

    FIELDS: ClassVar[tuple[tuple[str, str, str], ...]]
    """(python name, Solidity type, Solidity name), in the struct's order."""

    node: Address

    def digest(self, domain: Domain) -> bytes:
        """The EIP-712 digest, which is what is signed."""
        members = [(kind, solidity_name, getattr(self, name)) for name, kind, solidity_name in self.FIELDS]
        return typed_digest(domain.separator, struct_hash(type(self).__name__, members))

    def sign(self, domain: Domain, private_key: str | bytes) -> str:
        """The 65-byte signature of this message, as 0x text."""
        return sign(self.digest(domain), private_key)

    def require_signer(self, domain: Domain, signature: str, signer: str) -> None:
        """Refuse a signature that ``signer`` did not make for this message in this domain.

        Raises:
            InvalidMessage: malformed signature, or another signer.
        """
        recovered = recover_signer(self.digest(domain), signature)
        if recovered.lower() != signer.lower():
            raise InvalidMessage(f"the signature is not by {signer}, the signing key of {self.node}")


class Approval(_SignedMessage):
    """A node approves a task: its spec and its own policy (tasks contract)."""

    FIELDS = (
        ("node", "address", "node"),
        ("task", "uint64", "task"),
        ("spec_digest", "bytes32", "specDigest"),
        ("policy_digest", "bytes32", "policyDigest"),
        ("nonce", "uint256", "nonce"),
        ("expiry_unix_s", "uint64", "expiry"),
    )

    task: TaskNumber
    spec_digest: Digest
    policy_digest: Digest
    nonce: Nonce
    expiry_unix_s: UnixSeconds


class Revocation(_SignedMessage):
    """A node takes its approval of a task back, from the next round on (tasks contract)."""

    FIELDS = (
        ("node", "address", "node"),
        ("task", "uint64", "task"),
        ("nonce", "uint256", "nonce"),
        ("expiry_unix_s", "uint64", "expiry"),
    )

    task: TaskNumber
    nonce: Nonce
    expiry_unix_s: UnixSeconds


class Rotation(_SignedMessage):
    """Replaces a node's signing key; signed by the node's own account (registry)."""

    FIELDS = (
        ("node", "address", "node"),
        ("signer", "address", "signer"),
        ("nonce", "uint256", "nonce"),
        ("expiry_unix_s", "uint64", "expiry"),
    )

    signer: Address
    nonce: Nonce
    expiry_unix_s: UnixSeconds


class Exit(_SignedMessage):
    """Sends an amount of a node's stake on its way out; signed by the node's own account (registry)."""

    FIELDS = (
        ("node", "address", "node"),
        ("amount", "uint256", "amount"),
        ("nonce", "uint256", "nonce"),
        ("expiry_unix_s", "uint64", "expiry"),
    )

    amount: Annotated[int, Field(ge=1, lt=1 << 256)]
    nonce: Nonce
    expiry_unix_s: UnixSeconds


class Migration(_SignedMessage):
    """Moves what has matured to the successor registry; signed by the node's own account (registry)."""

    FIELDS = (
        ("node", "address", "node"),
        ("successor", "address", "successor"),
        ("nonce", "uint256", "nonce"),
        ("expiry_unix_s", "uint64", "expiry"),
    )

    successor: Address
    nonce: Nonce
    expiry_unix_s: UnixSeconds


class Return(_SignedMessage):
    """A node is back after too many absences; signed by its signing key (registry)."""

    FIELDS = (
        ("node", "address", "node"),
        ("nonce", "uint256", "nonce"),
        ("expiry_unix_s", "uint64", "expiry"),
    )

    nonce: Nonce
    expiry_unix_s: UnixSeconds


class Proposal(_SignedMessage):
    """A proposer's adapter for a round, by digest."""

    FIELDS = (
        ("node", "address", "node"),
        ("task", "uint64", "task"),
        ("round", "uint32", "round"),
        ("context", "bytes16", "context"),
        ("parent_digest", "bytes32", "parentDigest"),
        ("adapter_digest", "bytes32", "adapterDigest"),
        ("report_digest", "bytes32", "reportDigest"),
    )

    task: TaskNumber
    round: RoundNumber
    context: Context
    parent_digest: Digest
    adapter_digest: Digest
    report_digest: Digest


class Commit(_SignedMessage):
    """A voter binds itself to scores that it does not show yet."""

    FIELDS = (
        ("node", "address", "node"),
        ("task", "uint64", "task"),
        ("round", "uint32", "round"),
        ("context", "bytes16", "context"),
        ("commitment", "bytes32", "commitment"),
    )

    task: TaskNumber
    round: RoundNumber
    context: Context
    commitment: Digest


class Reveal(_Message):
    """The scores behind a commitment, one per proposal in the proposals' order; the commitment proves it."""

    node: Address
    task: TaskNumber
    round: RoundNumber
    context: Context
    scores_micronats: Annotated[tuple[Score, ...], Field(max_length=MAX_PROPOSERS)]
    salt: Digest

    @property
    def commitment(self) -> str:
        """keccak256(abi.encode(task, round, context, node, EIP-712 hash of scores, salt)).

        EIP-712 hashes an array as the keccak256 of its elements, each encoded to 32 bytes.
        """
        scores = b"".join(encode(["int32"], [score]) for score in self.scores_micronats)
        encoded = encode(
            ["uint64", "uint32", "bytes16", "address", "bytes32", "bytes32"],
            [
                self.task,
                self.round,
                bytes.fromhex(self.context[2:]),
                self.node,
                keccak(scores),
                bytes.fromhex(self.salt[2:]),
            ],
        )
        return "0x" + keccak(encoded).hex()

    def commit(self) -> Commit:
        """The commit that this reveal opens."""
        return Commit(
            node=self.node,
            task=self.task,
            round=self.round,
            context=self.context,
            commitment=self.commitment,
        )


class Attestation(_SignedMessage):
    """A voter's word on the aggregate: its digest, and loss(parent) − loss(aggregate) on its records."""

    FIELDS = (
        ("node", "address", "node"),
        ("task", "uint64", "task"),
        ("round", "uint32", "round"),
        ("context", "bytes16", "context"),
        ("aggregate_digest", "bytes32", "aggregateDigest"),
        ("score_micronats", "int32", "score"),
    )

    task: TaskNumber
    round: RoundNumber
    context: Context
    aggregate_digest: Digest
    score_micronats: Annotated[int, Field(ge=-SCORE_LIMIT_MICRONATS, le=SCORE_LIMIT_MICRONATS)]


class Enrolment(_SignedMessage):
    """A network binds its keys together, for an invite of the council; signed by the node's own account.

    The hub takes it, with the registry in the domain; no contract does. ``flower_key`` is the SuperNode's
    public key as OpenSSH writes it, without a comment; ``certificate`` is the SHA-256 of the NVFlare
    certificate's DER.
    """

    FIELDS = (
        ("node", "address", "node"),
        ("signer", "address", "signer"),
        ("network", "string", "network"),
        ("flower_key", "string", "flowerKey"),
        ("certificate", "bytes32", "certificate"),
        ("invite", "bytes32", "invite"),
    )

    signer: Address
    network: NetworkName
    flower_key: FlowerKey | Literal[""]
    """Empty while the network has none."""
    certificate: Digest
    """Zeros while the network has none."""
    invite: Digest
    """SHA-256 of the invite's text: the statement is for this invite and no other."""
