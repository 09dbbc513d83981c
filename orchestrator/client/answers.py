"""What the hub answers, as a client reads it; more fields than these do not disturb.

Token amounts are whole numbers of base units, times unix seconds, digests and addresses 0x text. A test holds
these to ``docs/openapi.json``.
"""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, PlainSerializer

Amount = Annotated[int, PlainSerializer(str, return_type=str)]


class Answer(BaseModel):
    """Any answer."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Ancestor(Answer):
    """One step of a lineage; round 0 is the genesis adapter. The counts are of its proposals."""

    round: int
    digest: str
    proposed: int
    accepted: int


class Artifact(Answer):
    """An artifact; ``complete`` says whether it is stored, or pieces of it are missing."""

    digest: str
    complete: bool


class Attestation(Answer):
    """An attestation in a round."""

    node: str
    aggregate_digest: str
    score_micronats: int


class Contribution(Answer):
    """An accepted proposal of the rounds that a model went through."""

    round: int
    node: str
    node_name: str | None
    adapter_digest: str
    median_improvement_micronats: int | None


class Evaluation(Answer):
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


class Intent(Answer):
    """What was recorded for the chain, and where it stands; ``error`` says why it was refused.

    ``final``: its block is so deep that this will not change, or it was refused without any."""

    intent: int
    kind: str
    task: int | None
    round: int | None
    node: str | None
    status: str
    transaction_hash: str | None
    block_number: int | None
    final: bool
    gas_used: int
    error: str | None
    correlation_id: str | None


class Model(Answer):
    """The adapter that a final round ended with; its bytes are the artifact of that digest."""

    digest: str
    task: int
    task_name: str | None
    round: int
    parent_digest: str
    finished_unix_s: int
    is_latest: bool


class NetworkReport(Answer):
    """What a network says about the adapter that it trained; nobody else can check these figures."""

    network: str
    sites: int
    records: int
    steps_per_site: int
    first_loss_nats: float | None
    last_loss_nats: float | None
    seconds: float


class Report(Answer):
    """A proposal's report; ``report`` is null where it is not stored, or is no report."""

    node: str
    node_name: str | None
    adapter_digest: str
    report_digest: str
    report: NetworkReport | None


class ModelCard(Answer):
    """What is known of a model: from the chain, the task's spec, and what the networks declared."""

    model: Model
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
    lineage: tuple[Ancestor, ...]
    contributions: tuple[Contribution, ...]
    reports: tuple[Report, ...]
    evaluations: tuple[Evaluation, ...]
    limits: tuple[str, ...]


class Unbonding(Answer):
    """An amount on its way out of a stake; it can be withdrawn from ``matures_unix_s`` on."""

    matures_unix_s: int
    amount: Amount


class Node(Answer):
    """A node. ``eligible_stake`` is 0 while it cannot be drawn: dismissed, or absent too often."""

    final: bool
    node: str
    name: str | None
    signer: str
    group: int
    admitted: bool
    stake: Amount
    eligible_stake: Amount
    unbonding: tuple[Unbonding, ...]
    open_rounds: int
    pending_slashes: int
    absences: int
    earned: Amount
    claimable: Amount


class Phase(Answer):
    """When a phase began."""

    phase: str
    started_unix_s: int


class Proposal(Answer):
    """A proposal; ``standing`` is null before the tally, the median also where too few scored it."""

    node: str
    adapter_digest: str
    report_digest: str
    standing: str | None
    median_improvement_micronats: int | None
    proven_invalid: bool


class Reward(Answer):
    """A reward in a round."""

    node: str
    amount: Amount


class RewardLine(Answer):
    """What a node earned in a round."""

    task: int
    round: int
    node: str
    amount: Amount


class Stake(Answer):
    """A stake as the round froze it."""

    node: str
    stake: Amount


class Vote(Answer):
    """A drawn voter's vote."""

    node: str
    committed: bool
    revealed: bool
    scores_micronats: tuple[int, ...] | None


class Slash(Answer):
    """A fault of a node in a round, and the amount set aside for it.

    The council may waive it until ``executable_unix_s``; from then on anyone may have it executed."""

    final: bool
    slash: int
    node: str
    task: int
    round: int
    fault: str
    amount: Amount
    executable_unix_s: int
    status: str


class Round(Answer):
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
    stakes: tuple[Stake, ...]
    proposers: tuple[str, ...]
    voters: tuple[str, ...]
    proposals: tuple[Proposal, ...]
    votes: tuple[Vote, ...]
    attestations: tuple[Attestation, ...]
    rewards: tuple[Reward, ...]
    slashes: tuple[Slash, ...]
    phases: tuple[Phase, ...]
    gas: dict[str, int]
    seconds: dict[str, int]


class TaskTerms(Answer):
    """The chain's TaskConfig."""

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
    absent_bps: int
    unrevealed_bps: int
    invalid_bps: int
    acceptance_threshold_micronats: int
    closeness_range_micronats: int
    training_s: int
    committing_s: int
    revealing_s: int
    attesting_s: int
    stake_cap: Amount


class Task(Answer):
    """A task."""

    final: bool
    task: int | None
    name: str | None
    status: str
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


class TaskOrder(Answer):
    """Where an order stands; ``task`` is null until the task is on chain."""

    spec_digest: str
    task: int | None
    status: str
    error: str | None


class Token(Answer):
    """A token, without its secret."""

    token: int
    name: str
    role: str
    node: str | None
    operations: tuple[str, ...] | None
    created_unix_s: int
    expires_unix_s: int
    issued_by: str


class TokenSecret(Token):
    """A token with its secret, which is never shown again."""

    secret: str


class Ticket(Answer):
    """A sign-in link: it works once, and until it expires."""

    url: str
    lasts_s: int


class Approval(Answer):
    """A node's approval of a task, as it is on chain."""

    node: str
    name: str | None
    task: int
    spec_digest: str
    policy_digest: str
    block_number: int
    transaction_hash: str


class Policy(Answer):
    """A version of a network's policy; an approval on chain names its ``digest``."""

    node: str
    version: int
    digest: str
    document: dict[str, Any]
    declared_unix_s: int


class Invite(Answer):
    """An invite; ``secret`` is shown once, and goes to the network by a private way."""

    id: int
    network: str
    group: int
    expires_unix_s: int
    secret: str


class Statement(Answer):
    """What a network says of its keys."""

    node: str
    signer: str
    network: str
    flower_key: str
    certificate: str
    invite: str


class Enrolment(Answer):
    """A statement as it was signed, and what became of it."""

    id: int
    group: int
    statement: Statement
    signature: str
    status: str
    received_unix_s: int
    changed_unix_s: int
    reason: str | None


class EnrolmentApproval(Answer):
    """The approved enrolment, and the admission on its way to the chain."""

    enrolment: Enrolment
    intent: Intent


class Webhook(Answer):
    """A receiver of what happens."""

    id: int
    url: str
    kinds: tuple[str, ...]
    created_unix_s: int


class WebhookMade(Webhook):
    """A new receiver with its secret, which is never shown again."""

    secret: str


class Delivery(Answer):
    """One event for one receiver; ``answered`` is the status of its last answer."""

    id: int
    message_id: str
    event: int
    status: str
    attempts: int
    next_unix_s: int
    changed_unix_s: int
    answered: int | None
    error: str | None


class Event(Answer):
    """Something that happened; numbers only grow."""

    id: int = 0
    kind: str
    task: int | None
    round: int | None
    node: str | None
    created_unix_s: int
    facts: dict[str, str | int | bool | None]


class User(Answer):
    """An admin with a password; after too many wrong ones the name waits."""

    name: str
    failures: int
    waits_until_unix_s: int


class OpenSession(Answer):
    """A browser that is signed in; ``token`` is the one that opened the session, None for people."""

    session: int
    name: str
    role: str
    node: str | None
    token: int | None
    expires_unix_s: int
