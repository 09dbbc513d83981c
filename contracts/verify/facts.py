"""What the chain says about a task: the contracts' code, views and events, untrusted until compared.

Addresses are checksummed, digests 0x text, amounts base units of the token, scores micronats. The dataclasses
of views have the fields of the structs in ``evm/src/Types.sol``, in their order.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from contracts import abi
from contracts.deployment import Deployment
from contracts.events import Event
from contracts.phase import Phase
from contracts.settlement import Fault, Standing
from contracts.task_config import TaskConfig
from contracts.unbonding import UnbondingEntry

# The deployment


@dataclass(frozen=True)
class DeployedCode:
    """The code at the address of one contract; empty where there is none."""

    contract: abi.ContractName
    address: str
    code: bytes


@dataclass(frozen=True)
class Wire:
    """One contract's word on where another is: ``getter`` of ``contract`` says ``found``."""

    contract: abi.ContractName
    getter: str
    expected: str
    found: str


@dataclass(frozen=True)
class StakeTerms:
    """What the registry fixes for ever about stakes."""

    unbonding_s: int
    appeal_s: int
    most_absences: int


@dataclass(frozen=True)
class Wiring:
    """How the contracts are wired, in their own words."""

    randomness: str
    terms: StakeTerms
    wires: tuple[Wire, ...]


# Views


class SlashStatus(IntEnum):
    """What became of a slash, numbered as in Solidity."""

    PENDING = 0
    WAIVED = 1
    EXECUTED = 2


@dataclass(frozen=True)
class NodeView:
    """``Registry.nodeOf``."""

    node: str
    signer: str
    group: int
    admitted: bool
    stake: int
    eligible_stake: int
    unbonding: int
    open_rounds: int
    pending_slashes: int
    absences: int


@dataclass(frozen=True)
class SlashView:
    """``Registry.slashOf``."""

    node: str
    task: int
    round: int
    fault: Fault
    status: SlashStatus
    executable_unix_s: int
    amount: int


@dataclass(frozen=True)
class PoolView:
    """``Tasks.poolOf``."""

    pool: int
    open_reward: int
    contributed: int
    refunded: int
    is_paused: bool
    is_cancelled: bool
    is_over: bool


@dataclass(frozen=True)
class TaskView:
    """``Lens.taskOf``."""

    config: TaskConfig
    rounds_requested: int
    rounds_closed: int
    parent_digest: str
    approved: tuple[str, ...]
    money: PoolView


@dataclass(frozen=True)
class ProposalView:
    """A proposal as the round's view shows it."""

    node: str
    group: int
    adapter_digest: str
    standing: Standing
    median_micronats: int
    proven_invalid: bool


@dataclass(frozen=True)
class VoteView:
    """A drawn voter's commit and reveal; the commitment is zero until there is one."""

    node: str
    group: int
    stake: int
    commitment: str
    revealed: bool
    scores_micronats: tuple[int, ...]


@dataclass(frozen=True)
class AttestationView:
    """A drawn voter's word on the aggregate."""

    node: str
    attested: bool
    aggregate_digest: str
    score_micronats: int


@dataclass(frozen=True)
class RoundView:
    """``Lens.roundOf``; digests and the seed are zero until there are any."""

    phase: Phase
    parent_digest: str
    aggregate_digest: str
    request_block: int
    seed_block: int
    seed: str
    context: str
    deadline_unix_s: int
    reward: int
    eligible: tuple[str, ...]
    stakes: tuple[int, ...]
    proposers: tuple[str, ...]
    voters: tuple[str, ...]
    proposals: tuple[ProposalView, ...]
    votes: tuple[VoteView, ...]
    attestations: tuple[AttestationView, ...]


# A task at one block


@dataclass(frozen=True)
class LoggedEvent:
    """An event, its place on the chain, and its block's time if the endpoint still has the block."""

    block: int
    index: int
    time_unix_s: int | None
    event: Event


@dataclass(frozen=True)
class NodeFacts:
    """A node that was ever admitted."""

    view: NodeView
    unbonding: tuple[UnbondingEntry, ...]
    claimable: int


@dataclass(frozen=True)
class RoundFacts:
    """One round of the task, and the hash of its seed block if the endpoint still has it."""

    number: int
    view: RoundView
    seed_block_hash: str | None


@dataclass(frozen=True)
class Holdings:
    """What a contract says that it owes, and the tokens that it holds."""

    contract: abi.ContractName
    owed: int
    held: int


@dataclass(frozen=True)
class TaskFacts:
    """A task at one block, and what the same contracts say of all nodes and tasks."""

    task: int
    block: int
    deployment: Deployment
    token_decimals: int
    terms: StakeTerms
    view: TaskView
    events: tuple[LoggedEvent, ...]
    """Of all tasks, in the chain's order."""
    rounds: tuple[RoundFacts, ...]
    nodes: Mapping[str, NodeFacts]
    slashes: tuple[SlashView, ...]
    slash_count: int
    refundable: Mapping[str, int]
    """Funder of this task → what it would be paid now."""
    holdings: tuple[Holdings, ...]
