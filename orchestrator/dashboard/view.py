"""What the pages show, one frozen dataclass per panel.

Nothing here is made up: a value that does not exist yet is None, and the page prints "—" with the reason.
Units: scores and improvements in micronats (millionths of a nat per target token), token amounts in base
units, durations in seconds, times in unix seconds (UTC).
"""

from dataclasses import dataclass
from typing import Literal

from contracts.phase import Phase
from orchestrator.domain.outbox import IntentStatus

Tone = Literal["good", "warn", "bad", "live", "calm"]
"""What a badge means; the templates choose the colour."""

# ``is_settled`` says that what is shown stands in blocks that will not be replaced; until then it is
# provisional. The API says ``final``; here a round's phase has that name.


@dataclass(frozen=True)
class Party:
    """A node as people call it; ``name`` is its display name, else its shortened address."""

    address: str
    name: str


@dataclass(frozen=True)
class Step:
    """One round of the task in the header's row of steps; ``phase`` is None while it was never requested."""

    round: int
    phase: Phase | None


@dataclass(frozen=True)
class HeaderPanel:
    """The task in one look. ``seconds_left`` is None where the phase has no deadline, negative after it."""

    task: int
    name: str
    state: str
    tone: Tone
    steps: tuple[Step, ...]
    open_round: int | None
    open_phase: Phase | None
    seconds_left: int | None
    deadline_unix_s: int | None
    last_accuracy: float | None
    base_accuracy: float | None
    pool: int
    parent_digest: str
    spec_digest: str
    head_block: int | None
    final_block: int | None
    is_settled: bool

    @property
    def rounds_done(self) -> int:
        """Rounds that are over, whatever became of them."""
        return sum(step.phase is not None and step.phase.closed for step in self.steps)

    @property
    def rounds_total(self) -> int:
        """Rounds that the task has in all."""
        return len(self.steps)


@dataclass(frozen=True)
class Decision:
    """Something that waits for a person, what that person can do, and the command for it, if there is one."""

    key: str
    tone: Tone
    title: str
    detail: str
    action: str
    command: str | None = None


@dataclass(frozen=True)
class DecisionsPanel:
    decisions: tuple[Decision, ...]


@dataclass(frozen=True)
class AccuracyPoint:
    """One model on the test records, with its 95 % interval; round 0 is the base model."""

    round: int
    accuracy: float
    interval_low: float
    interval_high: float
    correct: int
    records: int


@dataclass(frozen=True)
class OtherModel:
    """A model that was tested to compare with: one network's alone, for example."""

    name: str
    round: int
    accuracy: float
    interval_low: float
    interval_high: float
    correct: int
    records: int


@dataclass(frozen=True)
class AccuracyPanel:
    points: tuple[AccuracyPoint, ...]
    others: tuple[OtherModel, ...]
    rounds_total: int
    chart_json: str


@dataclass(frozen=True)
class NodeRow:
    """``roles`` are those in the open round; ``approved`` is about this task.

    ``out_of_draws`` says why the node cannot be drawn, if it cannot; ``leaving`` is on its way out.
    """

    party: Party
    group: int
    stake: int
    leaving: int
    claimable: int
    approved: bool
    out_of_draws: str | None
    roles: tuple[str, ...]
    is_settled: bool


@dataclass(frozen=True)
class NodesPanel:
    rows: tuple[NodeRow, ...]


@dataclass(frozen=True)
class Segment:
    """A phase on a round's timeline; ``x`` and ``width`` are thousandths of the bar."""

    phase: Phase
    state: Literal["done", "running", "pending", "skipped"]
    seconds: float | None
    x: int
    width: int


@dataclass(frozen=True)
class ProposalRow:
    """``accepted`` and ``median_micronats`` are None until the tally; ``why`` explains that, or a no."""

    party: Party
    adapter_digest: str | None
    report_digest: str | None
    median_micronats: int | None
    accepted: bool | None
    why: str


@dataclass(frozen=True)
class ScoreCell:
    """A voter's score of one proposal; ``tone`` runs from −3 (harms a lot) to 3 (helps a lot)."""

    kind: Literal["score", "own", "group", "invalid", "unavailable", "hidden"]
    micronats: int | None
    tone: int


@dataclass(frozen=True)
class VoteRow:
    """A drawn voter. ``cells`` follow the round's proposals."""

    party: Party
    state: Literal["waiting", "committed", "revealed", "absent", "not revealed", "not asked"]
    cells: tuple[ScoreCell, ...]
    attested_digest: str | None
    attested_micronats: int | None
    attestation_why: str


@dataclass(frozen=True)
class GasRow:
    kind: str
    gas: int


@dataclass(frozen=True)
class FaultRow:
    """A fault in the round, in words, and the amount set aside for it; ``status`` is the slash's."""

    slash: int
    party: Party
    fault: str
    amount: int
    status: str
    executable_unix_s: int
    is_settled: bool


@dataclass(frozen=True)
class RewardAmount:
    party: Party
    amount: int


@dataclass(frozen=True)
class RoundCard:
    number: int
    phase: Phase
    is_settled: bool
    segments: tuple[Segment, ...]
    seconds_total: float | None
    proposals: tuple[ProposalRow, ...]
    columns: tuple[Party, ...]
    votes: tuple[VoteRow, ...]
    parent_digest: str
    aggregate_digest: str | None
    aggregate_why: str
    gas: tuple[GasRow, ...]
    rewards: tuple[RewardAmount, ...]
    rewards_why: str
    faults: tuple[FaultRow, ...]
    outcome: str

    @property
    def gas_total(self) -> int:
        """Gas of everything that the control plane sent for this round."""
        return sum(row.gas for row in self.gas)

    @property
    def accepted_count(self) -> int:
        """Proposals that passed the vote."""
        return sum(row.accepted is True for row in self.proposals)


@dataclass(frozen=True)
class RoundsPanel:
    """Newest round first; ``earlier`` rounds exist and are not shown."""

    cards: tuple[RoundCard, ...]
    earlier: int


@dataclass(frozen=True)
class RewardRow:
    """``amounts`` follow the panel's rounds; None where the round paid this node nothing."""

    party: Party
    amounts: tuple[int | None, ...]
    total: int


@dataclass(frozen=True)
class RewardsPanel:
    """``provisional`` are those of the rounds whose blocks may still be replaced."""

    rounds: tuple[int, ...]
    provisional: frozenset[int]
    rows: tuple[RewardRow, ...]
    chart_json: str


@dataclass(frozen=True)
class EventRow:
    id: int
    when_unix_s: int
    text: str
    tone: Tone
    round: int | None


@dataclass(frozen=True)
class EventsPanel:
    rows: tuple[EventRow, ...]


@dataclass(frozen=True)
class TransactionRow:
    """A transaction of the hub; ``is_settled`` None while no block has it, ``error`` why it was refused."""

    number: int
    kind: str
    task: int | None
    round: int | None
    party: Party | None
    state: str
    tone: Tone
    is_settled: bool | None
    block: int | None
    gas: int | None
    transaction_hash: str | None
    error: str | None
    when_unix_s: int


@dataclass(frozen=True)
class LedgerFault:
    """A fault and its round; ``appeal_left_s`` is how long it may still be waived, None if no more."""

    task: int
    round: int
    appeal_left_s: int | None
    row: FaultRow


@dataclass(frozen=True)
class AccountRow:
    """A node's money: staked, on its way out (and of that what may be taken), earned by rounds."""

    party: Party
    stake: int
    leaving: int
    withdrawable: int
    earned: int
    claimed: int
    claimable: int
    is_settled: bool


@dataclass(frozen=True)
class LedgerPage:
    """``older`` is where the next page of transactions begins; ``status`` the only one shown, if one is."""

    transactions: tuple[TransactionRow, ...]
    older: int | None
    status: IntentStatus | None
    filters: tuple[tuple[IntentStatus, str], ...]
    is_newest: bool
    faults: tuple[LedgerFault, ...]
    accounts: tuple[AccountRow, ...]


@dataclass(frozen=True)
class TaskPage:
    """Every panel of a task's page. ``last_event_id`` is where the page's live stream starts."""

    header: HeaderPanel
    decisions: DecisionsPanel
    accuracy: AccuracyPanel
    nodes: NodesPanel
    rounds: RoundsPanel
    rewards: RewardsPanel
    events: EventsPanel
    last_event_id: int
