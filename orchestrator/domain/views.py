"""Read models: what the API and the dashboard show. Amounts are base units, times unix seconds.

What comes from the chain is ``final`` when the block that changed it last is: until then a reorganisation may
take it back.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from contracts.task_config import TaskConfig
from orchestrator.domain.outbox import IntentStatus
from orchestrator.domain.state import SlashStatus

TaskStatus = Literal["ordered", "refused", "active", "paused", "ending", "cancelled", "finished"]
"""Ending: cancelled, and its last round is still open."""
FaultName = Literal["absent", "unrevealed", "invalid"]
StandingName = Literal["unscored", "refused", "accepted"]


@dataclass(frozen=True)
class UnbondingView:
    """An amount on its way out of a stake."""

    matures_unix_s: int
    amount: int


@dataclass(frozen=True)
class NodeView:
    """A node; ``name`` None where nobody gave it one. ``eligible_stake`` is 0 while it cannot be drawn."""

    final: bool
    node: str
    name: str | None
    signer: str
    group: int
    admitted: bool
    stake: int
    eligible_stake: int
    unbonding: tuple[UnbondingView, ...]
    open_rounds: int
    pending_slashes: int
    absences: int
    earned: int
    claimable: int


@dataclass(frozen=True)
class SlashView:
    """A fault of a node in a round, and the amount set aside for it."""

    final: bool
    slash: int
    node: str
    task: int
    round: int
    fault: FaultName
    amount: int
    executable_unix_s: int
    status: SlashStatus


@dataclass(frozen=True)
class TaskView:
    """A task; ``task`` None until it is on chain; ``error`` says why creating or funding it failed."""

    final: bool
    task: int | None
    name: str | None
    status: TaskStatus
    config: TaskConfig
    pool: int
    open_reward: int
    contributed: int
    refunded: int
    parent_digest: str
    rounds_requested: int
    rounds_closed: int
    open_round: int | None
    approved: tuple[str, ...]
    error: str | None

    @property
    def spec_digest(self) -> str:
        """The digest of the task's spec."""
        return self.config.spec_digest


@dataclass(frozen=True)
class ApprovalView:
    """A node's approval of a task: which spec, under which policy of its own, and where on chain."""

    node: str
    name: str | None
    task: int
    spec_digest: str
    policy_digest: str
    block_number: int
    transaction_hash: str


@dataclass(frozen=True)
class StakeView:
    """A node's stake as the round froze it."""

    node: str
    stake: int


@dataclass(frozen=True)
class PhaseView:
    """When a phase began."""

    phase: str
    started_unix_s: int


@dataclass(frozen=True)
class ProposalView:
    """A proposal; standing None before the tally, median None also where too few scored it."""

    node: str
    adapter_digest: str
    report_digest: str
    standing: StandingName | None
    median_improvement_micronats: int | None
    proven_invalid: bool


@dataclass(frozen=True)
class VoteView:
    """A drawn voter's vote; scores follow the proposals."""

    node: str
    committed: bool
    revealed: bool
    scores_micronats: tuple[int, ...] | None


@dataclass(frozen=True)
class AttestationView:
    """A voter's word on the aggregate."""

    node: str
    aggregate_digest: str
    score_micronats: int


@dataclass(frozen=True)
class RewardView:
    """What a node earned in the round."""

    node: str
    amount: int


@dataclass(frozen=True)
class RoundView:
    """A round; ``gas`` by kind of transaction that the hub sent, ``seconds`` by phase."""

    final: bool
    task: int
    round: int
    phase: str
    parent_digest: str
    aggregate_digest: str | None
    context: str
    deadline_unix_s: int
    reward: int
    stakes: tuple[StakeView, ...]
    proposers: tuple[str, ...]
    voters: tuple[str, ...]
    proposals: tuple[ProposalView, ...]
    votes: tuple[VoteView, ...]
    attestations: tuple[AttestationView, ...]
    rewards: tuple[RewardView, ...]
    slashes: tuple[SlashView, ...]
    phases: tuple[PhaseView, ...]
    gas: Mapping[str, int]
    seconds: Mapping[str, int]

    @property
    def requested_unix_s(self) -> int:
        """When the round was requested."""
        return self.phases[0].started_unix_s


@dataclass(frozen=True)
class IntentView:
    """A call of the outbox.

    ``error`` says why it was refused, ``final`` that this end cannot change, ``correlation_id`` what caused
    it.
    """

    intent: int
    kind: str
    task: int | None
    round: int | None
    node: str | None
    status: IntentStatus
    transaction_hash: str | None
    block_number: int | None
    final: bool
    gas_used: int
    error: str | None
    changed_unix_s: int
    correlation_id: str | None


@dataclass(frozen=True)
class HubView:
    """How the hub itself is doing; a head that does not move means that the worker or the chain is stuck."""

    indexed_block: int | None
    final_block: int | None
    indexed_block_unix_s: int | None
    pending_intents: int
    refused_intents: tuple[IntentView, ...]
