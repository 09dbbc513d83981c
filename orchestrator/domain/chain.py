"""The chain as the control plane sees it: blocks with events, calls, and the two ports to read and to send.

The events themselves are everybody's (``contracts.events``). An adapter translates web3 to these types; the
projection and the outbox know nothing else of a chain.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from contracts.events import Event
from contracts.messages import (
    Approval,
    Attestation,
    Commit,
    Exit,
    Migration,
    Proposal,
    Return,
    Reveal,
    Revocation,
    Rotation,
)
from contracts.task_config import TaskConfig


@dataclass(frozen=True)
class StakeTerms:
    """What the registry fixes for ever about stakes."""

    unbonding_s: int = 14 * 24 * 3600
    """How long a stake that leaves may still be slashed."""
    appeal_s: int = 3 * 24 * 3600
    """How long the council may waive a slash."""
    most_absences: int = 3
    """So many absences in a row keep a node out of draws until it says that it is back."""


@dataclass(frozen=True)
class Block:
    """One block of the chain."""

    number: int
    hash: str
    parent_hash: str
    timestamp_unix_s: int


@dataclass(frozen=True)
class IndexedEvent:
    """An event and where it lies; unique by (transaction_hash, block_hash, log_index)."""

    event: Event
    block_number: int
    block_hash: str
    transaction_hash: str
    log_index: int


# Calls, one per transaction that the control plane sends. First what only the council may do.


@dataclass(frozen=True)
class AdmitNode:
    node: str
    signer: str
    group: int


@dataclass(frozen=True)
class WaiveSlash:
    slash: int


@dataclass(frozen=True)
class CreateTask:
    config: TaskConfig


@dataclass(frozen=True)
class PauseTask:
    task: int


@dataclass(frozen=True)
class UnpauseTask:
    task: int


@dataclass(frozen=True)
class CancelTask:
    task: int


@dataclass(frozen=True)
class FundTask:
    """Anyone may; the control plane pays from the council's account, which gets back what is left."""

    task: int
    amount: int


@dataclass(frozen=True)
class AnchorEpoch:
    """Anyone may, for a log of their own; the hub's is under the council's name, which the registry tells."""

    root: str
    first: int
    last: int


CouncilCall = (
    AdmitNode | WaiveSlash | CreateTask | PauseTask | UnpauseTask | CancelTask | FundTask | AnchorEpoch
)
"""What the council's account sends."""


# What anyone may do.


@dataclass(frozen=True)
class RequestRound:
    task: int


@dataclass(frozen=True)
class Advance:
    task: int


@dataclass(frozen=True)
class Claim:
    node: str


@dataclass(frozen=True)
class Withdraw:
    node: str


@dataclass(frozen=True)
class ExecuteSlash:
    slash: int


@dataclass(frozen=True)
class Refund:
    task: int
    funder: str


# What nodes sign.


@dataclass(frozen=True)
class RelayApproval:
    message: Approval
    signature: str


@dataclass(frozen=True)
class RelayRevocation:
    message: Revocation
    signature: str


@dataclass(frozen=True)
class RelayReturn:
    message: Return
    signature: str


@dataclass(frozen=True)
class RelayRotation:
    message: Rotation
    signature: str


@dataclass(frozen=True)
class RelayExit:
    message: Exit
    signature: str


@dataclass(frozen=True)
class RelayMigration:
    message: Migration
    signature: str


@dataclass(frozen=True)
class RelayProposal:
    message: Proposal
    signature: str


@dataclass(frozen=True)
class RelayCommit:
    message: Commit
    signature: str


@dataclass(frozen=True)
class RelayReveal:
    message: Reveal


@dataclass(frozen=True)
class RelayAttestation:
    message: Attestation
    signature: str


TasksMessageCall = RelayApproval | RelayRevocation
RegistryMessageCall = RelayReturn | RelayRotation | RelayExit | RelayMigration
NodeMessageCall = TasksMessageCall | RegistryMessageCall
"""Messages without a round: each uses up one of the node's nonces."""
RoundMessageCall = RelayProposal | RelayCommit | RelayReveal | RelayAttestation
Call = (
    CouncilCall
    | RequestRound
    | Advance
    | Claim
    | Withdraw
    | ExecuteSlash
    | Refund
    | NodeMessageCall
    | RoundMessageCall
)


@dataclass(frozen=True)
class Fees:
    """What a transaction pays for a unit of gas at most (EIP-1559): in all, and to the block's maker."""

    most_wei: int
    tip_wei: int


@dataclass(frozen=True)
class FeeMarket:
    """What the next block asks: the newest block's base fee, and the tip that the node suggests."""

    base_fee_wei: int
    tip_wei: int


@dataclass(frozen=True)
class SignedTransaction:
    """A transaction ready to broadcast; stored before it is, so that a restart sends the same bytes."""

    hash: str
    raw: bytes
    nonce: int
    fees: Fees


@dataclass(frozen=True)
class SignedBatch:
    """A transaction that carries several calls, and what became of each, by its place in the request.

    What is neither taken nor refused did not fit. ``transaction`` None: every call was refused.
    """

    transaction: SignedTransaction | None
    taken: tuple[int, ...]
    refused: Mapping[int, str]


@dataclass(frozen=True)
class Receipt:
    """What became of a mined transaction; ``skipped`` has the reason of each call that a batch left out.

    The reason is the name of the contract's error, empty where the call gave none: it ran out of gas.
    """

    transaction_hash: str
    block_number: int
    block_hash: str
    succeeded: bool
    gas_used: int
    skipped: Mapping[int, str] = field(default_factory=dict)


class ChainError(Exception):
    """The chain could not be asked, or answered with something unusable; trying again may help."""


class CallRefused(ChainError):
    """The contract refuses the call; ``reason`` is the name of its custom error."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the contract refuses the call: {reason}")
        self.reason = reason


class NonceUsed(ChainError):
    """Another transaction was mined with this one's nonce: sign the call again with the next nonce."""


class ChainReader(Protocol):
    """Reads blocks, events and the few facts that are not in an event."""

    def head(self) -> Block:
        """The newest block."""

    def block(self, number: int) -> Block:
        """The block at a height."""

    def blocks(self, first_block: int, last_block: int) -> Sequence[Block]:
        """The blocks of a range, each the parent of the next."""

    def events(self, first_block: int, last_block: int) -> Sequence[IndexedEvent]:
        """All events of the deployment's contracts in a range of blocks, in their order."""

    def is_due(self, task: int) -> bool:
        """Whether ``advance`` would move the task's open round in the next block."""

    def stake_terms(self) -> StakeTerms:
        """What the registry fixes for ever."""


class TransactionLane(Protocol):
    """One sending account: signs, broadcasts and follows its transactions, one nonce after the other."""

    @property
    def sender(self) -> str:
        """The account's address."""

    def next_nonce(self) -> int:
        """The account's nonce counting transactions that are mined."""

    def nonce_at(self, block_number: int) -> int:
        """The account's next nonce as of the end of a block."""

    def sign(self, call: Call, nonce: int) -> SignedTransaction:
        """Estimate, price and sign a call.

        Raises:
            CallRefused: the contract would revert.
        """

    def sign_batch(self, calls: Sequence[RoundMessageCall], nonce: int) -> SignedBatch:
        """Estimate, price and sign one transaction that carries as many of the calls as may share one.

        A call that the contract refuses now is left out, with its reason; one that it refuses when the
        transaction is mined is skipped there, and the receipt says so. At least one is taken or refused.
        """

    def market(self) -> FeeMarket:
        """What the next block asks for a unit of gas."""

    def replacement(self, transaction: SignedTransaction, fees: Fees) -> SignedTransaction:
        """The same transaction at the same nonce, signed for other fees."""

    def broadcast(self, transaction: SignedTransaction) -> None:
        """Hand a signed transaction to the chain; handing it twice is harmless.

        Raises:
            NonceUsed: it can never be mined, because another transaction took its nonce.
        """

    def knows(self, transaction_hash: str) -> bool:
        """Whether the chain has the transaction, mined or waiting."""

    def receipt(self, transaction_hash: str) -> Receipt | None:
        """The receipt, or None while the transaction is not mined."""
