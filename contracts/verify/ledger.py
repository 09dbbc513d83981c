"""Replays everything that is not a message of a round: nodes, stakes, slashes, approvals, pools, claims.

The registry's books and the claims are one for all tasks, so the events of all tasks are played. What follows
from them is compared with what the events state (a stake, a pool, a time) and, at the end, with the views.
The replay judges nothing itself: it writes down claims in the order in which things happened, and the checks
compare them. What other tasks' rounds paid is taken from their events; verifying those tasks checks it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from contracts import settlement
from contracts.digests import ZERO_DIGEST
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
from contracts.settlement import Attendance, Conduct, Fault, Member, ProposedAdapter
from contracts.task_config import TaskConfig
from contracts.verify.comparison import Comparison
from contracts.verify.facts import LoggedEvent, PoolView, SlashStatus, SlashView, TaskFacts, UnbondingView
from contracts.verify.round_log import RoundKey, RoundLog

_NOBODY = "0x" + "00" * 20
_MOST_COUNTED_ABSENCES = 255


@dataclass(frozen=True)
class ExpectedRound:
    """What a round had to freeze and take at its request, and the groups at its draw."""

    eligible: tuple[str, ...]
    stakes: tuple[int, ...]
    reward: int
    groups: Mapping[str, int]
    is_paused: bool
    """Whether it was closed because the task was paused."""

    def members(self, nodes: Sequence[str]) -> tuple[Member, ...]:
        """These nodes as the round counts them."""
        stakes = dict(zip(self.eligible, self.stakes, strict=True))
        return tuple(Member(node, self.groups.get(node, 0), stakes.get(node, 0)) for node in nodes)


@dataclass(frozen=True)
class Claim:
    """A fact that the replay found: what follows from earlier events, and what is stated."""

    fact: str
    expected: object
    found: object
    round_number: int | None
    node: str | None
    is_known: bool = True
    """Whether what it takes to know it was there."""


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
    return Replay(rounds=player.rounds, claims=tuple(player.claims), claims_before=player.claims_before)


@dataclass
class _Node:
    signer: str = _NOBODY
    group: int = 0
    is_admitted: bool = False
    stake: int = 0
    absences: int = 0
    open_rounds: int = 0
    unbonding: list[UnbondingView] = field(default_factory=list)

    def take(self, most: int) -> int:
        """Take a slash out of the stake, and then out of what is leaving, the latest first."""
        taken = min(most, self.stake)
        self.stake -= taken
        while taken < most and self.unbonding:
            last = self.unbonding.pop()
            part = min(last.amount, most - taken)
            taken += part
            if part < last.amount:
                self.unbonding.append(UnbondingView(last.matures_unix_s, last.amount - part))
        return taken

    def pop_mature(self, now_unix_s: int | None, stated: int) -> int:
        """Take out what may be withdrawn; without a time, the first entries up to what was ``stated``."""
        amount = 0
        while self.unbonding and (
            amount < stated if now_unix_s is None else self.unbonding[0].matures_unix_s <= now_unix_s
        ):
            amount += self.unbonding.pop(0).amount
        return amount


@dataclass
class _Slash:
    node: str
    task: int
    round: int
    fault: Fault
    executable_unix_s: int
    amount: int
    status: SlashStatus = SlashStatus.PENDING


@dataclass
class _Contribution:
    amount: int = 0
    refunded: int = 0


@dataclass
class _Task:
    config: TaskConfig
    approved: set[str] = field(default_factory=set)
    pool: int = 0
    open_reward: int = 0
    contributed: int = 0
    refunded: int = 0
    contributions: dict[str, _Contribution] = field(default_factory=dict)
    is_paused: bool = False
    is_cancelled: bool = False
    is_over: bool = False
    requested: int = 0
    closed: int = 0
    has_open_round: bool = False
    phase: Phase = Phase.NONE
    parent: str = ZERO_DIGEST
    due_faults: list[Conduct] = field(default_factory=list)
    """Of the round that is being closed, in the order in which they are recorded."""
    ends_due: int = 0
    """Ends of the task that no event has told yet."""

    def refundable(self, funder: str) -> int:
        contribution = self.contributions.get(funder, _Contribution())
        if not self.is_over or contribution.amount == 0:
            return 0
        part = (self.pool + self.refunded) * contribution.amount // self.contributed
        return part - contribution.refunded


class _Player:
    """The books while events are played."""

    def __init__(self, facts: TaskFacts, logs: Mapping[RoundKey, RoundLog]) -> None:
        self.claims: list[Claim] = []
        self.claims_before: dict[int, int] = {}
        self.rounds: dict[int, ExpectedRound] = {}
        self._facts = facts
        self._logs = logs
        self._nodes: dict[str, _Node] = {}
        self._tasks: dict[int, _Task] = {}
        self._all_rounds: dict[RoundKey, ExpectedRound] = {}
        self._slashes: list[_Slash] = []
        self._owed: dict[str, int] = {}
        self._successor = _NOBODY
        self._due_top_ups: list[tuple[int, int]] = []
        """(task, amount) of executed slashes that have not reached their pool yet."""

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
                self._claim("the number of a created task", len(self._tasks) + 1, event.task)
                self._claim("the spec of a created task", event.config.spec_digest, event.spec_digest)
                self._tasks.setdefault(event.task, _Task(event.config, parent=event.config.genesis_digest))
            case Claimed(node, amount):
                self._claim("the amount of a claim", self._owed.get(node, 0), amount, node=node)
                self._owed[node] = self._owed.get(node, 0) - amount
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
            self._successor = event.successor
            return
        if isinstance(event, NodeAdmitted):
            node = self._nodes.setdefault(event.node, _Node())
            self._claim("whether a node is admitted twice", False, node.is_admitted, node=event.node)
            node.signer, node.group, node.is_admitted = event.signer, event.group, True
            return
        node = self._node(event.node)
        if not isinstance(event, SignerRotated):
            self._claim("whether the node is admitted", True, node.is_admitted, node=event.node)
        match event:
            case NodeLeft():
                node.is_admitted = False
            case NodeReturned():
                node.absences = 0
            case SignerRotated():
                node.signer = event.signer
            case StakeDeposited():
                node.stake += event.amount
                self._claim("the stake after a deposit", node.stake, event.stake, node=event.node)

    def _play_leaving(self, event: ExitRequested | Withdrawn | Migrated, now: int | None) -> None:
        node = self._node(event.node)
        if isinstance(event, ExitRequested):
            unbonding_s = self._facts.terms.unbonding_s
            self._claim_at("when an exit matures", now, unbonding_s, event.matures_unix_s, node=event.node)
            node.stake -= event.amount
            self._claim("the stake after an exit", node.stake, event.stake, node=event.node)
            node.unbonding.append(UnbondingView(event.matures_unix_s, event.amount))
            return
        self._claim("the open rounds of a node that withdraws", 0, node.open_rounds, node=event.node)
        pending = self._pending_slashes(event.node)
        self._claim("the pending slashes of a node that withdraws", 0, pending, node=event.node)
        if isinstance(event, Migrated):
            self._claim("the successor of a migration", self._successor, event.successor, node=event.node)
        self._claim(
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
        slash = self._slashes[event.slash] if event.slash < len(self._slashes) else None
        self._claim("the slash that is settled", True, slash is not None, node=event.node)
        if slash is None:
            return
        self._claim("the node of a slash", slash.node, event.node)
        self._claim("the status of a slash before", SlashStatus.PENDING, slash.status, node=slash.node)
        is_late = now is not None and now >= slash.executable_unix_s
        is_executed = isinstance(event, SlashExecuted)
        fact = "whether the appeal window was over"
        self._claim(fact, is_executed, is_late, node=slash.node, is_known=now is not None)
        if isinstance(event, SlashExecuted):
            self._claim("the amount of a slash", slash.amount, event.amount, node=slash.node)
            self._claim("the task of a slash", slash.task, event.task, node=slash.node)
            slash.status = SlashStatus.EXECUTED
            self._due_top_ups.append((slash.task, slash.amount))
        else:
            slash.status = SlashStatus.WAIVED
            node = self._node(slash.node)
            node.stake += slash.amount
            self._claim("the stake after a waiver", node.stake, event.stake, node=slash.node)

    def _play_fault(self, event: FaultRecorded, now: int | None) -> None:
        task = self._task(event.task)
        due = task.due_faults.pop(0) if task.due_faults else None
        where = (event.task, event.round)
        self._claim("the node at fault", due.node if due else None, event.node, where=where)
        expected = due or Conduct(event.node, Attendance.NOT_ASKED, Fault.NONE, 0)
        self._claim("the fault", expected.fault.name, event.fault.name, where=where, node=event.node)
        self._claim("the number of a slash", len(self._slashes), event.slash, where=where, node=event.node)
        node = self._node(event.node)
        taken = node.take(expected.slash)
        self._claim("the amount set aside", taken, event.amount, where=where, node=event.node)
        self._claim("the stake after a fault", node.stake, event.stake, where=where, node=event.node)
        appeal_s = self._facts.terms.appeal_s
        fact = "when a slash can be executed"
        self._claim_at(fact, now, appeal_s, event.executable_unix_s, where=where, node=event.node)
        self._slashes.append(
            _Slash(event.node, event.task, event.round, expected.fault, event.executable_unix_s, taken)
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
                self._claim("whether an approving node is known", True, event.node in self._nodes)
                task.approved.add(event.node)
            case Revoked():
                fact = "whether a revoking node approved"
                self._claim(fact, True, event.node in task.approved, node=event.node)
                task.approved.discard(event.node)
            case TaskFunded() | TaskToppedUp() | Refunded():
                self._play_money(task, event)
            case TaskPauseChanged():
                self._claim("whether the task was paused before", not event.is_paused, task.is_paused)
                task.is_paused = event.is_paused
            case TaskCancelled():
                self._claim("whether the task was cancelled before", False, task.is_cancelled)
                task.is_cancelled = True
                if not task.has_open_round:
                    self._end(task)
            case TaskEnded():
                self._claim("whether the task ends", 1, task.ends_due)
                self._claim("the pool of a task that ends", task.pool, event.pool)
                task.ends_due -= 1
            case RoundRequested():
                self._play_request(task, event)
            case Drawn():
                self._play_draw(event)
            case PhaseChanged():
                self._play_phase(task, event, now)
            case RoundClosed():
                self._play_close(task, event)
            case Rewarded():
                self._play_rewards(task, event)
            case Proposed() | Committed() | Revealed() | Tallied() | Attested():
                fact = f"the phase of a round when it was {type(event).__name__.lower()}"
                in_phase = _PHASE_OF[type(event)].name
                self._claim(fact, in_phase, task.phase.name, where=(event.task, event.round))
                number = f"the number of a round that was {type(event).__name__.lower()}"
                self._claim(number, task.requested, event.round, where=(event.task, event.round))

    def _play_money(self, task: _Task, event: TaskFunded | TaskToppedUp | Refunded) -> None:
        if isinstance(event, Refunded):
            self._claim(
                "the amount of a refund", task.refundable(event.funder), event.amount, node=event.funder
            )
            task.contributions.setdefault(event.funder, _Contribution()).refunded += event.amount
            task.refunded += event.amount
            task.pool -= event.amount
            return
        task.pool += event.amount
        if isinstance(event, TaskFunded):
            self._claim("whether a task that is funded is over", False, task.is_over)
            task.contributed += event.amount
            task.contributions.setdefault(event.funder, _Contribution()).amount += event.amount
        elif event.giver == self._facts.deployment.registry:
            due = self._due_top_ups.pop(0) if self._due_top_ups else None
            self._claim("the slash that tops a pool up", due, (event.task, event.amount))
        self._claim("the pool after a payment into it", task.pool, event.pool)

    def _play_request(self, task: _Task, event: RoundRequested) -> None:
        where = (event.task, event.round)
        rules = task.config.rules
        if event.task == self._facts.task:
            self.claims_before.setdefault(event.round, len(self.claims))
        self._claim("the number of a requested round", task.requested + 1, event.round, where=where)
        self._claim("whether another round is open", False, task.has_open_round, where=where)
        self._claim("whether the task is paused", False, task.is_paused, where=where)
        self._claim("whether the task is cancelled", False, task.is_cancelled, where=where)
        self._claim("whether the task is over", False, task.is_over, where=where)
        eligible = settlement.ascending([node for node in task.approved if self._eligible_stake(node) > 0])
        stakes = tuple(settlement.frozen_stake(self._eligible_stake(node), rules) for node in eligible)
        left = max(rules.rounds - task.requested, 1)
        reward = task.pool // left
        self._claim("the parent of a request", task.parent, event.parent_digest, where=where)
        self._claim("the eligible nodes of a request", eligible, event.eligible, where=where)
        self._claim("the frozen stakes of a request", stakes, event.stakes, where=where)
        self._claim("the reward of a request", reward, event.reward, where=where)
        self._set_round(where, ExpectedRound(eligible, stakes, reward, {}, is_paused=False))
        task.requested += 1
        task.has_open_round = True
        task.phase = Phase.REQUESTED
        task.pool -= reward
        task.open_reward = reward

    def _play_draw(self, event: Drawn) -> None:
        where = (event.task, event.round)
        drawn = list(dict.fromkeys((*event.proposers, *event.voters)))
        for node in drawn:
            self._node(node).open_rounds += 1
        groups = {node: self._node(node).group for node in drawn}
        expected = self._all_rounds.get(where)
        if expected is not None:
            self._set_round(
                where,
                ExpectedRound(expected.eligible, expected.stakes, expected.reward, groups, is_paused=False),
            )
        for nodes, logged, role in (
            (event.proposers, event.proposer_groups, "proposers"),
            (event.voters, event.voter_groups, "voters"),
        ):
            self._claim(
                f"the groups of the {role}", tuple(groups[node] for node in nodes), logged, where=where
            )

    def _play_phase(self, task: _Task, event: PhaseChanged, now: int | None) -> None:
        where = (event.task, event.round)
        self._claim(
            f"whether {event.phase.name} follows {task.phase.name}",
            True,
            event.phase > task.phase,
            where=where,
        )
        self._claim("the number of a round that changes phase", task.requested, event.round, where=where)
        config = task.config
        lengths_s = {
            Phase.TRAINING: config.training_s,
            Phase.COMMITTING: config.committing_s,
            Phase.REVEALING: config.revealing_s,
            Phase.ATTESTING: config.attesting_s,
        }
        fact = f"the deadline of {event.phase.name}"
        if event.phase.closed:
            self._claim(fact, 0, event.deadline_unix_s, where=where)
        else:
            length_s = lengths_s.get(event.phase, 0)
            self._claim_at(fact, now, length_s, event.deadline_unix_s, where=where)
        task.phase = event.phase

    def _play_close(self, task: _Task, event: RoundClosed) -> None:
        where = (event.task, event.round)
        self._claim("the phase of a round that is closed", event.phase.name, task.phase.name, where=where)
        expected = self._all_rounds.get(where)
        log = self._logs.get(where)
        if expected is not None and log is not None:
            if task.is_paused:
                expected = ExpectedRound(
                    expected.eligible, expected.stakes, expected.reward, expected.groups, is_paused=True
                )
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

    def _play_rewards(self, task: _Task, event: Rewarded) -> None:
        where = (event.task, event.round)
        forgotten = tuple(conduct.node for conduct in task.due_faults)
        self._claim("nodes at fault that no event names", (), forgotten, where=where)
        task.due_faults.clear()
        self._claim("the number of a rewarded round", task.requested, event.round, where=where)
        self._claim("whether the rewarded round was open", True, task.has_open_round, where=where)
        paid = sum(event.amounts)
        self._claim("the rest of a reward", task.open_reward - paid, event.returned, where=where)
        for node, amount in zip(event.nodes, event.amounts, strict=False):
            self._owed[node] = self._owed.get(node, 0) + amount
        task.pool += task.open_reward - paid
        task.open_reward = 0
        task.has_open_round = False
        if task.closed == task.config.rounds or task.is_cancelled:
            self._end(task)

    def _end(self, task: _Task) -> None:
        task.is_over = True
        task.ends_due += 1

    # --- the views at the end

    def close_books(self) -> None:
        """Compare what the events come to with what the views say."""
        facts = self._facts
        view, task = facts.view, self._task(facts.task)
        self._claim("the task's configuration", task.config, view.config)
        self._claim("the task's approved nodes", settlement.ascending(list(task.approved)), view.approved)
        self._claim("the number of requested rounds", task.requested, view.rounds_requested)
        self._claim("the number of closed rounds", task.closed, view.rounds_closed)
        money = PoolView(
            pool=task.pool,
            open_reward=task.open_reward,
            contributed=task.contributed,
            refunded=task.refunded,
            is_paused=task.is_paused,
            is_cancelled=task.is_cancelled,
            is_over=task.is_over,
        )
        for name in PoolView.__dataclass_fields__:
            fact = f"the task's {name.removeprefix('is_').replace('_', ' ')}"
            self._claim(fact, getattr(money, name), getattr(view.money, name))
        for other in self._tasks.values():
            self._claim("ends of a task that no event names", 0, other.ends_due)
        self._claim("executed slashes that reached no pool", (), tuple(self._due_top_ups))
        for funder in task.contributions:
            found = facts.refundable.get(funder)
            self._claim("what may be refunded", task.refundable(funder), found, node=funder)
        for address in settlement.ascending(list(self._nodes)):
            self._close_node(address)
        self._close_slashes()
        self._close_holdings()

    def _close_node(self, address: str) -> None:
        node, shown = self._nodes[address], self._facts.nodes.get(address)
        self._claim("whether a node is shown", True, shown is not None, node=address)
        if shown is None:
            return
        view = shown.view
        expected: tuple[tuple[str, object, object], ...] = (
            ("the account", address, view.node),
            ("the signing key", node.signer, view.signer),
            ("the group", node.group, view.group),
            ("whether the council admits the node", node.is_admitted, view.admitted),
            ("the stake", node.stake, view.stake),
            ("the stake that counts", self._eligible_stake(address), view.eligible_stake),
            ("what is leaving the stake", tuple(node.unbonding), shown.unbonding),
            ("the sum of what is leaving the stake", sum(u.amount for u in node.unbonding), view.unbonding),
            ("the open rounds", node.open_rounds, view.open_rounds),
            ("the pending slashes", self._pending_slashes(address), view.pending_slashes),
            ("the absences in a row", node.absences, view.absences),
            ("what may be claimed: rewards less claims", self._owed.get(address, 0), shown.claimable),
        )
        for fact, value, found in expected:
            self._claim(fact, value, found, node=address)

    def _close_slashes(self) -> None:
        self._claim("the number of slashes", len(self._slashes), self._facts.slash_count)
        for slash, shown in zip(self._slashes, self._facts.slashes, strict=False):
            expected = SlashView(
                node=slash.node,
                task=slash.task,
                round=slash.round,
                fault=slash.fault,
                status=slash.status,
                executable_unix_s=slash.executable_unix_s,
                amount=slash.amount,
            )
            self._claim("a slash", expected, shown, node=slash.node)

    def _close_holdings(self) -> None:
        pending = sum(slash.amount for slash in self._slashes if slash.status is SlashStatus.PENDING)
        stakes = sum(node.stake + sum(u.amount for u in node.unbonding) for node in self._nodes.values())
        pools = sum(task.pool + task.open_reward for task in self._tasks.values())
        owed = {"Registry": stakes + pending, "Tasks": pools + sum(self._owed.values())}
        for holdings in self._facts.holdings:
            contract = holdings.contract
            self._claim(f"what the {contract} contract owes", owed.get(contract), holdings.owed)
            covers = holdings.held >= holdings.owed
            self._claim(f"whether the {contract} contract's tokens cover what it owes", True, covers)

    # --- helpers

    def _claim(
        self,
        fact: str,
        expected: object,
        found: object,
        *,
        where: RoundKey | None = None,
        node: str | None = None,
        is_known: bool = True,
    ) -> None:
        round_number = None
        if where is not None and where[0] == self._facts.task:
            round_number = where[1]
        elif where is not None:
            fact += f" (task {where[0]}, round {where[1]})"
        self.claims.append(Claim(fact, expected, found, round_number, node, is_known))

    def _claim_at(
        self,
        fact: str,
        now: int | None,
        after_s: int,
        found: int,
        *,
        where: RoundKey | None = None,
        node: str | None = None,
    ) -> None:
        """A claim about a time that is ``after_s`` after the event's."""
        expected = None if now is None else now + after_s
        self._claim(fact, expected, found, where=where, node=node, is_known=now is not None)

    def _set_round(self, where: RoundKey, expected: ExpectedRound) -> None:
        self._all_rounds[where] = expected
        if where[0] == self._facts.task:
            self.rounds[where[1]] = expected

    def _node(self, address: str) -> _Node:
        if address not in self._nodes:
            self._claim("whether a node is known", True, False, node=address)
            self._nodes[address] = _Node()
        return self._nodes[address]

    def _task(self, number: int) -> _Task:
        if number not in self._tasks:
            self._claim("whether a task was created", True, False)
            self._tasks[number] = _Task(self._facts.view.config)
        return self._tasks[number]

    def _eligible_stake(self, address: str) -> int:
        node = self._nodes.get(address, _Node())
        counts = node.is_admitted and node.absences < self._facts.terms.most_absences
        return node.stake if counts else 0

    def _pending_slashes(self, address: str) -> int:
        return sum(s.node == address and s.status is SlashStatus.PENDING for s in self._slashes)


_PHASE_OF: Mapping[type, Phase] = {
    Proposed: Phase.TRAINING,
    Committed: Phase.COMMITTING,
    Revealed: Phase.REVEALING,
    Tallied: Phase.REVEALING,
    Attested: Phase.ATTESTING,
}


def conducts_of(log: RoundLog, expected: ExpectedRound, rules: settlement.Rules) -> tuple[Conduct, ...]:
    """How every drawn node behaved in a closed round, recomputed from the messages in its log."""
    if log.drawn is None:
        return ()
    entered = [change.phase for change in log.phases if not change.phase.closed]
    last_phase = Phase.REQUESTED if expected.is_paused or not entered else entered[-1]
    voters = expected.members(log.drawn.voters)
    scores = {revealed.node: revealed.scores_micronats for revealed in log.revealed}
    proposals = [
        ProposedAdapter(p.node, expected.groups.get(p.node, 0), p.adapter_digest) for p in log.proposed
    ]
    is_tallied = log.tallied is not None and all(len(s) == len(proposals) for s in scores.values())
    return settlement.conducts(
        last_phase=last_phase,
        proposers=expected.members(log.drawn.proposers),
        voters=voters,
        proposed=[proposed.node for proposed in log.proposed],
        committed=[committed.node for committed in log.committed],
        revealed=list(scores),
        tallies=settlement.tally(proposals, voters, scores, rules) if is_tallied else (),
        rules=rules,
    )
