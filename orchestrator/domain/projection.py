"""The projection as a machine: ``step(ledger, event, now) → ledger, effects``.

Time is the time of the event's block. The ledger knows how far it has read: an event at or before that
place changes nothing and has no effect, so replaying a log is harmless. A phase never moves back.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Protocol, TypeVar

from contracts.phase import Phase
from orchestrator.domain import chain
from orchestrator.domain.chain import IndexedEvent
from orchestrator.domain.state import (
    AttestationState,
    NodeState,
    PhaseStart,
    ProposalState,
    RewardState,
    RoundState,
    StakedNode,
    TaskState,
    VoteState,
)

RoundKey = tuple[int, int]
"""(task, round)."""


@dataclass(frozen=True)
class Announcement:
    """What people and programs that follow the hub are told: a kind, its subjects and a few facts."""

    kind: str
    task: int | None = None
    round: int | None = None
    node: str | None = None
    facts: Mapping[str, str | int | bool | None] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True)
class Ledger:
    """The part of the projection at hand; ``read_to`` is (block number, log index) of its last event."""

    read_to: tuple[int, int] = (-1, -1)
    nodes: Mapping[str, NodeState] = field(default_factory=dict)
    tasks: Mapping[int, TaskState] = field(default_factory=dict)
    rounds: Mapping[RoundKey, RoundState] = field(default_factory=dict)


class ImpossibleEvent(ValueError):
    """An event speaks of something that no earlier event created."""


Step = tuple[Ledger, tuple[Announcement, ...]]


def step(ledger: Ledger, indexed: IndexedEvent, now_unix_s: int) -> Step:
    """The ledger after one event of a block of that time, and what to announce.

    Raises:
        ImpossibleEvent: the event's node, task or round is not in the ledger.
    """
    place = (indexed.block_number, indexed.log_index)
    if place <= ledger.read_to:
        return ledger, ()
    ledger = replace(ledger, read_to=place)
    event = indexed.event
    match event:
        case chain.NodeAdmitted() | chain.SignerRotated() | chain.StakeChanged() | chain.Claimed():
            return _step_node(ledger, event)
        case chain.TaskCreated() | chain.TaskFunded() | chain.Approved():
            return _step_task(ledger, event)
        case chain.RoundRequested():
            return _step_request(ledger, event, now_unix_s)
        case chain.RoundClosed():
            return _step_close(ledger, event, now_unix_s)
        case chain.Rewarded():
            return _step_reward(ledger, event)
        case _:
            return _step_round(ledger, event, now_unix_s)


NodeEvent = chain.NodeAdmitted | chain.SignerRotated | chain.StakeChanged | chain.Claimed


def _step_node(ledger: Ledger, event: NodeEvent) -> Step:
    match event:
        case chain.NodeAdmitted(node, signer, group):
            state = NodeState(node, signer, group)
            announcement = Announcement("node.admitted", node=node, facts={"group": group})
        case chain.SignerRotated(node, signer):
            state = replace(_node(ledger, node), signer=signer)
            announcement = Announcement("node.signer_rotated", node=node)
        case chain.StakeChanged(node, stake):
            state = replace(_node(ledger, node), stake=stake)
            announcement = Announcement("node.stake_changed", node=node, facts={"stake": str(stake)})
        case chain.Claimed(node, _, amount):
            known = _node(ledger, node)
            state = replace(known, claimed=known.claimed + amount)
            announcement = Announcement("node.claimed", node=node, facts={"amount": str(amount)})
    return _with_node(ledger, state), (announcement,)


TaskEvent = chain.TaskCreated | chain.TaskFunded | chain.Approved


def _step_task(ledger: Ledger, event: TaskEvent) -> Step:
    match event:
        case chain.TaskCreated(task, config):
            state = TaskState(task, config, parent_digest=config.genesis_digest)
            announcement = Announcement("task.created", task, facts={"spec_digest": config.spec_digest})
        case chain.TaskFunded(task, amount, pool):
            state = replace(_task(ledger, task), pool=pool)
            announcement = Announcement("task.funded", task, facts={"amount": str(amount)})
        case chain.Approved(task, node):
            known = _task(ledger, task)
            # A node may approve again, under another policy of its own.
            approved = tuple(sorted({*known.approved, node}, key=_address_order))
            state = replace(known, approved=approved)
            announcement = Announcement("task.approved", task, node=node)
    return _with_task(ledger, state), (announcement,)


def _step_request(ledger: Ledger, event: chain.RoundRequested, now_unix_s: int) -> Step:
    task = _task(ledger, event.task)
    state = RoundState(
        task=event.task,
        round=event.round,
        phase=Phase.REQUESTED,
        parent_digest=event.parent_digest,
        seed_block=event.seed_block,
        reward=event.reward,
        eligible=tuple(StakedNode(*pair) for pair in zip(event.eligible, event.stakes, strict=True)),
        phases=(PhaseStart(Phase.REQUESTED, now_unix_s),),
    )
    # The contract takes the reward out of the pool here; ``Rewarded`` says what comes back.
    task = replace(task, rounds_requested=event.round, pool=task.pool - event.reward)
    announcement = Announcement("round.requested", event.task, event.round)
    return _with_round(_with_task(ledger, task), state), (announcement,)


def _step_close(ledger: Ledger, event: chain.RoundClosed, now_unix_s: int) -> Step:
    task = _task(ledger, event.task)
    state = _round(ledger, event.task, event.round)
    state = _enter(state, event.phase, now_unix_s)
    if event.phase is Phase.FINAL:
        state = replace(state, aggregate_digest=event.parent_digest)
    task = replace(task, rounds_closed=event.round, parent_digest=event.parent_digest)
    facts = {"phase": event.phase.label, "parent_digest": event.parent_digest}
    announcement = Announcement("round.closed", event.task, event.round, facts=facts)
    return _with_round(_with_task(ledger, task), state), (announcement,)


def _step_reward(ledger: Ledger, event: chain.Rewarded) -> Step:
    state = _round(ledger, event.task, event.round)
    rewards = tuple(RewardState(*pair) for pair in zip(event.nodes, event.amounts, strict=True))
    task = _task(ledger, event.task)
    ledger = _with_task(ledger, replace(task, pool=task.pool + event.returned))
    for reward in rewards:
        node = _node(ledger, reward.node)
        ledger = _with_node(ledger, replace(node, earned=node.earned + reward.amount))
    ledger = _with_round(ledger, replace(state, rewards=rewards))
    facts = {"paid": str(sum(event.amounts)), "returned": str(event.returned)}
    return ledger, (Announcement("round.rewarded", event.task, event.round, facts=facts),)


RoundEvent = (
    chain.Drawn
    | chain.PhaseChanged
    | chain.Proposed
    | chain.Committed
    | chain.Revealed
    | chain.Tallied
    | chain.Attested
)


def _step_round(ledger: Ledger, event: RoundEvent, now_unix_s: int) -> Step:
    state = _round(ledger, event.task, event.round)
    match event:
        case chain.Drawn():
            changed = replace(state, seed=event.seed, proposers=event.proposers, voters=event.voters)
        case chain.PhaseChanged():
            if event.phase <= state.phase:
                return ledger, ()
            changed = replace(
                _enter(state, event.phase, now_unix_s),
                context=event.context,
                deadline_unix_s=event.deadline_unix_s,
            )
        case chain.Proposed():
            proposal = ProposalState(event.node, event.adapter_digest, event.report_digest)
            changed = replace(state, proposals=_add(state.proposals, proposal))
        case chain.Committed():
            changed = replace(state, votes=_add(state.votes, VoteState(event.node, event.commitment)))
        case chain.Revealed():
            changed = replace(state, votes=tuple(_revealed(vote, event) for vote in state.votes))
        case chain.Tallied():
            changed = replace(state, proposals=_tallied(state.proposals, event))
        case chain.Attested():
            attestation = AttestationState(event.node, event.aggregate_digest, event.score_micronats)
            changed = replace(state, attestations=_add(state.attestations, attestation))
    return _with_round(ledger, changed), (_round_announcement(event),)


def _round_announcement(event: RoundEvent) -> Announcement:
    node: str | None = None
    facts: dict[str, str | int | bool | None] = {}
    match event:
        case chain.Drawn():
            kind = "round.drawn"
        case chain.PhaseChanged():
            kind = "round.phase"
            facts = {"phase": event.phase.label, "deadline_unix_s": event.deadline_unix_s}
        case chain.Proposed():
            kind, node = "round.proposed", event.node
            facts = {"adapter_digest": event.adapter_digest}
        case chain.Committed():
            kind, node = "round.committed", event.node
        case chain.Revealed():
            kind, node = "round.revealed", event.node
        case chain.Tallied():
            kind = "round.tallied"
            facts = {"accepted": sum(event.accepted), "proposals": len(event.nodes)}
        case chain.Attested():
            kind, node = "round.attested", event.node
    return Announcement(kind, event.task, event.round, node, facts)


def _enter(state: RoundState, phase: Phase, now_unix_s: int) -> RoundState:
    if phase <= state.phase:
        return state
    deadline_unix_s = 0 if phase.closed else state.deadline_unix_s
    return replace(
        state,
        phase=phase,
        deadline_unix_s=deadline_unix_s,
        phases=(*state.phases, PhaseStart(phase, now_unix_s)),
    )


def _revealed(vote: VoteState, event: chain.Revealed) -> VoteState:
    if vote.node != event.node or vote.scores_micronats is not None:
        return vote
    return replace(vote, scores_micronats=event.scores_micronats)


def _tallied(proposals: tuple[ProposalState, ...], event: chain.Tallied) -> tuple[ProposalState, ...]:
    verdicts = {
        node: (accepted, median if has_median else None)
        for node, accepted, has_median, median in zip(
            event.nodes, event.accepted, event.has_median, event.medians_micronats, strict=True
        )
    }
    return tuple(
        replace(
            proposal,
            accepted=verdicts[proposal.node][0],
            median_improvement_micronats=verdicts[proposal.node][1],
        )
        if proposal.node in verdicts
        else proposal
        for proposal in proposals
    )


class _OfNode(Protocol):
    @property
    def node(self) -> str: ...


Entry = TypeVar("Entry", bound=_OfNode)


def _add(entries: tuple[Entry, ...], entry: Entry) -> tuple[Entry, ...]:
    """The entries with a new one in its place; a node has one at most."""
    if any(known.node == entry.node for known in entries):
        return entries
    return tuple(sorted((*entries, entry), key=lambda each: _address_order(each.node)))


def _address_order(address: str) -> int:
    return int(address, 16)


def _node(ledger: Ledger, node: str) -> NodeState:
    if node not in ledger.nodes:
        raise ImpossibleEvent(f"node {node} was never admitted")
    return ledger.nodes[node]


def _task(ledger: Ledger, task: int) -> TaskState:
    if task not in ledger.tasks:
        raise ImpossibleEvent(f"task {task} was never created")
    return ledger.tasks[task]


def _round(ledger: Ledger, task: int, round_number: int) -> RoundState:
    if (task, round_number) not in ledger.rounds:
        raise ImpossibleEvent(f"round {round_number} of task {task} was never requested")
    return ledger.rounds[task, round_number]


def _with_node(ledger: Ledger, state: NodeState) -> Ledger:
    return replace(ledger, nodes={**ledger.nodes, state.node: state})


def _with_task(ledger: Ledger, state: TaskState) -> Ledger:
    return replace(ledger, tasks={**ledger.tasks, state.task: state})


def _with_round(ledger: Ledger, state: RoundState) -> Ledger:
    return replace(ledger, rounds={**ledger.rounds, (state.task, state.round): state})
