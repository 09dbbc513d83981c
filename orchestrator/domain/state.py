"""What the control plane knows of the chain, as values: the registry, nodes, slashes, tasks and rounds.

Projected from events alone; ``changed_block`` is the block of the last event that changed a value: what is
shown of it is final when that block is. Addresses are checksummed, digests 0x text, amounts base units of the
token, times unix seconds of blocks.
"""

from dataclasses import dataclass
from enum import StrEnum

from contracts.phase import Phase
from contracts.settlement import Fault, Standing
from contracts.task_config import TaskConfig
from contracts.unbonding import UnbondingEntry, total
from orchestrator.domain.chain import StakeTerms


@dataclass(frozen=True)
class RegistryState:
    """The registry: its terms, and where stakes may move to, if the council has named a successor."""

    terms: StakeTerms
    successor: str | None = None


@dataclass(frozen=True)
class NodeState:
    """A network's node.

    ``unbonding`` is in the order in which it matures; ``absences`` run since the node last attended.
    ``earned`` and ``claimed`` count all rewards ever credited and paid, ``withdrawn`` all that ever left its
    stake for good. The nonces are the next that its messages must carry.
    """

    node: str
    signer: str
    group: int
    admitted: bool = True
    stake: int = 0
    unbonding: tuple[UnbondingEntry, ...] = ()
    open_rounds: int = 0
    pending_slashes: int = 0
    absences: int = 0
    earned: int = 0
    claimed: int = 0
    withdrawn: int = 0
    tasks_nonce: int = 0
    registry_nonce: int = 0
    changed_block: int = 0

    @property
    def claimable(self) -> int:
        """Rewards that were credited and not paid yet."""
        return self.earned - self.claimed

    @property
    def unbonding_total(self) -> int:
        """All that is on its way out."""
        return total(self.unbonding)

    def mature(self, now_unix_s: int) -> int:
        """What of it can be withdrawn."""
        return sum(each.amount for each in self.unbonding if each.matures_unix_s <= now_unix_s)

    def eligible_stake(self, terms: StakeTerms) -> int:
        """The stake that counts when a round is requested: none while dismissed or absent too often."""
        return self.stake if self.admitted and self.absences < terms.most_absences else 0


class SlashStatus(StrEnum):
    """Pending until the council waives it within the appeal window, or anyone executes it afterwards."""

    PENDING = "pending"
    WAIVED = "waived"
    EXECUTED = "executed"


@dataclass(frozen=True)
class SlashState:
    """A fault of a node in a round, and the amount that was set aside for it."""

    slash: int
    node: str
    task: int
    round: int
    fault: Fault
    amount: int
    executable_unix_s: int
    status: SlashStatus = SlashStatus.PENDING
    changed_block: int = 0


@dataclass(frozen=True)
class TaskState:
    """A task; ``parent_digest`` is what its next round starts from.

    ``contributed`` is what funders put in, ``refunded`` what they got back, ``open_reward`` what the open
    round took out of the pool.
    """

    task: int
    config: TaskConfig
    parent_digest: str
    pool: int = 0
    open_reward: int = 0
    contributed: int = 0
    refunded: int = 0
    rounds_requested: int = 0
    rounds_closed: int = 0
    pause_changes: int = 0
    is_cancelled: bool = False
    is_over: bool = False
    approved: tuple[str, ...] = ()
    changed_block: int = 0

    @property
    def has_open_round(self) -> bool:
        """Whether the last requested round is not closed."""
        return self.rounds_requested > self.rounds_closed

    @property
    def is_paused(self) -> bool:
        """Whether the council has paused it: it pauses and unpauses in turns."""
        return self.pause_changes % 2 == 1

    @property
    def may_open_rounds(self) -> bool:
        """Whether another round may be requested, once none is open."""
        open_to_it = not (self.is_paused or self.is_cancelled or self.is_over)
        return open_to_it and self.rounds_requested < self.config.rounds


@dataclass(frozen=True)
class StakedNode:
    """A node that was eligible when the round was requested, and its frozen stake."""

    node: str
    stake: int


@dataclass(frozen=True)
class PhaseStart:
    """When a phase began, by its block's time."""

    phase: Phase
    started_unix_s: int


@dataclass(frozen=True)
class ProposalState:
    """One proposal; the standing is NONE before the tally, the median None where too few scored it."""

    node: str
    adapter_digest: str
    report_digest: str
    standing: Standing = Standing.NONE
    median_improvement_micronats: int | None = None
    proven_invalid: bool = False


@dataclass(frozen=True)
class VoteState:
    """One voter's commitment, and its scores once revealed, in the order of the proposals."""

    node: str
    commitment: str
    scores_micronats: tuple[int, ...] | None = None


@dataclass(frozen=True)
class AttestationState:
    """One voter's word on the aggregate."""

    node: str
    aggregate_digest: str
    score_micronats: int


@dataclass(frozen=True)
class RewardState:
    """What one node earned in a round."""

    node: str
    amount: int


@dataclass(frozen=True)
class RoundHead:
    """How far a round is, without all that was said in it."""

    task: int
    round: int
    phase: Phase
    deadline_unix_s: int


@dataclass(frozen=True)
class RoundState:
    """One round; ``proposals``, ``votes``, ``attestations`` ascend by node, the drawn are in draw order.

    The groups follow the drawn; they are those that counted in the round.
    """

    task: int
    round: int
    phase: Phase
    parent_digest: str
    seed_block: int
    reward: int
    eligible: tuple[StakedNode, ...]
    phases: tuple[PhaseStart, ...]
    context: str = "0x" + "00" * 16
    deadline_unix_s: int = 0
    seed: str | None = None
    aggregate_digest: str | None = None
    proposers: tuple[str, ...] = ()
    voters: tuple[str, ...] = ()
    proposer_groups: tuple[int, ...] = ()
    voter_groups: tuple[int, ...] = ()
    proposals: tuple[ProposalState, ...] = ()
    votes: tuple[VoteState, ...] = ()
    attestations: tuple[AttestationState, ...] = ()
    rewards: tuple[RewardState, ...] = ()
    changed_block: int = 0

    @property
    def drawn(self) -> tuple[str, ...]:
        """All nodes with a seat, each once."""
        return tuple(dict.fromkeys((*self.proposers, *self.voters)))

    @property
    def last_open_phase(self) -> Phase:
        """The last phase that the round was in before it closed, or is in."""
        return max((start.phase for start in self.phases if not start.phase.closed), default=Phase.REQUESTED)

    def group_of(self, node: str) -> int | None:
        """The group that a drawn node counted to in this round."""
        nodes, groups = (*self.proposers, *self.voters), (*self.proposer_groups, *self.voter_groups)
        return dict(zip(nodes, groups, strict=True)).get(node)

    def vote_of(self, node: str) -> VoteState | None:
        """The node's vote, if it committed to one."""
        return next((vote for vote in self.votes if vote.node == node), None)

    def phase_seconds(self, now_unix_s: int) -> dict[str, int]:
        """Seconds that each phase took, the present one up to ``now_unix_s``; by label, in order."""
        seconds: dict[str, int] = {}
        ends = [start.started_unix_s for start in self.phases[1:]] + [now_unix_s]
        for start, end_unix_s in zip(self.phases, ends, strict=True):
            if not start.phase.closed:
                seconds[start.phase.label] = max(0, end_unix_s - start.started_unix_s)
        return seconds
