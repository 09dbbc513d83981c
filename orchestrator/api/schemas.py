"""The JSON of the API. Digests and addresses are 0x text, token amounts decimal strings in base units."""

from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    WithJsonSchema,
    model_validator,
)

from contracts.audit import AuditRow
from contracts.digests import Digest
from contracts.messages import (
    Address,
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
    Signature,
)
from contracts.task_config import TaskConfig
from orchestrator.domain.identity import Role
from orchestrator.domain.outbox import IntentStatus
from orchestrator.domain.ports import EvaluationRecord, StreamEvent
from orchestrator.domain.state import SlashStatus
from orchestrator.domain.views import FaultName, StandingName, TaskStatus
from orchestrator.domain.webhooks import DeliveryStatus

_MOST_DIGITS = 78


def _amount(value: Any) -> Any:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= _MOST_DIGITS:
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise ValueError("an amount is a decimal string of base units")


Amount = Annotated[
    int,
    BeforeValidator(_amount),
    Field(ge=0, lt=1 << 256),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string", "pattern": "^[0-9]{1,78}$"}),
]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._\-]{0,99}$")]
WithoutNull = Field(pattern=r"^[^\x00]*$")
"""Text as every database takes it: PostgreSQL keeps none with a null character."""
# In a body, `true` is no number, and neither is `"1"`.
Integer = Annotated[int, Field(strict=True)]
Float = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Whole = Annotated[Integer, Field(ge=0, lt=1 << 63)]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Answer(BaseModel):
    model_config = ConfigDict(from_attributes=True, frozen=True)


class ListPage(_Answer):
    """A page; ``next_cursor`` asks for the one after it, and is null on the last."""

    next_cursor: str | None


class TaskTerms(_Request):
    """The chain's TaskConfig."""

    spec_digest: Digest
    genesis_digest: Digest
    rounds: Whole
    proposers: Whole
    voters: Whole
    min_proposals: Whole
    min_reveals: Whole
    min_scorers: Whole
    attestation_quorum_bps: Whole
    proposer_share_bps: Whole
    absent_bps: Whole
    unrevealed_bps: Whole
    invalid_bps: Whole
    acceptance_threshold_micronats: Integer
    closeness_range_micronats: Whole
    training_s: Whole
    committing_s: Whole
    revealing_s: Whole
    attesting_s: Whole
    stake_cap: Amount

    model_config = ConfigDict(extra="forbid", frozen=True, from_attributes=True)

    def to_config(self) -> TaskConfig:
        """As the chain's type."""
        return TaskConfig(**{name: getattr(self, name) for name in type(self).model_fields})


class TaskOrderRequest(_Request):
    """A task to create and fund; its spec and genesis adapter are stored already."""

    spec_digest: Digest
    name: Name
    config: TaskTerms
    pool: Amount

    @model_validator(mode="after")
    def _one_spec(self) -> Self:
        if self.config.spec_digest != self.spec_digest:
            raise ValueError("spec_digest and config.spec_digest differ")
        return self


class TaskOrderAnswer(_Answer):
    """Where an order stands; ``task`` is null until the task is on chain."""

    spec_digest: str
    task: int | None
    status: IntentStatus
    error: str | None


class TaskAnswer(_Answer):
    """A task."""

    final: bool
    task: int | None
    name: str | None
    status: TaskStatus
    spec_digest: str
    config: TaskTerms
    pool: Amount
    open_reward: Amount
    contributed: Amount
    refunded: Amount
    parent_digest: str
    rounds_requested: int
    rounds_closed: int
    open_round: int | None
    approved: tuple[str, ...]
    error: str | None


class TaskList(ListPage):
    """A page of tasks."""

    items: tuple[TaskAnswer, ...]


class NodeRequest(_Request):
    """A node to admit. ``group`` is shared by sister networks."""

    node: Address
    signer: Address
    group: Annotated[Integer, Field(ge=1, lt=1 << 64)]
    name: Name


class UnbondingAnswer(_Answer):
    """An amount on its way out of a stake; it can be withdrawn from ``matures_unix_s`` on."""

    matures_unix_s: int
    amount: Amount


class NodeAnswer(_Answer):
    """A node. ``eligible_stake`` is 0 while it cannot be drawn: dismissed, or absent too often."""

    final: bool
    node: str
    name: str | None
    signer: str
    group: int
    admitted: bool
    stake: Amount
    eligible_stake: Amount
    unbonding: tuple[UnbondingAnswer, ...]
    open_rounds: int
    pending_slashes: int
    absences: int
    earned: Amount
    claimable: Amount


class NodeList(ListPage):
    """A page of nodes."""

    items: tuple[NodeAnswer, ...]


class SlashAnswer(_Answer):
    """A fault of a node in a round, and the amount set aside for it.

    The council may waive it until ``executable_unix_s``; from then on anyone may have it executed.
    """

    final: bool
    slash: int
    node: str
    task: int
    round: int
    fault: FaultName
    amount: Amount
    executable_unix_s: int
    status: SlashStatus


class SlashList(ListPage):
    """A page of slashes."""

    items: tuple[SlashAnswer, ...]


class IntentAnswer(_Answer):
    """What was recorded for the chain, and where it stands; ``error`` says why it was refused.

    ``final``: its block is so deep that this will not change, or it was refused without any.
    ``correlation_id`` is that of the request that caused it.
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
    correlation_id: str | None


class IntentList(ListPage):
    """A page of intents."""

    items: tuple[IntentAnswer, ...]


class ApprovalRequest(_Request):
    """A signed approval."""

    message: Approval
    signature: Signature


class RevocationRequest(_Request):
    """A signed revocation of an approval."""

    message: Revocation
    signature: Signature


class ReturnRequest(_Request):
    """A node's signed word that it is back."""

    message: Return
    signature: Signature


class RotationRequest(_Request):
    """A new signing key, signed by the node's own account."""

    message: Rotation
    signature: Signature


class ExitRequest(_Request):
    """An amount of stake to send on its way out, signed by the node's own account."""

    message: Exit
    signature: Signature


class MigrationRequest(_Request):
    """A move of what has matured to the successor registry, signed by the node's own account."""

    message: Migration
    signature: Signature


class SignatureCheckRequest(_Request):
    """What a node is to have signed, as the digest that keys sign."""

    digest: Digest
    signature: Signature


class SignatureCheckAnswer(_Answer):
    """Whether the chain would take it as the signing key's: a key's (ECDSA) or a contract's (ERC-1271)."""

    is_accepted: bool


class RefundRequest(_Request):
    """Whose part of an ended task's pool is to be paid."""

    funder: Address


class ProposalRequest(_Request):
    """A signed proposal; its adapter and report are stored already."""

    message: Proposal
    signature: Signature


class CommitRequest(_Request):
    """A signed commitment."""

    message: Commit
    signature: Signature


class RevealRequest(_Request):
    """Revealed scores; the commitment is their proof."""

    message: Reveal


class AttestationRequest(_Request):
    """A signed attestation."""

    message: Attestation
    signature: Signature


class ProposalAnswer(_Answer):
    """A proposal; ``standing`` is null before the tally, the median also where too few scored it."""

    node: str
    adapter_digest: str
    report_digest: str
    standing: StandingName | None
    median_improvement_micronats: int | None
    proven_invalid: bool


class VoteAnswer(_Answer):
    """A drawn voter's vote."""

    node: str
    committed: bool
    revealed: bool
    scores_micronats: tuple[int, ...] | None


class AttestationAnswer(_Answer):
    """An attestation in a round."""

    node: str
    aggregate_digest: str
    score_micronats: int


class ProposalList(ListPage):
    """A page of a round's proposals."""

    items: tuple[ProposalAnswer, ...]


class VoteList(ListPage):
    """A page of a round's votes."""

    items: tuple[VoteAnswer, ...]


class RewardLineAnswer(_Answer):
    """What a node earned in a round."""

    task: int
    round: int
    node: str
    amount: Amount


class RewardList(ListPage):
    """A page of rewards."""

    items: tuple[RewardLineAnswer, ...]


class NetworkReportAnswer(_Answer):
    """What a network says about the adapter that it trained; nobody else can check these figures."""

    network: str
    sites: int
    records: int
    steps_per_site: int
    first_loss_nats: float | None
    last_loss_nats: float | None
    seconds: float


class ReportAnswer(_Answer):
    """A proposal's report; ``report`` is null where it is not stored, or is no report."""

    node: str
    node_name: str | None
    adapter_digest: str
    report_digest: str
    report: NetworkReportAnswer | None


class ReportList(ListPage):
    """A page of a round's reports."""

    items: tuple[ReportAnswer, ...]


class RewardAnswer(_Answer):
    """A reward in a round."""

    node: str
    amount: Amount


class StakeAnswer(_Answer):
    """A stake as the round froze it."""

    node: str
    stake: Amount


class PhaseAnswer(_Answer):
    """When a phase began."""

    phase: str
    started_unix_s: int


class RoundAnswer(_Answer):
    """A round. ``deadline_unix_s`` is 0 where the phase has none."""

    final: bool
    task: int
    round: int
    phase: str
    parent_digest: str
    aggregate_digest: str | None
    context: str
    deadline_unix_s: int
    reward: Amount
    stakes: tuple[StakeAnswer, ...]
    proposers: tuple[str, ...]
    voters: tuple[str, ...]
    proposals: tuple[ProposalAnswer, ...]
    votes: tuple[VoteAnswer, ...]
    attestations: tuple[AttestationAnswer, ...]
    rewards: tuple[RewardAnswer, ...]
    slashes: tuple[SlashAnswer, ...]
    phases: tuple[PhaseAnswer, ...]
    gas: dict[str, int]
    seconds: dict[str, int]


class RoundList(ListPage):
    """A page of rounds."""

    items: tuple[RoundAnswer, ...]


class EvaluationRequest(_Request):
    """How an adapter did on a test set; the interval is the 95 % one of the accuracy."""

    name: Name
    digest: Digest
    records: Annotated[Integer, Field(ge=1, lt=1 << 63)]
    correct: Whole
    accuracy: Annotated[Float, Field(ge=0, le=1)]
    interval_low: Annotated[Float, Field(ge=0, le=1)]
    interval_high: Annotated[Float, Field(ge=0, le=1)]
    loss_nats: Float

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.correct > self.records:
            raise ValueError("more correct answers than records")
        if not self.interval_low <= self.accuracy <= self.interval_high:
            raise ValueError("the interval does not hold the accuracy")
        return self

    def to_record(self, task: int, round_number: int) -> EvaluationRecord:
        """As a record of a round."""
        return EvaluationRecord(task=task, round=round_number, **self.model_dump())


class EvaluationAnswer(_Answer):
    """An evaluation; round 0 is the base model."""

    task: int
    round: int
    name: str
    digest: str
    records: int
    correct: int
    accuracy: float
    interval_low: float
    interval_high: float
    loss_nats: float


class EvaluationList(ListPage):
    """A page of evaluations."""

    items: tuple[EvaluationAnswer, ...]


class ModelAnswer(_Answer):
    """The adapter that a final round ended with; its bytes are the artifact of that digest."""

    digest: str
    task: int
    task_name: str | None
    round: int
    parent_digest: str
    finished_unix_s: int
    is_latest: bool


class ModelList(ListPage):
    """A page of models."""

    items: tuple[ModelAnswer, ...]


class AncestorAnswer(_Answer):
    """One step of a lineage; round 0 is the genesis adapter. The counts are of its proposals."""

    round: int
    digest: str
    proposed: int
    accepted: int


class ContributionAnswer(_Answer):
    """An accepted proposal of the rounds that a model went through."""

    round: int
    node: str
    node_name: str | None
    adapter_digest: str
    median_improvement_micronats: int | None


class ModelCardAnswer(_Answer):
    """What is known of a model: from the chain, the task's spec, and what the networks declared."""

    model: ModelAnswer
    spec_digest: str
    base_model: str
    base_model_digest: str
    method: str
    rank: int
    target_modules: tuple[str, ...]
    adapter_bytes: int
    labels: int
    rule: str
    outer_optimiser: str
    lineage: tuple[AncestorAnswer, ...]
    contributions: tuple[ContributionAnswer, ...]
    reports: tuple[ReportAnswer, ...]
    evaluations: tuple[EvaluationAnswer, ...]
    limits: tuple[str, ...]


class ArtifactAnswer(_Answer):
    """An artifact; ``complete`` says whether it is stored, or pieces of it are missing."""

    digest: str
    complete: bool


class HealthAnswer(_Answer):
    """The process is alive."""

    status: str


class ReadyAnswer(_Answer):
    """What stands in the way of work; empty when nothing does. Work goes on in spite of ``warnings``."""

    not_ready: tuple[str, ...]
    warnings: tuple[str, ...]


class EventAnswer(_Answer):
    """The data of one server-sent event; its id and kind are the event's own."""

    kind: str
    task: int | None
    round: int | None
    node: str | None
    created_unix_s: int
    facts: dict[str, str | int | bool | None]

    @classmethod
    def of(cls, event: StreamEvent) -> Self:
        """The answer for a stored event."""
        announcement = event.announcement
        return cls(
            kind=announcement.kind,
            task=announcement.task,
            round=announcement.round,
            node=announcement.node,
            created_unix_s=event.created_unix_s,
            facts=dict(announcement.facts),
        )


class ApprovalAnswer(_Answer):
    """A node's approval of a task, as it is on chain."""

    node: str
    name: str | None
    task: int
    spec_digest: str
    policy_digest: str
    block_number: int
    transaction_hash: str


class ApprovalList(ListPage):
    """A page of approvals."""

    items: tuple[ApprovalAnswer, ...]


class WebhookRequest(_Request):
    """A receiver, and of what it is to be told: kinds of events, ``round.*`` for a family, none for all."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"url": "https://hooks.example.org/collegium", "kinds": ["round.*"]}}
    )

    url: Annotated[str, Field(min_length=1, max_length=2000)]
    kinds: Annotated[tuple[str, ...], Field(max_length=50)] = ()


class WebhookAnswer(_Answer):
    """A receiver."""

    id: int
    url: str
    kinds: tuple[str, ...]
    created_unix_s: int


class WebhookMade(WebhookAnswer):
    """A new receiver with its secret, which is never shown again."""

    secret: str


class WebhookList(ListPage):
    """A page of receivers."""

    items: tuple[WebhookAnswer, ...]


class DeliveryAnswer(_Answer):
    """One event for one receiver; ``answered`` is the status of its last answer."""

    id: int
    message_id: str
    event: int
    status: DeliveryStatus
    attempts: int
    next_unix_s: int
    changed_unix_s: int
    answered: int | None
    error: str | None


class DeliveryList(ListPage):
    """A page of deliveries."""

    items: tuple[DeliveryAnswer, ...]


class AuditRowList(ListPage):
    """A page of the audit log."""

    items: tuple[AuditRow, ...]


class UserAnswer(_Answer):
    """An admin with a password; after too many wrong ones the name waits."""

    name: str
    failures: int
    waits_until_unix_s: int


class UserList(ListPage):
    """A page of users."""

    items: tuple[UserAnswer, ...]


class SessionAnswer(_Answer):
    """A browser that is signed in; ``token`` is the one that opened the session, null for people."""

    session: int
    name: str
    role: Role
    node: str | None
    token: int | None
    expires_unix_s: int


class SessionList(ListPage):
    """A page of sessions."""

    items: tuple[SessionAnswer, ...]
