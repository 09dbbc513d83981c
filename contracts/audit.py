"""The hub's audit log as its auditors read it: rows that each hold the hash of the row before.

A row's hash is the SHA-256 of its canonical JSON (RFC 8785), with the hash of the row before it and without
its own. A row's leaf in a Merkle tree hashes twice, so that no inner node of the tree can pass for one.
"""

from collections.abc import Sequence
from typing import Annotated, Literal, Self

from eth_abi.abi import encode
from eth_utils.crypto import keccak
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from contracts.digests import ZERO_DIGEST, Digest
from contracts.errors import ContractViolation
from contracts.hash_chain import MOST_EXACT, ChainedRow, next_number, next_previous_hash
from contracts.merkle import merkle_root
from contracts.messages import Address

ShortText = Annotated[str, StringConstraints(min_length=1, max_length=200)]
ExactNumber = Annotated[int, Field(ge=0, le=MOST_EXACT)]
AuditOutcome = Literal["done", "refused"]


class InvalidAuditRow(ContractViolation):
    """A line is not a row of an audit log."""

    code = "invalid_audit_row"


class AuditEntry(BaseModel):
    """Something that was done, or refused, through the hub; it never holds a secret, nor what was sent."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    time_unix_s: ExactNumber
    principal: ShortText
    """Who it was: the name that the hub knows, or ``anonymous``."""
    role: ShortText
    operation: ShortText
    """The operation's id in the API's description, or the command's name."""
    task: ExactNumber | None = None
    round: ExactNumber | None = None
    node: Address | None = None
    outcome: AuditOutcome
    reason: ShortText | None = None
    """Why it was refused: the problem's code."""
    correlation_id: ShortText
    body_digest: Digest | None = None
    """SHA-256 of the request's body; none where the body may hold a secret that could be guessed."""


class AuditRow(ChainedRow, AuditEntry):
    """An entry in its place in the log."""

    @classmethod
    def after(cls, previous: "AuditRow | None", entry: AuditEntry) -> Self:
        """The row for ``entry`` behind ``previous``; None where the log is empty."""
        draft = cls(
            **entry.model_dump(),
            number=next_number(previous),
            previous_hash=next_previous_hash(previous),
            hash=ZERO_DIGEST,
        )
        return draft.model_copy(update={"hash": draft.computed_hash()})

    @classmethod
    def parse(cls, line: str | bytes) -> Self:
        """The row in a line of JSON.

        Raises:
            InvalidAuditRow: it is no such row; the message names the field.
        """
        try:
            return cls.model_validate_json(line)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "the line"
            raise InvalidAuditRow(f"{where}: {first['msg']}") from error

    def leaf(self) -> bytes:
        """keccak256(keccak256(abi.encode(number, hash)))."""
        return keccak(keccak(encode(["uint64", "bytes32"], [self.number, bytes.fromhex(self.hash[2:])])))


def epoch_root(rows: Sequence[AuditRow]) -> str:
    """The Merkle root of an epoch's rows, in their order; there must be at least one."""
    return "0x" + merkle_root([row.leaf() for row in rows]).hex()
