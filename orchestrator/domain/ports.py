"""What the services need from the outside world; adapters implement these, tests hold them to one behaviour.

Repository methods are named for the question they answer. A unit is one transaction: what was written in it
becomes visible all at once when its ``with`` block ends without an error, and not at all otherwise.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal, Protocol

from orchestrator.domain.audit import AuditRepository
from orchestrator.domain.chain import Block, Call, IndexedEvent, SignedTransaction, TransactionLane
from orchestrator.domain.credentials import SessionRepository, TokenRepository, UserRepository
from orchestrator.domain.declarations import DeclarationRepository
from orchestrator.domain.enrolment import EnrolmentRepository
from orchestrator.domain.errors import OrchestratorError
from orchestrator.domain.figures import Backlog
from orchestrator.domain.idempotency import Claim, IdempotencyRecord
from orchestrator.domain.lease import Lease
from orchestrator.domain.outbox import Intent, IntentStatus, Slot
from orchestrator.domain.projection import Announcement, Ledger
from orchestrator.domain.projection_rows import ProjectionRow
from orchestrator.domain.signatures import SignatureClaim
from orchestrator.domain.state import NodeState, RegistryState, RoundHead, RoundState, SlashState, TaskState
from orchestrator.domain.webhooks import Delivery, Subscription
from orchestrator.domain.witnesses import Verdict


class Clock(Protocol):
    """Wall-clock time."""

    def now_unix_s(self) -> int:
        """Seconds since 1970, UTC."""


# Flower


class FlowerError(Exception):
    """Flower could not be asked, refused, or answered with something unusable."""


class FlowerRunNotFound(FlowerError):
    """Flower knows no such run: its SuperLink was started anew and kept nothing."""


RunStatus = Literal["pending", "running", "completed", "failed", "stopped"]


class FlowerRuns(Protocol):
    """The conductor's runs: one Flower run is one round."""

    def submit(self, task: int, round_number: int) -> str:
        """Start the conductor of a round; the run's id. Raises FlowerError."""

    def status(self, run_id: str) -> RunStatus:
        """Where a run stands. Raises FlowerError, FlowerRunNotFound."""


# Receivers of webhooks


class WebhookFailed(Exception):
    """A receiver did not answer; the message says why."""


class WebhookReceivers(Protocol):
    """Whoever is told of what happens."""

    def check(self, url: str) -> None:
        """Whether a webhook may go there. Raises WebhookRefused."""

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> int:
        """The status of the receiver's answer, whatever it is.

        Raises:
            WebhookRefused: it may not go there (any more).
            WebhookFailed: there was no answer, or not in time.
        """


# The chain


class Lanes(Protocol):
    """The control plane's sending accounts."""

    def for_call(self, call: Call) -> TransactionLane:
        """The account that sends such a call."""


class ContractSigners(Protocol):
    """Accounts with code, which say themselves what they have signed (ERC-1271)."""

    def have_signed(self, claim: SignatureClaim) -> bool:
        """Whether the chain would take the signature as the account's now: by its key, or its contract.

        Raises:
            ChainError: the chain does not answer.
        """


# Records that the database owns


@dataclass(frozen=True)
class TaskOrder:
    """A task as the admin ordered it; its number is the chain's to give. ``config`` is the call's."""

    spec_digest: str
    name: str
    call_key: str
    pool: int
    created_unix_s: int


@dataclass(frozen=True)
class EvaluationRecord:
    """How one adapter did on a test set; round 0 is the genesis adapter, the base model."""

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


FlowerRunStatus = Literal["submitting", "running", "completed", "failed", "stopped", "lost"]


@dataclass(frozen=True)
class FlowerRunRecord:
    """One submission of a round's conductor; ``run_id`` None while it is being submitted."""

    id: int
    task: int
    round: int
    run_id: str | None
    status: FlowerRunStatus
    changed_unix_s: int
    error: str | None = None


@dataclass(frozen=True)
class StreamEvent:
    """One line of what happened, numbered for replay."""

    id: int
    created_unix_s: int
    announcement: Announcement


@dataclass(frozen=True)
class RewardLine:
    """What a node earned in a round, as the ledger lists it."""

    task: int
    round: int
    node: str
    amount: int


# Repositories


class ProjectionRepository(Protocol):
    """The chain's state as last indexed; may be dropped and built again."""

    def last_block(self) -> Block | None:
        """The last indexed block."""

    def final_block(self) -> int | None:
        """The height up to which the indexed blocks are final; None before the first was indexed."""

    def set_last_block(self, block: Block, final_block: int) -> None:
        """Remember how far the chain is indexed, and how far that is final."""

    def add_blocks(self, blocks: Sequence[Block]) -> None:
        """Keep the hashes of indexed blocks, the newest as many as it takes to find a fork."""

    def block_hashes(self) -> dict[int, str]:
        """The kept hashes, by height in ascending order."""

    def clear(self) -> None:
        """Forget everything that came from the chain."""

    def rows(self) -> Iterator[ProjectionRow]:
        """Everything that came from the chain, by table and key."""

    def replace(self, rows: Iterable[ProjectionRow]) -> None:
        """Forget everything that came from the chain, and keep these rows instead."""

    def add_events(self, events: Sequence[IndexedEvent], times_unix_s: Mapping[int, int]) -> None:
        """Keep the events themselves, and when their blocks were made."""

    def events(self) -> list[tuple[IndexedEvent, int]]:
        """All kept events in their order, each with its block's time."""

    def restore(self, before: Ledger, after: Ledger, block_number: int) -> None:
        """Go back from the state ``after`` to the state ``before``, which was that at the end of a block."""

    def registry(self) -> RegistryState | None:
        """The registry; None before the first block was indexed."""

    def save_registry(self, state: RegistryState) -> None:
        """Replace the registry."""

    def node(self, node: str) -> NodeState | None:
        """A node by its address."""

    def nodes(self) -> list[NodeState]:
        """All nodes, by address."""

    def nodes_of(self, addresses: Collection[str]) -> dict[str, NodeState]:
        """The nodes of some addresses, as far as there are any."""

    def nodes_after(self, node: str | None, limit: int) -> list[NodeState]:
        """The nodes after an address, or the first ones, by address."""

    def save_nodes(self, states: Collection[NodeState]) -> None:
        """Insert or replace nodes."""

    def slash(self, slash: int) -> SlashState | None:
        """A slash by its number."""

    def slashes(self) -> list[SlashState]:
        """All slashes, by number."""

    def slashes_after(
        self, slash: int, limit: int, *, task: int | None, node: str | None
    ) -> list[SlashState]:
        """The slashes after a number, by number, of a task or a node where one is named."""

    def slashes_of_task(self, task: int) -> list[SlashState]:
        """The slashes for faults in a task's rounds, by number."""

    def save_slash(self, state: SlashState) -> None:
        """Insert or replace a slash."""

    def task(self, task: int) -> TaskState | None:
        """A task by its number."""

    def tasks(self) -> list[TaskState]:
        """All tasks, by number."""

    def tasks_after(self, task: int, limit: int) -> list[TaskState]:
        """The tasks after a number, by number."""

    def tasks_of_spec(self, spec_digest: str) -> list[TaskState]:
        """The tasks on chain with that spec, by number."""

    def save_task(self, state: TaskState) -> None:
        """Insert or replace a task."""

    def round(self, task: int, round_number: int) -> RoundState | None:
        """A round by task and number."""

    def round_head(self, task: int, round_number: int) -> RoundHead | None:
        """How far a round is."""

    def rounds(self, task: int) -> list[RoundState]:
        """A task's rounds, by number."""

    def rounds_after(self, task: int, round_number: int, limit: int) -> list[RoundState]:
        """A task's rounds after a number, by number."""

    def final_rounds_after(self, task: int, round_number: int, limit: int) -> list[RoundState]:
        """The final rounds of all tasks after (task, round), by task and round."""

    def final_round_of(self, aggregate_digest: str) -> RoundState | None:
        """The first final round, by task and number, that ended with an aggregate."""

    def rewards_after(
        self, key: tuple[int, int, str], limit: int, *, task: int | None, node: str | None
    ) -> list[RewardLine]:
        """The rewards after (task, round, node in lower case), of a task or a node where one is named."""

    def count_rounds(self) -> dict[str, int]:
        """How many rounds are in which phase, by the phase's label."""

    def accepted_digests(self, task: int) -> frozenset[str]:
        """Adapters that final rounds of a task accepted."""

    def save_round(self, state: RoundState) -> None:
        """Insert or replace a round."""

    def approved_events(self, task: int) -> list[IndexedEvent]:
        """Every approval of a task that is on chain, taken back since or not, oldest first."""

    def digest_is_named(self, digest: str) -> bool:
        """Whether the chain names the digest in any way."""

    def digest_is_public(self, digest: str) -> bool:
        """Whether the chain names the digest in a way that makes its artifact readable by all.

        A task's spec or genesis, which the council names. What nodes name: a proposal or its report once
        the round's proposal phase is over, or an aggregate; but no adapter that is a proposal in a round
        whose proposal phase is not over, because a node could name it elsewhere to read it early.
        """


class OutboxRepository(Protocol):
    """Intents, in the order they were queued."""

    def add(
        self,
        key: str,
        call: Call,
        round_number: int | None,
        now_unix_s: int,
        correlation_id: str | None = None,
    ) -> Intent:
        """Queue a new intent. The key must be new."""

    def by_key(self, key: str) -> Intent | None:
        """The intent of that key."""

    def by_keys(self, keys: Sequence[str]) -> dict[str, Intent]:
        """The intents of those keys, as far as there are any."""

    def by_id(self, intent_id: int) -> Intent | None:
        """The intent of that number."""

    def queued(self) -> list[Intent]:
        """Intents that wait for a transaction, oldest first."""

    def has_queued(self) -> bool:
        """Whether any intent waits for a transaction."""

    def open_slots(self) -> list[Slot]:
        """Slots whose intents are in flight, by sender and nonce."""

    def settled_from_block(self, block_number: int) -> list[Intent]:
        """Intents whose transaction was mined at that block or later, by number."""

    def to_finalise(self, block_number: int, limit: int) -> list[Intent]:
        """Intents mined at that block or before whose end is not final yet, by block and number."""

    def newest_before(
        self, intent_id: int, limit: int, *, status: IntentStatus | None, task: int | None
    ) -> list[Intent]:
        """The intents before a number, newest first, in a status or of a task where one is named."""

    def refused(self, limit: int) -> list[Intent]:
        """The newest refused intents."""

    def count_unsettled(self) -> int:
        """How many intents are queued or in flight."""

    def gas_of_round(self, task: int, round_number: int) -> dict[str, int]:
        """Gas used per kind of call in a round."""

    def names_digest(self, digest: str) -> bool:
        """Whether the call of any intent, whatever became of it, names the digest."""

    def gas_by_kind(self) -> dict[str, int]:
        """Gas used per kind of call, ever."""

    def backlog(self) -> list[Backlog]:
        """How many intents have which status, and since when."""

    def add_transaction(self, sender: str, transaction: SignedTransaction, now_unix_s: int) -> None:
        """Keep a transaction that was signed for a slot."""

    def transactions_of(self, sender: str, nonce: int) -> tuple[SignedTransaction, ...]:
        """All transactions signed for a slot, oldest first."""

    def forget_transactions(self, sender: str, nonce: int) -> None:
        """Drop the transactions of a slot that can never be mined."""

    def highest_nonce(self, sender: str) -> int | None:
        """The highest nonce that a transaction of the sender was signed for."""

    def requeue(
        self, intent: Intent, call: Call, now_unix_s: int, correlation_id: str | None = None
    ) -> Intent:
        """Queue a refused intent again, with a new call, for whoever asks now."""

    def save(self, intent: Intent, expected: IntentStatus) -> None:
        """Store an intent's new state.

        Raises:
            Conflict: its stored status is not ``expected``, or another intent holds its place in the slot.
        """

    def save_all(self, intents: Sequence[Intent], expected: IntentStatus) -> None:
        """Store the new states of several intents that had one status. Raises Conflict as ``save``."""


class LeaseRepository(Protocol):
    """The worker's lease."""

    def current(self) -> Lease | None:
        """The lease as it stands, run out or not; None before the first."""

    def save(self, lease: Lease) -> None:
        """Replace the lease."""


class WitnessRepository(Protocol):
    """What was last found out about the RPC endpoints."""

    def all(self) -> tuple[Verdict, ...]:
        """Every endpoint that was looked at, in their order."""

    def replace(self, verdicts: Sequence[Verdict]) -> None:
        """Remember these, and nothing of others."""


class StreamRepository(Protocol):
    """What happened, for whoever follows."""

    def append(self, announcement: Announcement, now_unix_s: int) -> None:
        """Add one line."""

    def after(self, event_id: int, limit: int) -> list[StreamEvent]:
        """The lines after a number, oldest first."""

    def newest(self, limit: int) -> list[StreamEvent]:
        """The newest lines, newest first."""

    def last_id(self) -> int:
        """The newest line's number; 0 without any."""


class TaskOrderRepository(Protocol):
    """Tasks that the admin ordered."""

    def by_spec(self, spec_digest: str) -> TaskOrder | None:
        """The order of that spec."""

    def all(self) -> list[TaskOrder]:
        """All orders, oldest first."""

    def not_on_chain_after(self, created_unix_s: int, spec_digest: str, limit: int) -> list[TaskOrder]:
        """The orders after (time, spec) whose task is not on chain, oldest first."""

    def add(self, order: TaskOrder) -> None:
        """Record an order."""


class NodeNameRepository(Protocol):
    """Display names of nodes."""

    def names(self) -> dict[str, str]:
        """Name by node address."""

    def set_name(self, node: str, name: str) -> None:
        """Name a node."""


class EvaluationRepository(Protocol):
    """Evaluations on test sets."""

    def of_task(self, task: int) -> list[EvaluationRecord]:
        """A task's evaluations, by round and name."""

    def of_task_after(self, task: int, key: tuple[int, str], limit: int) -> list[EvaluationRecord]:
        """A task's evaluations after (round, name), by round and name."""

    def of_round_after(self, task: int, round_number: int, name: str, limit: int) -> list[EvaluationRecord]:
        """A round's evaluations after a name, by name."""

    def names_digest(self, digest: str) -> bool:
        """Whether an evaluation is of that adapter."""

    def save(self, record: EvaluationRecord) -> None:
        """Insert or replace the evaluation of (task, round, name)."""


class FlowerRunRepository(Protocol):
    """Submissions of conductors."""

    def of_round(self, task: int, round_number: int) -> list[FlowerRunRecord]:
        """A round's submissions, oldest first."""

    def unfinished(self) -> list[FlowerRunRecord]:
        """Submissions that are submitting or running, oldest first."""

    def add(self, task: int, round_number: int, now_unix_s: int) -> FlowerRunRecord:
        """Record that a submission begins."""

    def save(self, record: FlowerRunRecord) -> None:
        """Store a submission's new state."""


class IdempotencyRepository(Protocol):
    """Requests that carry an ``Idempotency-Key``."""

    def of_scope(self, scope: str) -> IdempotencyRecord | None:
        """The request of a scope."""

    def save(self, record: IdempotencyRecord) -> None:
        """Insert or replace the request of its scope."""

    def remove(self, claim: Claim) -> None:
        """Forget a request, if the claim still holds."""

    def remove_claimed_until(self, unix_s: int) -> None:
        """Forget all requests that were claimed at that time or before."""


class WebhookRepository(Protocol):
    """Subscriptions and their deliveries."""

    def all(self) -> list[Subscription]:
        """All subscriptions, by number."""

    def after(self, subscription: int, limit: int) -> list[Subscription]:
        """The subscriptions after a number, in order."""

    def by_id(self, subscription: int) -> Subscription | None:
        """A subscription by its number."""

    def add(
        self, url: str, kinds: tuple[str, ...], salt: bytes, after_event: int, now_unix_s: int
    ) -> Subscription:
        """A new subscription, to events after a number."""

    def remove(self, subscription: int) -> None:
        """Forget a subscription and its deliveries."""

    def queue(self, subscription: int, events: Sequence[int], after_event: int, now_unix_s: int) -> None:
        """Make deliveries for events, and note up to which event that was done."""

    def is_any_due(self, now_unix_s: int) -> bool:
        """Whether there is a pending delivery whose time has come."""

    def claim(self, now_unix_s: int, until_unix_s: int, limit: int) -> list[Delivery]:
        """Pending deliveries whose time has come, one attempt further.

        Nobody else gets them before ``until_unix_s``.
        """

    def delivery(self, delivery: int) -> Delivery | None:
        """A delivery by its number."""

    def deliveries(self, subscription: int, before: int, limit: int) -> list[Delivery]:
        """The deliveries of a subscription before a number, newest first."""

    def save(self, delivery: Delivery) -> None:
        """Store a delivery's new state; nothing happens when its subscription was removed meanwhile."""

    def remove_settled(self, before_unix_s: int) -> None:
        """Forget deliveries that arrived, or died, before a time."""

    def count(self) -> dict[str, int]:
        """How many deliveries have which status."""


class Unit(Protocol):
    """One transaction and its repositories."""

    @property
    def projection(self) -> ProjectionRepository: ...
    @property
    def outbox(self) -> OutboxRepository: ...
    @property
    def lease(self) -> LeaseRepository: ...
    @property
    def witnesses(self) -> WitnessRepository: ...
    @property
    def stream(self) -> StreamRepository: ...
    @property
    def orders(self) -> TaskOrderRepository: ...
    @property
    def names(self) -> NodeNameRepository: ...
    @property
    def tokens(self) -> TokenRepository: ...
    @property
    def sessions(self) -> SessionRepository: ...
    @property
    def users(self) -> UserRepository: ...
    @property
    def evaluations(self) -> EvaluationRepository: ...
    @property
    def flower_runs(self) -> FlowerRunRepository: ...
    @property
    def idempotency(self) -> IdempotencyRepository: ...
    @property
    def webhooks(self) -> WebhookRepository: ...
    @property
    def audit(self) -> AuditRepository: ...
    @property
    def enrolments(self) -> EnrolmentRepository: ...
    @property
    def declarations(self) -> DeclarationRepository: ...

    def take_changes(self) -> bool:
        """Whether the unit has changed anything that is state since this was asked last."""

    def note_change(self) -> None:
        """Say that something changed which is not in the database."""


class Records(Protocol):
    """Where units come from."""

    def read(self) -> AbstractContextManager[Unit]:
        """A unit that sees one consistent state and changes nothing."""

    def write(self) -> AbstractContextManager[Unit]:
        """A unit that is committed at the end of its block, or undone by an error."""

    def version(self) -> int | None:
        """A number that changes whenever anything is written; None when that cannot be told at once.

        It is asked for on the event loop: it must not wait.
        """


class RecordsUnavailable(OrchestratorError):
    """The database cannot be used at the moment."""

    code = "unavailable"
