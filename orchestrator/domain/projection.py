"""The projection as a machine: ``step(ledger, event, now) → ledger, effects``.

Time is the time of the event's block. The ledger knows how far it has read: an event at or before that
place changes nothing and has no effect, so replaying a log is harmless. A phase never moves back.

What the contracts keep and no event says outright (seats, absences, nonces, what is left of an exit) follows
from the events by the contracts' own rules.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Protocol, TypeVar

from eth_utils.address import is_same_address

from contracts import events
from contracts.phase import Phase
from contracts.settlement import Attendance, Member, Standing, conducts
from contracts.unbonding import UnbondingEntry, with_exit, without_latest
from orchestrator.domain.chain import IndexedEvent
from orchestrator.domain.state import (
    AttestationState,
    NodeState,
    PhaseStart,
    ProposalState,
    RegistryState,
    RewardState,
    RoundState,
    SlashState,
    SlashStatus,
    StakedNode,
    TaskState,
    VoteState,
)

_NO_ADDRESS = "0x" + "00" * 20
_MOST_COUNTED_ABSENCES = 255
"""The contract counts in eight bits."""

RoundKey = tuple[int, int]
"""(task, round)."""
Fact = str | int | bool | None
"""One thing that an announcement says beside its subjects."""


@dataclass(frozen=True)
class Announcement:
    """What people and programs that follow the hub are told: a kind, its subjects and a few facts."""

    kind: str
    task: int | None = None
    round: int | None = None
    node: str | None = None
    facts: Mapping[str, Fact] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True)
class Ledger:
    """The part of the projection at hand; ``read_to`` is (block number, log index) of its last event."""

    registry: RegistryState
    read_to: tuple[int, int] = (-1, -1)
    nodes: Mapping[str, NodeState] = field(default_factory=dict)
    slashes: Mapping[int, SlashState] = field(default_factory=dict)
    tasks: Mapping[int, TaskState] = field(default_factory=dict)
    rounds: Mapping[RoundKey, RoundState] = field(default_factory=dict)


class ImpossibleEvent(ValueError):
    """An event speaks of something that no earlier event created."""


Step = tuple[Ledger, tuple[Announcement, ...]]
Key = TypeVar("Key")
State = TypeVar("State", NodeState, SlashState, TaskState, RoundState)


def step(ledger: Ledger, indexed: IndexedEvent, now_unix_s: int) -> Step:
    """The ledger after one event of a block of that time, and what to announce.

    Raises:
        ImpossibleEvent: the event's node, slash, task or round is not in the ledger.
    """
    place = (indexed.block_number, indexed.log_index)
    if place <= ledger.read_to:
        return ledger, ()
    after, said = _stepped(ledger, indexed.event, now_unix_s)
    stamped = replace(
        after,
        read_to=place,
        nodes=_stamped(ledger.nodes, after.nodes, indexed.block_number),
        slashes=_stamped(ledger.slashes, after.slashes, indexed.block_number),
        tasks=_stamped(ledger.tasks, after.tasks, indexed.block_number),
        rounds=_stamped(ledger.rounds, after.rounds, indexed.block_number),
    )
    return stamped, said


def _stamped(
    before: Mapping[Key, State], after: Mapping[Key, State], block_number: int
) -> Mapping[Key, State]:
    """The values after an event, those that it changed with the event's block."""
    if after is before:
        return after
    return {
        key: state if before.get(key) is state else replace(state, changed_block=block_number)
        for key, state in after.items()
    }


def _stepped(ledger: Ledger, event_of_chain: events.Event, now_unix_s: int) -> Step:
    match event_of_chain:
        case events.NodeAdmitted() as event:
            return _step_admission(ledger, event)
        case events.SuccessorNamed() as event:
            return _step_successor(ledger, event)
        case events.FaultRecorded() as event:
            return _step_fault(ledger, event)
        case events.SlashWaived() | events.SlashExecuted() as event:
            return _step_slash(ledger, event)
        case events.TaskCreated() as event:
            return _step_creation(ledger, event)
        case events.Approved() | events.Revoked() as event:
            return _step_approval(ledger, event)
        case events.RoundRequested() as event:
            return _step_request(ledger, event, now_unix_s)
        case events.Drawn() as event:
            return _step_draw(ledger, event)
        case events.RoundClosed() as event:
            return _step_close(ledger, event, now_unix_s)
        case events.Rewarded() as event:
            return _step_reward(ledger, event)
        case events.RelaySkipped() as event:
            facts = {"message_hash": event.message_hash, "reason": event.reason}
            return ledger, (Announcement("relay.skipped", facts=facts),)
        case (
            events.NodeLeft()
            | events.NodeReturned()
            | events.SignerRotated()
            | events.StakeDeposited()
            | events.ExitRequested()
            | events.Withdrawn()
            | events.Migrated()
            | events.Claimed() as event
        ):
            return _step_node(ledger, event, now_unix_s)
        case (
            events.TaskFunded()
            | events.TaskToppedUp()
            | events.TaskPauseChanged()
            | events.TaskCancelled()
            | events.TaskEnded()
            | events.Refunded() as event
        ):
            return _step_task(ledger, event)
        case event:
            return _step_round(ledger, event, now_unix_s)


# Nodes


def _step_admission(ledger: Ledger, event: events.NodeAdmitted) -> Step:
    known = ledger.nodes.get(event.node)
    if known is None:
        state = NodeState(event.node, event.signer, event.group)
    else:
        state = replace(known, signer=event.signer, group=event.group, admitted=True)
    announcement = Announcement("node.admitted", node=event.node, facts={"group": event.group})
    return _with_node(ledger, state), (announcement,)


NodeEvent = (
    events.NodeLeft
    | events.NodeReturned
    | events.SignerRotated
    | events.StakeDeposited
    | events.ExitRequested
    | events.Withdrawn
    | events.Migrated
    | events.Claimed
)


def _step_node(ledger: Ledger, event: NodeEvent, now_unix_s: int) -> Step:
    node = _node(ledger, event.node)
    facts: dict[str, Fact] = {}
    match event:
        case events.NodeLeft():
            kind, state = "node.left", replace(node, admitted=False)
        case events.NodeReturned():
            kind, state = "node.returned", replace(_spoken(node), absences=0)
        case events.SignerRotated(signer=signer):
            kind, state = "node.signer_rotated", replace(_spoken(node), signer=signer)
            facts = {"signer": signer}
        case events.StakeDeposited(stake=stake):
            kind, state = "node.stake_changed", replace(node, stake=stake)
            facts = {"stake": str(stake)}
        case events.ExitRequested():
            leaving = UnbondingEntry(event.matures_unix_s, event.amount)
            unbonding = with_exit(node.unbonding, leaving)
            state = replace(_spoken(node), stake=event.stake, unbonding=unbonding)
            kind = "node.exit_requested"
            facts = {"amount": str(event.amount), "matures_unix_s": event.matures_unix_s}
        case events.Withdrawn(amount=amount):
            kind, state = "node.withdrawn", _without_mature(node, amount, now_unix_s)
            facts = {"amount": str(amount)}
        case events.Migrated():
            kind, state = "node.migrated", _without_mature(_spoken(node), event.amount, now_unix_s)
            facts = {"amount": str(event.amount), "successor": event.successor}
        case events.Claimed(amount=amount):
            kind, state = "node.claimed", replace(node, claimed=node.claimed + amount)
            facts = {"amount": str(amount)}
    return _with_node(ledger, state), (Announcement(kind, node=event.node, facts=facts),)


def _spoken(node: NodeState) -> NodeState:
    """The node after a message of its own to the registry, which used up a nonce."""
    return replace(node, registry_nonce=node.registry_nonce + 1)


def _without_mature(node: NodeState, amount: int, now_unix_s: int) -> NodeState:
    kept = tuple(each for each in node.unbonding if each.matures_unix_s > now_unix_s)
    return replace(node, unbonding=kept, withdrawn=node.withdrawn + amount)


def _step_successor(ledger: Ledger, event: events.SuccessorNamed) -> Step:
    successor = None if is_same_address(event.successor, _NO_ADDRESS) else event.successor
    ledger = replace(ledger, registry=replace(ledger.registry, successor=successor))
    return ledger, (Announcement("registry.successor_named", facts={"successor": successor}),)


# Faults and slashes


def _step_fault(ledger: Ledger, event: events.FaultRecorded) -> Step:
    node = _node(ledger, event.node)
    slash = SlashState(
        slash=event.slash,
        node=event.node,
        task=event.task,
        round=event.round,
        fault=event.fault,
        amount=event.amount,
        executable_unix_s=event.executable_unix_s,
    )
    out_of_leaving = event.amount - (node.stake - event.stake)
    state = replace(
        node,
        stake=event.stake,
        unbonding=without_latest(node.unbonding, out_of_leaving),
        pending_slashes=node.pending_slashes + 1,
    )
    facts: dict[str, Fact] = {
        "fault": event.fault.name.lower(),
        "slash": event.slash,
        "amount": str(event.amount),
        "executable_unix_s": event.executable_unix_s,
    }
    announcement = Announcement("fault.recorded", event.task, event.round, event.node, facts)
    return _with_slash(_with_node(ledger, state), slash), (announcement,)


def _step_slash(ledger: Ledger, event: events.SlashWaived | events.SlashExecuted) -> Step:
    slash, node = _slash(ledger, event.slash), _node(ledger, event.node)
    node = replace(node, pending_slashes=node.pending_slashes - 1)
    if isinstance(event, events.SlashWaived):
        kind, status, node = "slash.waived", SlashStatus.WAIVED, replace(node, stake=event.stake)
    else:
        # Its amount reaches the pool by a ``TaskToppedUp`` of its own.
        kind, status = "slash.executed", SlashStatus.EXECUTED
    ledger = _with_slash(_with_node(ledger, node), replace(slash, status=status))
    facts: dict[str, Fact] = {"slash": slash.slash, "amount": str(slash.amount)}
    return ledger, (Announcement(kind, slash.task, slash.round, slash.node, facts),)


# Tasks


def _step_creation(ledger: Ledger, event: events.TaskCreated) -> Step:
    state = TaskState(event.task, event.config, parent_digest=event.config.genesis_digest)
    announcement = Announcement("task.created", event.task, facts={"spec_digest": event.spec_digest})
    return _with_task(ledger, state), (announcement,)


def _step_approval(ledger: Ledger, event: events.Approved | events.Revoked) -> Step:
    task, node = _task(ledger, event.task), _node(ledger, event.node)
    if isinstance(event, events.Approved):
        # A node may approve again, under another policy of its own.
        kind, nodes = "task.approved", {*task.approved, event.node}
    else:
        kind, nodes = "task.revoked", {*task.approved} - {event.node}
    task = replace(task, approved=tuple(sorted(nodes, key=_address_order)))
    ledger = _with_node(ledger, replace(node, tasks_nonce=node.tasks_nonce + 1))
    return _with_task(ledger, task), (Announcement(kind, event.task, node=event.node),)


TaskEvent = (
    events.TaskFunded
    | events.TaskToppedUp
    | events.TaskPauseChanged
    | events.TaskCancelled
    | events.TaskEnded
    | events.Refunded
)


def _step_task(ledger: Ledger, event: TaskEvent) -> Step:
    task = _task(ledger, event.task)
    facts: dict[str, Fact] = {}
    match event:
        case events.TaskFunded(amount=amount, pool=pool):
            kind, state = "task.funded", replace(task, pool=pool, contributed=task.contributed + amount)
            facts = {"amount": str(amount)}
        case events.TaskToppedUp(amount=amount, pool=pool):
            kind, state = "task.topped_up", replace(task, pool=pool)
            facts = {"amount": str(amount)}
        case events.TaskPauseChanged(is_paused=is_paused):
            kind = "task.paused" if is_paused else "task.unpaused"
            state = replace(task, pause_changes=task.pause_changes + 1)
        case events.TaskCancelled():
            kind, state = "task.cancelled", replace(task, is_cancelled=True)
        case events.TaskEnded(pool=pool):
            kind, state = "task.ended", replace(task, is_over=True, pool=pool)
            facts = {"refundable": str(pool)}
        case events.Refunded(amount=amount):
            state = replace(task, pool=task.pool - amount, refunded=task.refunded + amount)
            kind, facts = "task.refunded", {"amount": str(amount), "funder": event.funder}
    return _with_task(ledger, state), (Announcement(kind, event.task, facts=facts),)


# Rounds


def _step_request(ledger: Ledger, event: events.RoundRequested, now_unix_s: int) -> Step:
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
        # As the contract sets it: a round that is not drawn by then is aborted.
        deadline_unix_s=now_unix_s + task.config.training_s,
    )
    # The contract takes the reward out of the pool here; ``Rewarded`` says what comes back.
    task = replace(
        task, rounds_requested=event.round, pool=task.pool - event.reward, open_reward=event.reward
    )
    announcement = Announcement("round.requested", event.task, event.round)
    return _with_round(_with_task(ledger, task), state), (announcement,)


def _step_draw(ledger: Ledger, event: events.Drawn) -> Step:
    state = replace(
        _round(ledger, event.task, event.round),
        seed=event.seed,
        proposers=event.proposers,
        voters=event.voters,
        proposer_groups=event.proposer_groups,
        voter_groups=event.voter_groups,
    )
    for address in state.drawn:
        node = _node(ledger, address)
        ledger = _with_node(ledger, replace(node, open_rounds=node.open_rounds + 1))
    return _with_round(ledger, state), (Announcement("round.drawn", event.task, event.round),)


def _step_close(ledger: Ledger, event: events.RoundClosed, now_unix_s: int) -> Step:
    task = _task(ledger, event.task)
    before = _round(ledger, event.task, event.round)
    state = _enter(before, event.phase, now_unix_s)
    if event.phase is Phase.FINAL:
        state = replace(state, aggregate_digest=event.parent_digest)
    task = replace(task, rounds_closed=event.round, parent_digest=event.parent_digest)
    facts: dict[str, Fact] = {"phase": event.phase.label, "parent_digest": event.parent_digest}
    announcements = [Announcement("round.closed", event.task, event.round, facts=facts)]
    for address, attendance in _attendance(task, state):
        before_close = _node(ledger, address)
        node = _freed(before_close, attendance)
        ledger = _with_node(ledger, node)
        if before_close.absences < ledger.registry.terms.most_absences <= node.absences:
            # From here on it is not drawn any more until it says that it is back.
            announcements.append(
                Announcement("node.absent_too_often", node=address, facts={"absences": node.absences})
            )
    return _with_round(_with_task(ledger, task), state), tuple(announcements)


def _attendance(task: TaskState, state: RoundState) -> tuple[tuple[str, Attendance], ...]:
    """How every node with a seat attended a round that is closed, by the reference's rules."""
    # A pause aborts the round as if nobody had been asked for anything, and comes before the closing.
    last_phase = Phase.REQUESTED if task.is_paused else state.last_open_phase
    found = conducts(
        last_phase=last_phase,
        # Groups and stakes bear on slashes, which have events of their own, and not on attendance.
        proposers=[Member(node, group=0, stake=0) for node in state.proposers],
        voters=[Member(node, group=0, stake=0) for node in state.voters],
        proposed=[proposal.node for proposal in state.proposals],
        committed=[vote.node for vote in state.votes],
        revealed=[vote.node for vote in state.votes if vote.scores_micronats is not None],
        tallies=(),
        rules=task.config.rules,
    )
    return tuple((conduct.node, conduct.attendance) for conduct in found)


def _freed(node: NodeState, attendance: Attendance) -> NodeState:
    absences = node.absences
    if attendance is Attendance.ATTENDED:
        absences = 0
    elif attendance is Attendance.ABSENT:
        absences = min(absences + 1, _MOST_COUNTED_ABSENCES)
    return replace(node, open_rounds=node.open_rounds - 1, absences=absences)


def _step_reward(ledger: Ledger, event: events.Rewarded) -> Step:
    state = _round(ledger, event.task, event.round)
    rewards = tuple(RewardState(*pair) for pair in zip(event.nodes, event.amounts, strict=True))
    task = _task(ledger, event.task)
    ledger = _with_task(ledger, replace(task, pool=task.pool + event.returned, open_reward=0))
    for reward in rewards:
        node = _node(ledger, reward.node)
        ledger = _with_node(ledger, replace(node, earned=node.earned + reward.amount))
    ledger = _with_round(ledger, replace(state, rewards=rewards))
    facts = {"paid": str(sum(event.amounts)), "returned": str(event.returned)}
    return ledger, (Announcement("round.rewarded", event.task, event.round, facts=facts),)


RoundEvent = (
    events.PhaseChanged
    | events.Proposed
    | events.Committed
    | events.Revealed
    | events.Tallied
    | events.Attested
)


def _step_round(ledger: Ledger, event: RoundEvent, now_unix_s: int) -> Step:
    state = _round(ledger, event.task, event.round)
    match event:
        case events.PhaseChanged():
            if event.phase <= state.phase:
                return ledger, ()
            changed = replace(
                _enter(state, event.phase, now_unix_s),
                context=event.context,
                deadline_unix_s=event.deadline_unix_s,
            )
        case events.Proposed():
            proposal = ProposalState(event.node, event.adapter_digest, event.report_digest)
            changed = replace(state, proposals=_add(state.proposals, proposal))
        case events.Committed():
            changed = replace(state, votes=_add(state.votes, VoteState(event.node, event.commitment)))
        case events.Revealed():
            changed = replace(state, votes=tuple(_revealed(vote, event) for vote in state.votes))
        case events.Tallied():
            changed = replace(state, proposals=_tallied(state.proposals, event))
        case events.Attested():
            attestation = AttestationState(event.node, event.aggregate_digest, event.score_micronats)
            changed = replace(state, attestations=_add(state.attestations, attestation))
    return _with_round(ledger, changed), (_round_announcement(event),)


def _round_announcement(event: RoundEvent) -> Announcement:
    node: str | None = None
    facts: dict[str, Fact] = {}
    match event:
        case events.PhaseChanged():
            kind = "round.phase"
            facts = {"phase": event.phase.label, "deadline_unix_s": event.deadline_unix_s}
        case events.Proposed():
            kind, node = "round.proposed", event.node
            facts = {"adapter_digest": event.adapter_digest}
        case events.Committed():
            kind, node = "round.committed", event.node
        case events.Revealed():
            kind, node = "round.revealed", event.node
        case events.Tallied():
            kind = "round.tallied"
            accepted = sum(standing is Standing.ACCEPTED for standing in event.standings)
            facts = {"accepted": accepted, "proposals": len(event.nodes)}
        case events.Attested():
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


def _revealed(vote: VoteState, event: events.Revealed) -> VoteState:
    if vote.node != event.node or vote.scores_micronats is not None:
        return vote
    return replace(vote, scores_micronats=event.scores_micronats)


def _tallied(proposals: tuple[ProposalState, ...], event: events.Tallied) -> tuple[ProposalState, ...]:
    verdicts = {
        node: (standing, median if standing >= Standing.REFUSED else None, proven_invalid)
        for node, standing, median, proven_invalid in zip(
            event.nodes, event.standings, event.medians_micronats, event.proven_invalid, strict=True
        )
    }
    tallied = []
    for proposal in proposals:
        if proposal.node in verdicts:
            standing, median, proven_invalid = verdicts[proposal.node]
            proposal = replace(
                proposal,
                standing=standing,
                median_improvement_micronats=median,
                proven_invalid=proven_invalid,
            )
        tallied.append(proposal)
    return tuple(tallied)


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


def _slash(ledger: Ledger, slash: int) -> SlashState:
    if slash not in ledger.slashes:
        raise ImpossibleEvent(f"slash {slash} was never recorded")
    return ledger.slashes[slash]


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


def _with_slash(ledger: Ledger, state: SlashState) -> Ledger:
    return replace(ledger, slashes={**ledger.slashes, state.slash: state})


def _with_task(ledger: Ledger, state: TaskState) -> Ledger:
    return replace(ledger, tasks={**ledger.tasks, state.task: state})


def _with_round(ledger: Ledger, state: RoundState) -> Ledger:
    return replace(ledger, rounds={**ledger.rounds, (state.task, state.round): state})
