"""Read models out of the projection and the hub's records."""

from dataclasses import dataclass

from contracts.events import Approved
from contracts.settlement import Fault, Standing
from orchestrator.domain.chain import CreateTask
from orchestrator.domain.council import funding_refusal
from orchestrator.domain.errors import NotFound, UnknownNode
from orchestrator.domain.outbox import Intent, IntentStatus, subject_of
from orchestrator.domain.pages import Key, Page
from orchestrator.domain.ports import (
    Clock,
    Records,
    RecordsUnavailable,
    StreamEvent,
    TaskOrder,
    Unit,
)
from orchestrator.domain.state import NodeState, RegistryState, RoundState, SlashState, TaskState, VoteState
from orchestrator.domain.views import (
    ApprovalView,
    AttestationView,
    FaultName,
    HubView,
    IntentView,
    NodeView,
    PhaseView,
    ProposalView,
    RewardView,
    RoundView,
    SlashView,
    StakeView,
    StandingName,
    TaskStatus,
    TaskView,
    UnbondingView,
    VoteView,
)
from orchestrator.domain.witnesses import Verdict
from orchestrator.services.tasks import fund_key, order_of
from orchestrator.services.witnesses import sentences

_REFUSED_SHOWN = 50
_FAULT_NAMES: dict[Fault, FaultName] = {
    Fault.ABSENT: "absent",
    Fault.UNREVEALED: "unrevealed",
    Fault.INVALID: "invalid",
}
_STANDING_NAMES: dict[Standing, StandingName | None] = {
    Standing.NONE: None,
    Standing.UNSCORED: "unscored",
    Standing.REFUSED: "refused",
    Standing.ACCEPTED: "accepted",
}


@dataclass(frozen=True)
class QueryService:
    """What people and programs may read."""

    records: Records
    clock: Clock

    def node(self, node: str) -> NodeView:
        """One node. Raises UnknownNode."""
        with self.records.read() as unit:
            state, registry = unit.projection.node(node), unit.projection.registry()
            if state is None or registry is None:
                raise UnknownNode(f"node {node} was never admitted")
            return node_view(unit, state, unit.names.names().get(node), registry)

    def slash(self, slash: int) -> SlashView:
        """One slash. Raises NotFound."""
        with self.records.read() as unit:
            state = unit.projection.slash(slash)
            if state is None:
                raise NotFound(f"the chain has no slash {slash}")
            return slash_view(state, final_block(unit))

    def tasks(self) -> tuple[TaskView, ...]:
        """All tasks: those on chain by number, then those ordered."""
        with self.records.read() as unit:
            on_chain = [task_view(unit, task) for task in unit.projection.tasks()]
            known = {view.spec_digest for view in on_chain}
            ordered = [
                order_view(unit, order) for order in unit.orders.all() if order.spec_digest not in known
            ]
            return (*on_chain, *(view for view in ordered if view is not None))

    def task(self, task: int) -> TaskView:
        """One task. Raises NotFound."""
        with self.records.read() as unit:
            return task_view(unit, task_of_unit(unit, task))

    def approvals(self, task: int, after: Key | None, limit: int) -> Page[ApprovalView]:
        """The approvals of a task that stand, by node. Raises NotFound."""
        with self.records.read() as unit:
            state, names = task_of_unit(unit, task), unit.names.names()
            indexed = unit.projection.approved_events(task)
        newest = {each.event.node: (each.event, each) for each in indexed if isinstance(each.event, Approved)}
        views = (
            ApprovalView(
                node=approved.node,
                name=names.get(approved.node),
                task=task,
                spec_digest=state.config.spec_digest,
                policy_digest=approved.policy_digest,
                block_number=at.block_number,
                transaction_hash=at.transaction_hash,
            )
            for approved, at in (newest[node] for node in state.approved)
        )
        return Page.within(views, after, limit, lambda view: (view.node.lower(),))

    def round(self, task: int, round_number: int) -> RoundView:
        """One round. Raises NotFound."""
        with self.records.read() as unit:
            state = unit.projection.round(task, round_number)
            if state is None:
                raise NotFound(f"task {task} has no round {round_number}")
            return round_of_unit(unit, state, self.clock)

    def intent(self, intent_id: int) -> IntentView:
        """One call of the outbox. Raises NotFound."""
        with self.records.read() as unit:
            intent = unit.outbox.by_id(intent_id)
        if intent is None:
            raise NotFound(f"there is no intent {intent_id}")
        return intent_view(intent)

    def hub(self) -> HubView:
        """How the hub itself is doing."""
        with self.records.read() as unit:
            last = unit.projection.last_block()
            return HubView(
                indexed_block=None if last is None else last.number,
                final_block=unit.projection.final_block(),
                indexed_block_unix_s=None if last is None else last.timestamp_unix_s,
                pending_intents=unit.outbox.count_unsettled(),
                refused_intents=tuple(intent_view(each) for each in unit.outbox.refused(_REFUSED_SHOWN)),
            )

    def not_ready(self) -> tuple[str, ...]:
        """What stands in the way of work, as sentences; nothing when all is well."""
        try:
            hub = self.hub()
        except RecordsUnavailable:
            return ("the database does not answer or is not migrated; run `collegium migrate`",)
        if hub.indexed_block is None:
            return ("the worker has not read the chain yet; is `collegium worker` running?",)
        return sentences(self._verdicts())[0]

    def warnings(self) -> tuple[str, ...]:
        """What an operator should look after although work goes on, as sentences."""
        try:
            return sentences(self._verdicts())[1]
        except RecordsUnavailable:
            return ()

    def _verdicts(self) -> tuple[Verdict, ...]:
        with self.records.read() as unit:
            return unit.witnesses.all()

    def events_after(self, event_id: int, limit: int) -> tuple[StreamEvent, ...]:
        """What happened after an event, oldest first."""
        with self.records.read() as unit:
            return tuple(unit.stream.after(event_id, limit))

    def newest_events(self, limit: int) -> tuple[StreamEvent, ...]:
        """What happened last, newest first."""
        with self.records.read() as unit:
            return tuple(unit.stream.newest(limit))

    def last_event_id(self) -> int:
        """The newest event's number; 0 without any."""
        with self.records.read() as unit:
            return unit.stream.last_id()


def round_of_unit(unit: Unit, state: RoundState, clock: Clock) -> RoundView:
    """What may be shown of a round."""
    last = unit.projection.last_block()
    now_unix_s = clock.now_unix_s() if last is None else last.timestamp_unix_s
    slashes = [each for each in unit.projection.slashes_of_task(state.task) if each.round == state.round]
    gas = unit.outbox.gas_of_round(state.task, state.round)
    return _round_view(state, slashes, gas, now_unix_s, final_block(unit))


def intent_view(intent: Intent) -> IntentView:
    """What may be shown of an intent."""
    subject = subject_of(intent.call)
    return IntentView(
        intent=intent.id,
        kind=subject.kind,
        task=subject.task,
        round=subject.round,
        node=subject.node,
        status=intent.status,
        transaction_hash=intent.transaction_hash,
        block_number=intent.block_number,
        final=intent.is_final,
        gas_used=intent.gas_used,
        error=intent.error,
        changed_unix_s=intent.changed_unix_s,
        correlation_id=intent.correlation_id,
    )


def task_of_unit(unit: Unit, task: int) -> TaskState:
    """A task as projected. Raises NotFound."""
    state = unit.projection.task(task)
    if state is None:
        raise NotFound(f"the chain has no task {task}")
    return state


def final_block(unit: Unit) -> int:
    """The height up to which blocks are final; -1 while none is."""
    final = unit.projection.final_block()
    return -1 if final is None else final


def node_view(unit: Unit, node: NodeState, name: str | None, registry: RegistryState) -> NodeView:
    """What may be shown of a node."""
    return NodeView(
        final=node.changed_block <= final_block(unit),
        node=node.node,
        name=name,
        signer=node.signer,
        group=node.group,
        admitted=node.admitted,
        stake=node.stake,
        eligible_stake=node.eligible_stake(registry.terms),
        unbonding=tuple(UnbondingView(each.matures_unix_s, each.amount) for each in node.unbonding),
        open_rounds=node.open_rounds,
        pending_slashes=node.pending_slashes,
        absences=node.absences,
        earned=node.earned,
        claimable=node.claimable,
    )


def slash_view(slash: SlashState, final_block: int) -> SlashView:
    """What may be shown of a slash."""
    return SlashView(
        final=slash.changed_block <= final_block,
        slash=slash.slash,
        node=slash.node,
        task=slash.task,
        round=slash.round,
        fault=_FAULT_NAMES[slash.fault],
        amount=slash.amount,
        executable_unix_s=slash.executable_unix_s,
        status=slash.status,
    )


def _task_status(task: TaskState) -> TaskStatus:
    if task.is_over:
        return "cancelled" if task.is_cancelled else "finished"
    if task.is_cancelled:
        return "ending"
    return "paused" if task.is_paused else "active"


def task_view(unit: Unit, task: TaskState) -> TaskView:
    """What may be shown of a task on chain."""
    order = order_of(unit, task)
    funding = None if order is None else unit.outbox.by_key(fund_key(order.spec_digest))
    return TaskView(
        final=task.changed_block <= final_block(unit),
        task=task.task,
        name=None if order is None else order.name,
        status=_task_status(task),
        config=task.config,
        pool=task.pool,
        open_reward=task.open_reward,
        contributed=task.contributed,
        refunded=task.refunded,
        parent_digest=task.parent_digest,
        rounds_requested=task.rounds_requested,
        rounds_closed=task.rounds_closed,
        open_round=task.rounds_requested if task.has_open_round else None,
        approved=task.approved,
        error=_funding_error(task, order, funding),
    )


def _funding_error(task: TaskState, order: TaskOrder | None, funding: Intent | None) -> str | None:
    """Why the pool that was ordered is not there; None while that can still change by itself."""
    if order is None or order.pool == 0 or (funding is not None and funding.error is None):
        return None
    reason = funding_refusal(task) or (None if funding is None else funding.error)
    return None if reason is None else f"funding: {reason}"


def order_view(unit: Unit, order: TaskOrder) -> TaskView | None:
    """What may be shown of an order whose task is not on chain; None without its call."""
    intent = unit.outbox.by_key(order.call_key)
    if intent is None or not isinstance(intent.call, CreateTask):
        return None
    config = intent.call.config
    status: TaskStatus = "refused" if intent.status is IntentStatus.REFUSED else "ordered"
    return TaskView(
        final=False,
        task=None,
        name=order.name,
        status=status,
        config=config,
        pool=0,
        open_reward=0,
        contributed=0,
        refunded=0,
        parent_digest=config.genesis_digest,
        rounds_requested=0,
        rounds_closed=0,
        open_round=None,
        approved=(),
        error=intent.error,
    )


def _round_view(
    state: RoundState, slashes: list[SlashState], gas: dict[str, int], now_unix_s: int, final_block: int
) -> RoundView:
    return RoundView(
        final=state.changed_block <= final_block,
        task=state.task,
        round=state.round,
        phase=state.phase.label,
        parent_digest=state.parent_digest,
        aggregate_digest=state.aggregate_digest,
        context=state.context,
        deadline_unix_s=state.deadline_unix_s,
        reward=state.reward,
        stakes=tuple(StakeView(each.node, each.stake) for each in state.eligible),
        proposers=state.proposers,
        voters=state.voters,
        proposals=tuple(
            ProposalView(
                proposal.node,
                proposal.adapter_digest,
                proposal.report_digest,
                _STANDING_NAMES[proposal.standing],
                proposal.median_improvement_micronats,
                proposal.proven_invalid,
            )
            for proposal in state.proposals
        ),
        votes=tuple(_vote_view(voter, state.vote_of(voter)) for voter in state.voters),
        attestations=tuple(
            AttestationView(each.node, each.aggregate_digest, each.score_micronats)
            for each in state.attestations
        ),
        rewards=tuple(RewardView(reward.node, reward.amount) for reward in state.rewards),
        slashes=tuple(slash_view(slash, final_block) for slash in slashes),
        phases=tuple(PhaseView(start.phase.label, start.started_unix_s) for start in state.phases),
        gas=gas,
        seconds=state.phase_seconds(now_unix_s),
    )


def _vote_view(voter: str, vote: VoteState | None) -> VoteView:
    if vote is None:
        return VoteView(voter, committed=False, revealed=False, scores_micronats=None)
    revealed = vote.scores_micronats is not None
    return VoteView(voter, committed=True, revealed=revealed, scores_micronats=vote.scores_micronats)
