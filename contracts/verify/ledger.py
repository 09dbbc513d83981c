"""Replays everything that is not a message of a round: nodes, stakes, slashes, approvals, pools, claims.

The registry's books and the claims are one for all tasks, so the events of all tasks are played. What follows
from them is compared with what the events state (a stake, a pool, a time) and, at the end, with the views.
The replay judges nothing itself: it writes down claims in the order in which things happened, and the checks
compare them. What other tasks' rounds paid is taken from their events; verifying those tasks checks it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from contracts import settlement
from contracts.events import (
    Approved,
    Attested,
    Claimed,
    Committed,
    Drawn,
    ExitRequested,
    FaultRecorded,
    Migrated,
    NodeAdmitted,
    NodeLeft,
    NodeReturned,
    PhaseChanged,
    Proposed,
    Refunded,
    RelaySkipped,
    Revealed,
    Revoked,
    Rewarded,
    RoundClosed,
    RoundRequested,
    SignerRotated,
    SlashExecuted,
    SlashWaived,
    StakeDeposited,
    SuccessorNamed,
    Tallied,
    TaskCancelled,
    TaskCreated,
    TaskEnded,
    TaskFunded,
    TaskPauseChanged,
    TaskToppedUp,
    Withdrawn,
)
from contracts.phase import Phase
from contracts.settlement import Attendance, Conduct, Fault
from contracts.unbonding import UnbondingEntry, with_exit
from contracts.verify.books import Books, Contribution, NodeAccount, SlashAccount, TaskAccount
from contracts.verify.claims import Claim, Claims
from contracts.verify.closing import close_books
from contracts.verify.comparison import Comparison
from contracts.verify.expected_round import ExpectedRound, conducts_of
from contracts.verify.facts import LoggedEvent, SlashStatus, TaskFacts
from contracts.verify.round_log import RoundKey, RoundLog

_MOST_COUNTED_ABSENCES = 255


@dataclass(frozen=True)
class Replay:
    """The events played through once."""

    rounds: Mapping[int, ExpectedRound]
    """Of the task that is verified."""
    claims: tuple[Claim, ...]
    claims_before: Mapping[int, int]
    """Round → how many of the claims come before its request."""

    def compare(self, compare: Comparison, start: int, end: int | None) -> None:
        """Compare claims ``start`` up to ``end`` in order.

        Raises:
            Disagreement: the first that is wrong.
        """
        for claim in self.claims[start:end]:
            if claim.is_known:
                compare.same(
                    claim.fact,
                    expected=claim.expected,
                    found=claim.found,
                    round_number=claim.round_number,
                    node=claim.node,
                )
            else:
                where = f"round {claim.round_number}: " if claim.round_number is not None else ""
                compare.unchecked(f"{where}{claim.fact}: the endpoint no longer serves its block")


def replay(task: TaskFacts, logs: Mapping[RoundKey, RoundLog]) -> Replay:
    """Play all events, and then hold the result against the views."""
    player = _Player(task, logs)
    for logged in task.events:
        player.play(logged)
    player.close_books()
    return Replay(rounds=player.rounds, claims=tuple(player.claims.all), claims_before=player.claims_before)


class _Player:
    """The books while events are played."""

    def __init__(self, facts: TaskFacts, logs: Mapping[RoundKey, RoundLog]) -> None:
        self.claims = Claims(facts.task)
        self.claims_before: dict[int, int] = {}
        self.rounds: dict[int, ExpectedRound] = {}
        self._facts = facts
        self._logs = logs
        self._books = Books(facts.terms.most_absences)
        self._all_rounds: dict[RoundKey, ExpectedRound] = {}

    def play(self, logged: LoggedEvent) -> None:
        """Play one event."""
        match logged.event:
            case (
                NodeAdmitted()
                | NodeLeft()
                | NodeReturned()
                | SignerRotated()
                | SuccessorNamed()
                | StakeDeposited()
            ) as event:
                self._play_node(event)
            case (ExitRequested() | Withdrawn() | Migrated()) as event:
                self._play_leaving(event, logged.time_unix_s)
            case (FaultRecorded() | SlashWaived() | SlashExecuted()) as event:
                self._play_slash(event, logged.time_unix_s)
            case TaskCreated() as event:
                self.claims.add("the number of a created task", len(self._books.tasks) + 1, event.task)
                self.claims.add("the spec of a created task", event.config.spec_digest, event.spec_digest)
                self._books.tasks.setdefault(
                    event.task, TaskAccount(event.config, parent=event.config.genesis_digest)
                )
            case Claimed(node, amount):
                self.claims.add("the amount of a claim", self._books.owed.get(node, 0), amount, node=node)
                self._books.owed[node] = self._books.owed.get(node, 0) - amount
            case RelaySkipped():
                pass
            case event:
                self._play_task(event, logged.time_unix_s)

    # --- nodes

    def _play_node(
        self,
        event: NodeAdmitted | NodeLeft | NodeReturned | SignerRotated | SuccessorNamed | StakeDeposited,
    ) -> None:
        if isinstance(event, SuccessorNamed):
            self._books.successor = event.successor
            return
        if isinstance(event, NodeAdmitted):
            node = self._books.nodes.setdefault(event.node, NodeAccount())
            self.claims.add("whether a node is admitted twice", False, node.is_admitted, node=event.node)
            node.signer, node.group, node.is_admitted = event.signer, event.group, True
            return
        node = self._node(event.node)
        if not isinstance(event, SignerRotated):
            self.claims.add("whether the node is admitted", True, node.is_admitted, node=event.node)
        match event:
            case NodeLeft():
                node.is_admitted = False
            case NodeReturned():
                node.absences = 0
            case SignerRotated():
                node.signer = event.signer
            case StakeDeposited():
                node.stake += event.amount
                self.claims.add("the stake after a deposit", node.stake, event.stake, node=event.node)

    def _play_leaving(self, event: ExitRequested | Withdrawn | Migrated, now: int | None) -> None:
        node = self._node(event.node)
        if isinstance(event, ExitRequested):
            unbonding_s = self._facts.terms.unbonding_s
            self.claims.add_time(
                "when an exit matures", now, unbonding_s, event.matures_unix_s, node=event.node
            )
            node.stake -= event.amount
            self.claims.add("the stake after an exit", node.stake, event.stake, node=event.node)
            leaving = UnbondingEntry(event.matures_unix_s, event.amount)
            node.unbonding = with_exit(node.unbonding, leaving)
            return
        self.claims.add("the open rounds of a node that withdraws", 0, node.open_rounds, node=event.node)
        pending = self._books.pending_slashes(event.node)
        self.claims.add("the pending slashes of a node that withdraws", 0, pending, node=event.node)
        if isinstance(event, Migrated):
            self.claims.add(
                "the successor of a migration", self._books.successor, event.successor, node=event.node
            )
        self.claims.add(
            "the amount of a withdrawal",
            node.pop_mature(now, event.amount),
            event.amount,
            node=event.node,
            is_known=now is not None,
        )

    def _play_slash(self, event: FaultRecorded | SlashWaived | SlashExecuted, now: int | None) -> None:
        if isinstance(event, FaultRecorded):
            self._play_fault(event, now)
            return
        slash = self._books.slashes[event.slash] if event.slash < len(self._books.slashes) else None
        self.claims.add("the slash that is settled", True, slash is not None, node=event.node)
        if slash is None:
            return
        self.claims.add("the node of a slash", slash.node, event.node)
        self.claims.add("the status of a slash before", SlashStatus.PENDING, slash.status, node=slash.node)
        is_late = now is not None and now >= slash.executable_unix_s
        is_executed = isinstance(event, SlashExecuted)
        fact = "whether the appeal window was over"
        self.claims.add(fact, is_executed, is_late, node=slash.node, is_known=now is not None)
        if isinstance(event, SlashExecuted):
            self.claims.add("the amount of a slash", slash.amount, event.amount, node=slash.node)
            self.claims.add("the task of a slash", slash.task, event.task, node=slash.node)
            slash.status = SlashStatus.EXECUTED
            if slash.amount > 0:
                self._books.due_top_ups.append((slash.task, slash.amount))
        else:
            slash.status = SlashStatus.WAIVED
            node = self._node(slash.node)
            node.stake += slash.amount
            self.claims.add("the stake after a waiver", node.stake, event.stake, node=slash.node)

    def _play_fault(self, event: FaultRecorded, now: int | None) -> None:
        task = self._task(event.task)
        due = task.due_faults.pop(0) if task.due_faults else None
        where = (event.task, event.round)
        self.claims.add("the node at fault", due.node if due else None, event.node, where=where)
        expected = due or Conduct(event.node, Attendance.NOT_ASKED, Fault.NONE, 0)
        self.claims.add("the fault", expected.fault.name, event.fault.name, where=where, node=event.node)
        self.claims.add(
            "the number of a slash", len(self._books.slashes), event.slash, where=where, node=event.node
        )
        node = self._node(event.node)
        taken = node.take(expected.slash)
        self.claims.add("the amount set aside", taken, event.amount, where=where, node=event.node)
        self.claims.add("the stake after a fault", node.stake, event.stake, where=where, node=event.node)
        appeal_s = self._facts.terms.appeal_s
        fact = "when a slash can be executed"
        self.claims.add_time(fact, now, appeal_s, event.executable_unix_s, where=where, node=event.node)
        self._books.slashes.append(
            SlashAccount(event.node, event.task, event.round, expected.fault, event.executable_unix_s, taken)
        )

    # --- tasks and rounds

    def _play_task(
        self,
        event: Approved
        | Revoked
        | TaskFunded
        | TaskToppedUp
        | TaskPauseChanged
        | TaskCancelled
        | TaskEnded
        | Refunded
        | RoundRequested
        | Drawn
        | PhaseChanged
        | Proposed
        | Committed
        | Revealed
        | Tallied
        | Attested
        | RoundClosed
        | Rewarded,
        now: int | None,
    ) -> None:
        task = self._task(event.task)
        match event:
            case Approved():
                self.claims.add("whether an approving node is known", True, event.node in self._books.nodes)
                task.approved.add(event.node)
            case Revoked():
                fact = "whether a revoking node approved"
                self.claims.add(fact, True, event.node in task.approved, node=event.node)
                task.approved.discard(event.node)
            case TaskFunded() | TaskToppedUp() | Refunded():
                self._play_money(task, event)
            case TaskPauseChanged():
                self.claims.add("whether the task was paused before", not event.is_paused, task.is_paused)
                task.is_paused = event.is_paused
            case TaskCancelled():
                self.claims.add("whether the task was cancelled before", False, task.is_cancelled)
                task.is_cancelled = True
                if not task.has_open_round:
                    self._end(task)
            case TaskEnded():
                self.claims.add("whether the task ends", 1, task.ends_due)
                self.claims.add("the pool of a task that ends", task.pool, event.pool)
                task.ends_due -= 1
            case RoundRequested():
                self._play_request(task, event, now)
            case Drawn():
                self._play_draw(event, now)
            case PhaseChanged():
                self._play_phase(task, event, now)
            case RoundClosed():
                self._play_close(task, event)
            case Rewarded():
                self._play_rewards(task, event)
            case Proposed() | Committed() | Revealed() | Tallied() | Attested():
                fact = f"the phase of a round when it was {type(event).__name__.lower()}"
                in_phase = _PHASE_OF[type(event)].name
                self.claims.add(fact, in_phase, task.phase.name, where=(event.task, event.round))
                number = f"the number of a round that was {type(event).__name__.lower()}"
                self.claims.add(number, task.requested, event.round, where=(event.task, event.round))

    def _play_money(self, task: TaskAccount, event: TaskFunded | TaskToppedUp | Refunded) -> None:
        if isinstance(event, Refunded):
            self.claims.add(
                "the amount of a refund", task.refundable(event.funder), event.amount, node=event.funder
            )
            task.contributions.setdefault(event.funder, Contribution()).refunded += event.amount
            task.refunded += event.amount
            task.pool -= event.amount
            return
        task.pool += event.amount
        if isinstance(event, TaskFunded):
            can_open = not task.is_cancelled and task.requested < task.config.rounds
            self.claims.add("whether a task that is funded may still open a round", True, can_open)
            task.contributed += event.amount
            task.contributions.setdefault(event.funder, Contribution()).amount += event.amount
        elif event.giver == self._facts.deployment.registry:
            due = self._books.due_top_ups.pop(0) if self._books.due_top_ups else None
            self.claims.add("the slash that tops a pool up", due, (event.task, event.amount))
        self.claims.add("the pool after a payment into it", task.pool, event.pool)

    def _play_request(self, task: TaskAccount, event: RoundRequested, now: int | None) -> None:
        where = (event.task, event.round)
        rules = task.config.rules
        if event.task == self._facts.task:
            self.claims_before.setdefault(event.round, len(self.claims.all))
        self.claims.add("the number of a requested round", task.requested + 1, event.round, where=where)
        self.claims.add("whether another round is open", False, task.has_open_round, where=where)
        self.claims.add("whether the task is paused", False, task.is_paused, where=where)
        self.claims.add("whether the task is cancelled", False, task.is_cancelled, where=where)
        self.claims.add("whether the task is over", False, task.is_over, where=where)
        eligible = settlement.ascending(
            [node for node in task.approved if self._books.eligible_stake(node) > 0]
        )
        stakes = tuple(settlement.frozen_stake(self._books.eligible_stake(node), rules) for node in eligible)
        left = max(rules.rounds - task.requested, 1)
        reward = task.pool // left
        self.claims.add("the parent of a request", task.parent, event.parent_digest, where=where)
        self.claims.add("the eligible nodes of a request", eligible, event.eligible, where=where)
        self.claims.add("the frozen stakes of a request", stakes, event.stakes, where=where)
        self.claims.add("the reward of a request", reward, event.reward, where=where)
        deadline = None if now is None else now + task.config.training_s
        self._set_round(where, ExpectedRound(eligible, stakes, reward, {}, deadline, is_paused=False))
        task.requested += 1
        task.has_open_round = True
        task.phase = Phase.REQUESTED
        task.pool -= reward
        task.open_reward = reward

    def _play_draw(self, event: Drawn, now: int | None) -> None:
        where = (event.task, event.round)
        drawn = list(dict.fromkeys((*event.proposers, *event.voters)))
        for node in drawn:
            self._node(node).open_rounds += 1
        groups = {node: self._node(node).group for node in drawn}
        expected = self._all_rounds.get(where)
        if expected is not None:
            self._set_round(where, replace(expected, groups=groups))
            deadline = expected.draw_deadline_unix_s
            is_known = now is not None and deadline is not None
            is_late = now is not None and deadline is not None and now > deadline
            fact = "whether a round was drawn too late"
            self.claims.add(fact, False, is_late, where=where, is_known=is_known)
        for nodes, logged, role in (
            (event.proposers, event.proposer_groups, "proposers"),
            (event.voters, event.voter_groups, "voters"),
        ):
            self.claims.add(
                f"the groups of the {role}", tuple(groups[node] for node in nodes), logged, where=where
            )

    def _play_phase(self, task: TaskAccount, event: PhaseChanged, now: int | None) -> None:
        where = (event.task, event.round)
        self.claims.add(
            f"whether {event.phase.name} follows {task.phase.name}",
            True,
            event.phase > task.phase,
            where=where,
        )
        self.claims.add("the number of a round that changes phase", task.requested, event.round, where=where)
        config = task.config
        lengths_s = {
            Phase.TRAINING: config.training_s,
            Phase.COMMITTING: config.committing_s,
            Phase.REVEALING: config.revealing_s,
            Phase.ATTESTING: config.attesting_s,
        }
        fact = f"the deadline of {event.phase.name}"
        if event.phase.closed:
            self.claims.add(fact, 0, event.deadline_unix_s, where=where)
        else:
            length_s = lengths_s.get(event.phase, 0)
            self.claims.add_time(fact, now, length_s, event.deadline_unix_s, where=where)
        task.phase = event.phase

    def _play_close(self, task: TaskAccount, event: RoundClosed) -> None:
        where = (event.task, event.round)
        self.claims.add("the phase of a round that is closed", event.phase.name, task.phase.name, where=where)
        expected = self._all_rounds.get(where)
        log = self._logs.get(where)
        if expected is not None and log is not None:
            if task.is_paused:
                expected = replace(expected, is_paused=True)
                self._set_round(where, expected)
            for conduct in conducts_of(log, expected, task.config.rules):
                node = self._node(conduct.node)
                node.open_rounds -= 1
                if conduct.attendance is Attendance.ATTENDED:
                    node.absences = 0
                elif conduct.attendance is Attendance.ABSENT:
                    node.absences = min(node.absences + 1, _MOST_COUNTED_ABSENCES)
                if conduct.fault is not Fault.NONE:
                    task.due_faults.append(conduct)
        task.closed += 1
        task.parent = event.parent_digest

    def _play_rewards(self, task: TaskAccount, event: Rewarded) -> None:
        where = (event.task, event.round)
        forgotten = tuple(conduct.node for conduct in task.due_faults)
        self.claims.add("nodes at fault that no event names", (), forgotten, where=where)
        task.due_faults.clear()
        self.claims.add("the number of a rewarded round", task.requested, event.round, where=where)
        self.claims.add("whether the rewarded round was open", True, task.has_open_round, where=where)
        paid = sum(event.amounts)
        self.claims.add("the rest of a reward", task.open_reward - paid, event.returned, where=where)
        for node, amount in zip(event.nodes, event.amounts, strict=False):
            self._books.owed[node] = self._books.owed.get(node, 0) + amount
        task.pool += task.open_reward - paid
        task.open_reward = 0
        task.has_open_round = False
        if task.closed == task.config.rounds or task.is_cancelled:
            self._end(task)

    def _end(self, task: TaskAccount) -> None:
        task.is_over = True
        task.ends_due += 1

    def close_books(self) -> None:
        """Compare what the events come to with what the views say."""
        self._task(self._facts.task)
        close_books(self._books, self._facts, self.claims)

    # --- helpers

    def _set_round(self, where: RoundKey, expected: ExpectedRound) -> None:
        self._all_rounds[where] = expected
        if where[0] == self._facts.task:
            self.rounds[where[1]] = expected

    def _node(self, address: str) -> NodeAccount:
        if address not in self._books.nodes:
            self.claims.add("whether a node is known", True, False, node=address)
            self._books.nodes[address] = NodeAccount()
        return self._books.nodes[address]

    def _task(self, number: int) -> TaskAccount:
        if number not in self._books.tasks:
            self.claims.add("whether a task was created", True, False)
            self._books.tasks[number] = TaskAccount(self._facts.view.config)
        return self._books.tasks[number]


_PHASE_OF: Mapping[type, Phase] = {
    Proposed: Phase.TRAINING,
    Committed: Phase.COMMITTING,
    Revealed: Phase.REVEALING,
    Tallied: Phase.REVEALING,
    Attested: Phase.ATTESTING,
}
