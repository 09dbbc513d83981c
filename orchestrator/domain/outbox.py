"""Intents: calls that the control plane means to put on chain, each exactly once, and their life.

    queued → signed → sent → mined
       └────────┴───────┴──→ refused ──(asked again)──→ queued

The signed bytes are stored before they are broadcast, so that a restart sends the same bytes and never a
second transaction. A refused intent had no effect on chain; asking again may queue it again.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pydantic import TypeAdapter

from orchestrator.domain import chain
from orchestrator.domain.chain import Call, NodeMessageCall, RoundMessageCall


class IntentStatus(StrEnum):
    """Where an intent stands."""

    QUEUED = "queued"
    SIGNED = "signed"
    SENT = "sent"
    MINED = "mined"
    REFUSED = "refused"


@dataclass(frozen=True)
class Intent:
    """One call and what became of it; ``gas_used`` sums every transaction that it took."""

    id: int
    key: str
    call: Call
    status: IntentStatus
    attempts: int
    changed_unix_s: int
    sender: str | None = None
    nonce: int | None = None
    transaction_hash: str | None = None
    raw: bytes | None = None
    gas_used: int = 0
    block_number: int | None = None
    error: str | None = None
    correlation_id: str | None = None
    """Of the request, or of the hub's own decision, that caused it; None from before it was kept."""


@dataclass(frozen=True)
class CallSubject:
    """What a call is about, for records and for reports of gas."""

    kind: str
    task: int | None = None
    round: int | None = None
    node: str | None = None


_KINDS: dict[type[Call], str] = {
    chain.AdmitNode: "admit",
    chain.WaiveSlash: "waive",
    chain.CreateTask: "create_task",
    chain.PauseTask: "pause",
    chain.UnpauseTask: "unpause",
    chain.CancelTask: "cancel",
    chain.FundTask: "fund",
    chain.RequestRound: "request_round",
    chain.Advance: "advance",
    chain.Claim: "claim",
    chain.Withdraw: "withdraw",
    chain.ExecuteSlash: "execute_slash",
    chain.Refund: "refund",
    chain.RelayApproval: "approval",
    chain.RelayRevocation: "revocation",
    chain.RelayReturn: "return",
    chain.RelayRotation: "rotation",
    chain.RelayExit: "exit",
    chain.RelayMigration: "migration",
    chain.RelayProposal: "proposal",
    chain.RelayCommit: "commit",
    chain.RelayReveal: "reveal",
    chain.RelayAttestation: "attestation",
}
_ADAPTERS: dict[str, TypeAdapter[Any]] = {kind: TypeAdapter(call) for call, kind in _KINDS.items()}


def call_kind(call: Call) -> str:
    """The kind of a call, as in the outbox and in reports of gas."""
    return _KINDS[type(call)]


def encode_call(call: Call) -> dict[str, Any]:
    """The call's fields as JSON; ``decode_call`` with its kind gives it back."""
    fields: dict[str, Any] = _ADAPTERS[call_kind(call)].dump_python(call, mode="json")
    return fields


def decode_call(kind: str, fields: dict[str, Any]) -> Call:
    """The call that ``encode_call`` wrote."""
    call: Call = _ADAPTERS[kind].validate_python(fields)
    return call


def subject_of(call: Call, open_round: int | None = None) -> CallSubject:
    """What a call is about; ``open_round`` is the round that a request or an advance belongs to."""
    kind = call_kind(call)
    match call:
        case chain.AdmitNode(node=node) | chain.Claim(node) | chain.Withdraw(node):
            return CallSubject(kind, node=node)
        case chain.CreateTask() | chain.WaiveSlash() | chain.ExecuteSlash():
            return CallSubject(kind)
        case (
            chain.FundTask(task=task)
            | chain.Refund(task=task)
            | chain.PauseTask(task)
            | chain.UnpauseTask(task)
            | chain.CancelTask(task)
        ):
            return CallSubject(kind, task)
        case chain.RequestRound(task) | chain.Advance(task):
            return CallSubject(kind, task, open_round)
        case chain.RelayApproval() | chain.RelayRevocation():
            return CallSubject(kind, call.message.task, node=call.message.node)
        case chain.RelayReturn() | chain.RelayRotation() | chain.RelayExit() | chain.RelayMigration():
            return CallSubject(kind, node=call.message.node)
        case chain.RelayProposal() | chain.RelayCommit() | chain.RelayReveal() | chain.RelayAttestation():
            message = call.message
            return CallSubject(kind, message.task, message.round, message.node)


def message_key(call: NodeMessageCall | RoundMessageCall) -> str:
    """The key of a node's message.

    One message for each of a node's nonces at a contract; in a round, one of a kind per node and state of the
    round. The context is part of that: after a reorganisation the same node signs anew for the same round.
    """
    match call:
        case chain.RelayApproval() | chain.RelayRevocation():
            return f"tasks:{call.message.node}:{call.message.nonce}"
        case chain.RelayReturn() | chain.RelayRotation() | chain.RelayExit() | chain.RelayMigration():
            return f"registry:{call.message.node}:{call.message.nonce}"
        case chain.RelayProposal() | chain.RelayCommit() | chain.RelayReveal() | chain.RelayAttestation():
            message = call.message
            return f"{call_kind(call)}:{message.task}:{message.round}:{message.context}:{message.node}"
