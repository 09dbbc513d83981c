"""What the control plane knows of the chain, as values: tasks, rounds and nodes, projected from events.

Addresses are checksummed, digests 0x text, amounts base units of the token, times unix seconds of blocks.
"""

from dataclasses import dataclass

from contracts.phase import Phase
from orchestrator.domain.chain import TaskConfig


@dataclass(frozen=True)
class NodeState:
    """A network's node; ``earned`` counts all rewards ever credited, ``claimed`` what was paid of them."""

    node: str
    signer: str
    group: int
    stake: int = 0
    earned: int = 0
    claimed: int = 0


@dataclass(frozen=True)
class TaskState:
    """A task; ``parent_digest`` is what its next round starts from."""

    task: int
    config: TaskConfig
    parent_digest: str
    pool: int = 0
    rounds_requested: int = 0
    rounds_closed: int = 0
    approved: tuple[str, ...] = ()

    @property
    def has_open_round(self) -> bool:
        """Whether the last requested round is not closed."""
        return self.rounds_requested > self.rounds_closed

    @property
    def is_finished(self) -> bool:
        """Whether every round of the task is closed."""
        return self.rounds_closed >= self.config.rounds


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
    """One proposal; ``accepted`` is None before the tally, the median None where too few scored it."""

    node: str
    adapter_digest: str
    report_digest: str
    accepted: bool | None = None
    median_improvement_micronats: int | None = None


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
class RoundState:
    """One round; ``proposals``, ``votes``, ``attestations`` ascend by node, the drawn are in draw order."""

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
    proposals: tuple[ProposalState, ...] = ()
    votes: tuple[VoteState, ...] = ()
    attestations: tuple[AttestationState, ...] = ()
    rewards: tuple[RewardState, ...] = ()

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
