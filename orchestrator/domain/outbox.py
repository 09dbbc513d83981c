"""Intents: calls that the control plane means to put on chain, each exactly once, and their life.

    queued → signed → sent ──→ mined → final
       │        ↑               │ ↑      │
       │        │   (reorganised) │      │ (deeper than the confirmations)
       │        │        reorged ←┴──────┘
       │        │           └→ resent → mined
       └────────┴── refused ←── (reverted, or left out of a batch)

The signed bytes are stored before they are broadcast, so that a restart sends the same bytes and never a
second transaction. A mined intent is final when its block is deep enough. When its block leaves the chain,
the same bytes are sent again. A refused intent had no effect on chain; asking again may queue it again.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from pydantic import TypeAdapter

from orchestrator.domain import chain
from orchestrator.domain.chain import (
    Call,
    FeeMarket,
    Fees,
    NodeMessageCall,
    RoundMessageCall,
    SignedTransaction,
)


class IntentStatus(StrEnum):
    """Where an intent stands."""

    QUEUED = "queued"
    SIGNED = "signed"
    SENT = "sent"
    MINED = "mined"
    FINAL = "final"
    REORGED = "reorged"
    RESENT = "resent"
    REFUSED = "refused"


UNSENT = frozenset({IntentStatus.SIGNED, IntentStatus.REORGED})
"""Signed, and still to be broadcast."""
IN_FLIGHT = UNSENT | {IntentStatus.SENT, IntentStatus.RESENT}
"""Signed, and not in a block."""
COMING_BACK = frozenset({IntentStatus.REORGED, IntentStatus.RESENT})
"""Taken out of its block by a reorganisation, and not in another yet."""
MOST_REVERTS = 3
"""How often the message of a node may revert in its block before it is refused."""


@dataclass(frozen=True)
class OutboxRules:
    """How the outbox treats its transactions."""

    confirmations: int = 12
    """Blocks on top of a block that make it final."""
    stuck_after_s: int = 60
    """How long a transaction may wait before it is replaced, if the fees outgrew it."""
    most_fee_wei: int = 500 * 10**9
    """The most that a replacement pays for a unit of gas."""


@dataclass(frozen=True)
class Intent:
    """One call and what became of it; ``gas_used`` sums every transaction that it took.

    ``sender`` and ``nonce`` name the slot that it rides in, ``position`` its place there: a batch carries
    several. ``transaction_hash`` is the slot's newest transaction, or the one that was mined.
    ``is_final``: its block is as deep as it has to be, or it was refused without any.
    """

    id: int
    key: str
    call: Call
    status: IntentStatus
    attempts: int
    changed_unix_s: int
    sender: str | None = None
    nonce: int | None = None
    position: int | None = None
    transaction_hash: str | None = None
    gas_used: int = 0
    block_number: int | None = None
    block_hash: str | None = None
    is_final: bool = False
    error: str | None = None
    correlation_id: str | None = None
    """Of the request, or of the hub's own decision, that caused it; None from before it was kept."""

    @property
    def is_on_chain(self) -> bool:
        """Whether a block has it, final or not."""
        return self.status in (IntentStatus.MINED, IntentStatus.FINAL)

    @property
    def may_be_asked_again(self) -> bool:
        """Whether it can be queued anew without any danger that it happens twice.

        A reverted transaction may succeed after a reorganisation. Most calls the contracts refuse the second
        time; for the others it must be final that the first did nothing.
        """
        if self.status is not IntentStatus.REFUSED:
            return False
        return self.is_final or not isinstance(self.call, _UNREPEATABLE)

    @property
    def nobody_sends_again(self) -> bool:
        """Whether it is a message that its node signs once: nobody asks for it again when it is refused.

        The hub looks at its own calls again, nodes at what they owe in a round.
        """
        return isinstance(self.call, NodeMessageCall)


@dataclass(frozen=True)
class Slot:
    """One nonce of an account: the intents that ride in it, and all transactions ever signed for it.

    At most one of the transactions is mined, whichever it is; then that settles the intents. Oldest first.
    """

    sender: str
    nonce: int
    intents: tuple[Intent, ...]
    transactions: tuple[SignedTransaction, ...]

    @property
    def status(self) -> IntentStatus:
        """Where its intents stand: while it is in flight, all at the same point."""
        return self.intents[0].status

    @property
    def current(self) -> SignedTransaction:
        """The transaction to broadcast: the newest, or the one that was mined before a reorganisation."""
        wanted = self.intents[0].transaction_hash
        return next(each for each in self.transactions if each.hash == wanted)


def reorganised(intent: Intent, now_unix_s: int) -> Intent:
    """A settled intent whose block left the chain: its bytes are to be sent again.

    The gas of a transaction is counted when it settles, which it does again.
    """
    return replace(
        intent,
        status=IntentStatus.REORGED,
        changed_unix_s=now_unix_s,
        gas_used=0,
        block_number=None,
        block_hash=None,
        is_final=False,
        error=None,
    )


def replacement_fees(paid: Fees, market: FeeMarket, most_wei: int) -> Fees | None:
    """What to pay for a transaction that waits although it pays ``paid``.

    None where the base fee and the usual tip have not outgrown it, or where the least step that nodes take
    for a replacement (an eighth, of both) goes beyond ``most_wei`` or would still be too little.
    """
    if market.base_fee_wei <= paid.most_wei and market.tip_wei <= paid.tip_wei:
        return None
    least = Fees(_stepped(paid.most_wei), _stepped(paid.tip_wei))
    tip_wei = max(least.tip_wei, market.tip_wei)
    fees_wei = min(max(least.most_wei, 2 * market.base_fee_wei + tip_wei), most_wei)
    fees = Fees(fees_wei, min(tip_wei, fees_wei))
    is_enough = fees.most_wei >= max(least.most_wei, market.base_fee_wei) and fees.tip_wei >= least.tip_wei
    return fees if is_enough else None


def _stepped(wei: int) -> int:
    """An eighth more, and at least one."""
    return wei + max(1, -(-wei // 8))


_UNREPEATABLE = (chain.CreateTask, chain.FundTask)
"""What the contracts take as often as it is sent."""


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
    chain.AnchorEpoch: "anchor",
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
        case chain.CreateTask() | chain.WaiveSlash() | chain.ExecuteSlash() | chain.AnchorEpoch():
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
