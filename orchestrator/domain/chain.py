"""The chain as the control plane sees it: typed events, calls and the two ports to read and to send.

An adapter translates web3 to these types; the projection and the outbox know nothing else of a chain.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from contracts.messages import Approval, Attestation, Commit, Proposal, Reveal
from contracts.phase import Phase


@dataclass(frozen=True)
class TaskConfig:
    """What the council fixes for a task; the fields of ``TaskConfig`` in Solidity, in its order."""

    spec_digest: str
    genesis_digest: str
    rounds: int
    proposers: int
    voters: int
    min_proposals: int
    min_reveals: int
    min_scorers: int
    attestation_quorum_bps: int
    proposer_share_bps: int
    acceptance_threshold_micronats: int
    closeness_range_micronats: int
    training_s: int
    committing_s: int
    revealing_s: int
    attesting_s: int
    stake_cap: int


# Events, one per event of the contracts. Addresses are checksummed, digests 0x text, amounts base units.


@dataclass(frozen=True)
class NodeAdmitted:
    node: str
    signer: str
    group: int


@dataclass(frozen=True)
class SignerRotated:
    node: str
    signer: str


@dataclass(frozen=True)
class StakeChanged:
    """A deposit or a withdrawal; ``stake`` is what the node holds afterwards."""

    node: str
    stake: int


@dataclass(frozen=True)
class TaskCreated:
    task: int
    config: TaskConfig


@dataclass(frozen=True)
class TaskFunded:
    task: int
    amount: int
    pool: int


@dataclass(frozen=True)
class Approved:
    task: int
    node: str
    policy_digest: str


@dataclass(frozen=True)
class RoundRequested:
    task: int
    round: int
    parent_digest: str
    seed_block: int
    reward: int
    eligible: tuple[str, ...]
    stakes: tuple[int, ...]


@dataclass(frozen=True)
class Drawn:
    task: int
    round: int
    seed: str
    proposers: tuple[str, ...]
    voters: tuple[str, ...]


@dataclass(frozen=True)
class PhaseChanged:
    task: int
    round: int
    phase: Phase
    context: str
    deadline_unix_s: int


@dataclass(frozen=True)
class Proposed:
    task: int
    round: int
    node: str
    adapter_digest: str
    report_digest: str


@dataclass(frozen=True)
class Committed:
    task: int
    round: int
    node: str
    commitment: str


@dataclass(frozen=True)
class Revealed:
    task: int
    round: int
    node: str
    scores_micronats: tuple[int, ...]
    salt: str


@dataclass(frozen=True)
class Tallied:
    """Arrays follow the round's proposals, ascending by node."""

    task: int
    round: int
    nodes: tuple[str, ...]
    accepted: tuple[bool, ...]
    has_median: tuple[bool, ...]
    medians_micronats: tuple[int, ...]


@dataclass(frozen=True)
class Attested:
    task: int
    round: int
    node: str
    aggregate_digest: str
    score_micronats: int


@dataclass(frozen=True)
class RoundClosed:
    """``parent_digest`` is what the next round starts from."""

    task: int
    round: int
    phase: Phase
    parent_digest: str


@dataclass(frozen=True)
class Rewarded:
    task: int
    round: int
    nodes: tuple[str, ...]
    amounts: tuple[int, ...]
    returned: int


@dataclass(frozen=True)
class Claimed:
    node: str
    to: str
    amount: int


ChainEvent = (
    NodeAdmitted
    | SignerRotated
    | StakeChanged
    | TaskCreated
    | TaskFunded
    | Approved
    | RoundRequested
    | Drawn
    | PhaseChanged
    | Proposed
    | Committed
    | Revealed
    | Tallied
    | Attested
    | RoundClosed
    | Rewarded
    | Claimed
)


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

    event: ChainEvent
    block_number: int
    block_hash: str
    transaction_hash: str
    log_index: int


# Calls, one per transaction that the control plane sends.


@dataclass(frozen=True)
class AdmitNode:
    node: str
    signer: str
    group: int


@dataclass(frozen=True)
class CreateTask:
    config: TaskConfig


@dataclass(frozen=True)
class FundTask:
    task: int
    amount: int


@dataclass(frozen=True)
class RequestRound:
    task: int


@dataclass(frozen=True)
class Advance:
    task: int


@dataclass(frozen=True)
class RelayApproval:
    message: Approval
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


@dataclass(frozen=True)
class Claim:
    node: str


Call = (
    AdmitNode
    | CreateTask
    | FundTask
    | RequestRound
    | Advance
    | RelayApproval
    | RelayProposal
    | RelayCommit
    | RelayReveal
    | RelayAttestation
    | Claim
)


@dataclass(frozen=True)
class SignedTransaction:
    """A transaction ready to broadcast; stored before it is, so that a restart sends the same bytes."""

    hash: str
    raw: bytes
    nonce: int


@dataclass(frozen=True)
class Receipt:
    """What became of a mined transaction."""

    transaction_hash: str
    block_number: int
    succeeded: bool
    gas_used: int


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

    def events(self, first_block: int, last_block: int) -> Sequence[IndexedEvent]:
        """All events of the deployment's contracts in a range of blocks, in their order."""

    def is_due(self, task: int) -> bool:
        """Whether ``advance`` would move the task's open round in the next block."""

    def nonce_of(self, node: str) -> int:
        """The node's next unused approval nonce."""


class TransactionLane(Protocol):
    """One sending account: signs, broadcasts and follows its transactions, one nonce after the other."""

    @property
    def sender(self) -> str:
        """The account's address."""

    def next_nonce(self) -> int:
        """The account's nonce counting transactions that are mined."""

    def sign(self, call: Call, nonce: int) -> SignedTransaction:
        """Estimate, price and sign a call.

        Raises:
            CallRefused: the contract would revert.
        """

    def broadcast(self, transaction: SignedTransaction) -> None:
        """Hand a signed transaction to the chain; handing it twice is harmless.

        Raises:
            NonceUsed: it can never be mined, because another transaction took its nonce.
        """

    def receipt(self, transaction_hash: str) -> Receipt | None:
        """The receipt, or None while the transaction is not mined."""
