"""Looks at every task that is not finished and records what should happen next."""

from dataclasses import dataclass

from orchestrator.domain.chain import ChainReader
from orchestrator.domain.ports import Clock, FlowerRunRecord, Records, Unit
from orchestrator.domain.reconciler import (
    Action,
    RunRecord,
    Send,
    Situation,
    StartRun,
    may_ask_again,
    next_actions,
)
from orchestrator.domain.state import TaskState
from orchestrator.services.correlation import new_correlation_id
from orchestrator.services.tasks import fund_key, order_of


@dataclass(frozen=True)
class Decided:
    """What one look at the tasks led to: conductors to submit now, and whether calls were queued."""

    runs: tuple[FlowerRunRecord, ...] = ()
    has_queued: bool = False


@dataclass(frozen=True)
class Reconciler:
    """Turns the projection into intents, and into conductors to start."""

    records: Records
    reader: ChainReader
    clock: Clock
    conducts: bool
    """Whether this hub starts conductors."""

    def run_once(self) -> Decided:
        """Record what is due.

        Raises:
            ChainError: the chain does not answer.
        """
        with self.records.read() as unit:
            tasks = [task for task in unit.projection.tasks() if not task.is_over]
        due = {task.task: self.reader.is_due(task.task) for task in tasks if task.has_open_round}
        now_unix_s = self.clock.now_unix_s()
        with self.records.read() as unit:
            wanted = _wanted(unit, due, now_unix_s, self.conducts)
        if not wanted:
            return Decided()
        with self.records.write() as unit:
            # Decided again under the write lock: the API may have written in between.
            wanted = _wanted(unit, due, now_unix_s, self.conducts)
            runs = [_perform(unit, action, now_unix_s) for action in wanted]
        return Decided(
            runs=tuple(run for run in runs if run is not None),
            has_queued=any(isinstance(action, Send) for action in wanted),
        )


def _wanted(unit: Unit, due: dict[int, bool], now_unix_s: int, conducts: bool) -> list[Action]:
    wanted: list[Action] = []
    for task in unit.projection.tasks():
        if task.is_over:
            continue
        situation = _situation(unit, task, due.get(task.task, False))
        for action in next_actions(situation, now_unix_s):
            if isinstance(action, StartRun):
                if conducts:
                    wanted.append(action)
            elif _is_to_be_sent(unit, action, now_unix_s):
                wanted.append(action)
    return wanted


def _situation(unit: Unit, task: TaskState, is_due: bool) -> Situation:
    order = order_of(unit, task)
    open_round = unit.projection.round_head(task.task, task.rounds_requested) if task.has_open_round else None
    funding = unit.outbox.by_key(fund_key(task.config.spec_digest))
    return Situation(
        task=task,
        open_round=open_round,
        eligible_nodes=_count_eligible(unit, task) if open_round is None else 0,
        is_due=is_due,
        pool_ordered=0 if order is None else order.pool,
        fund_key=fund_key(task.config.spec_digest),
        is_funded=funding is not None and funding.is_on_chain,
        run=None if open_round is None else _run_record(unit, task.task, open_round.round),
    )


def _count_eligible(unit: Unit, task: TaskState) -> int:
    registry = unit.projection.registry()
    assert registry is not None, "what is on chain was indexed, and the registry with it"
    approved = unit.projection.nodes_of(task.approved)
    return sum(1 for node in approved.values() if node.eligible_stake(registry.terms) > 0)


def _run_record(unit: Unit, task: int, round_number: int) -> RunRecord | None:
    runs = unit.flower_runs.of_round(task, round_number)
    if not runs:
        return None
    ended = runs[-1].status not in ("submitting", "running")
    return RunRecord(ended=ended, submissions=len(runs), changed_unix_s=runs[-1].changed_unix_s)


def _is_to_be_sent(unit: Unit, action: Send, now_unix_s: int) -> bool:
    known = unit.outbox.by_key(action.key)
    return known is None or may_ask_again(known, now_unix_s)


def _perform(unit: Unit, action: Action, now_unix_s: int) -> FlowerRunRecord | None:
    if isinstance(action, StartRun):
        return unit.flower_runs.add(action.task, action.round, now_unix_s)
    known = unit.outbox.by_key(action.key)
    # No request caused it: the decision is the beginning of what can be followed.
    identifier = new_correlation_id()
    if known is None:
        unit.outbox.add(action.key, action.call, action.round, now_unix_s, identifier)
    elif known.may_be_asked_again:
        unit.outbox.requeue(known, action.call, now_unix_s, identifier)
    return None
