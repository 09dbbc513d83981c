"""What the conductor asks a node and what the node answers: typed, and free of Flower.

Adapters travel as the bytes of their canonical files, named by the digest that they are said to have;
whoever receives them checks that. ``spec`` and ``report`` are JSON documents as bytes.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from contracts.digests import Digest
from contracts.messages import (
    MAX_PROPOSERS,
    Address,
    Attestation,
    Commit,
    Proposal,
    Reveal,
    RoundNumber,
    Signature,
    TaskNumber,
)
from contracts.task import MAX_SPEC_BYTES

MAX_REPORT_BYTES = 1 << 20
MAX_ADAPTERS = MAX_PROPOSERS + 1
"""Every proposal of a round, and the parent."""

Spec = Annotated[bytes, Field(max_length=MAX_SPEC_BYTES)]
Report = Annotated[bytes, Field(max_length=MAX_REPORT_BYTES)]
Adapters = Annotated[Mapping[Digest, bytes], Field(max_length=MAX_ADAPTERS)]
Seconds = Annotated[Mapping[str, Annotated[float, Field(allow_inf_nan=False)]], Field(max_length=32)]


class _Exchange(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    task: TaskNumber
    round: RoundNumber

    @property
    def size_bytes(self) -> int:
        """Bytes of the documents and adapters that travel with this message."""
        documents = sum(len(getattr(self, name, b"")) for name in ("spec", "report"))
        adapters: Mapping[str, bytes] = getattr(self, "adapters", {})
        return documents + sum(len(data) for data in adapters.values())


class IdentifyRequest(_Exchange):
    """Who are you? ``challenge`` is random, so that an answer cannot be a copy of an old one."""

    stage: Literal["identify"] = "identify"
    challenge: Digest


class TrainRequest(_Exchange):
    """Train one adapter from the parent, the only adapter in ``adapters``."""

    stage: Literal["train"] = "train"
    spec: Spec
    adapters: Adapters


class CommitRequest(_Exchange):
    """Score the round's proposals; ``adapters`` holds the parent and what the hub has of the proposals."""

    stage: Literal["commit"] = "commit"
    spec: Spec
    adapters: Adapters


class RevealRequest(_Exchange):
    """Open the commitment."""

    stage: Literal["reveal"] = "reveal"


class AttestRequest(_Exchange):
    """Attest the aggregate. Spec and adapters come along for a node that did not score in this round."""

    stage: Literal["attest"] = "attest"
    spec: Spec = b""
    adapters: Adapters = Field(default_factory=dict)


class IdentifyReply(_Exchange):
    """The node's account, and its signing key's signature of ``identity_text``."""

    stage: Literal["identify"] = "identify"
    node: Address
    signature: Signature


class TrainReply(_Exchange):
    """One signed proposal, its adapter and its report."""

    stage: Literal["train"] = "train"
    proposal: Proposal
    signature: Signature
    report: Report
    adapters: Adapters
    seconds: Seconds


class CommitReply(_Exchange):
    """A signed commitment to scores."""

    stage: Literal["commit"] = "commit"
    commit: Commit
    signature: Signature
    seconds: Seconds


class RevealReply(_Exchange):
    """The scores behind the commitment."""

    stage: Literal["reveal"] = "reveal"
    reveal: Reveal


class AttestReply(_Exchange):
    """A signed attestation of the aggregate."""

    stage: Literal["attest"] = "attest"
    attestation: Attestation
    signature: Signature
    seconds: Seconds


class RefusalReply(_Exchange):
    """The node did not do what it was asked, and why."""

    stage: Literal["refusal"] = "refusal"
    code: Annotated[str, Field(max_length=64)]
    reason: Annotated[str, Field(max_length=500)]


Request = Annotated[
    IdentifyRequest | TrainRequest | CommitRequest | RevealRequest | AttestRequest,
    Field(discriminator="stage"),
]
Reply = Annotated[
    IdentifyReply | TrainReply | CommitReply | RevealReply | AttestReply | RefusalReply,
    Field(discriminator="stage"),
]


def sender_of(reply: Reply) -> str | None:
    """The node that a reply says it is from, None of a refusal."""
    match reply:
        case IdentifyReply(node=node):
            return node
        case TrainReply(proposal=message):
            return message.node
        case CommitReply(commit=message):
            return message.node
        case RevealReply(reveal=message):
            return message.node
        case AttestReply(attestation=message):
            return message.node
    return None


def identity_text(chain_id: int, node: str, task: int, round_number: int, challenge: str) -> str:
    """What a node signs (EIP-191) to say who it is in one round of one chain."""
    place = f"round {round_number} of task {task} on chain {chain_id}"
    return f"Collegium: node {node} answers {challenge} in {place}"
