"""Everything that a task's page is made from, read in one unit so that its panels agree with one another."""

from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.domain.chain import Block
from orchestrator.domain.errors import NotFound
from orchestrator.domain.outbox import Intent, subject_of
from orchestrator.domain.ports import Clock, EvaluationRecord, FlowerRunRecord, Records, StreamEvent, Unit
from orchestrator.domain.state import NodeState, RegistryState, RoundState, SlashState, TaskState
from orchestrator.services.queries import final_block

SHOWN_EVENTS = 40
_READ_EVENTS = 400
_READ_REFUSED = 50


@dataclass(frozen=True)
class TaskFacts:
    """A task as the records hold it; mappings by round number, ``names`` by node address.

    ``refused`` are the task's transactions that the chain said no to; ``run`` is the newest Flower run of the
    open round; ``events`` are the task's and the consortium's newest, newest first.
    """

    task: TaskState
    name: str
    rounds: tuple[RoundState, ...]
    registry: RegistryState
    nodes: tuple[NodeState, ...]
    slashes: tuple[SlashState, ...]
    names: Mapping[str, str]
    evaluations: tuple[EvaluationRecord, ...]
    gas: Mapping[int, Mapping[str, int]]
    refused: tuple[Intent, ...]
    run: FlowerRunRecord | None
    events: tuple[StreamEvent, ...]
    last_event_id: int
    head: Block | None
    final_block: int
    """The height up to which blocks will not be replaced; -1 while none is known."""
    now_unix_s: int

    @property
    def open_round(self) -> RoundState | None:
        """The round that is not closed, if there is one."""
        return next((each for each in self.rounds if not each.phase.closed), None)


@dataclass(frozen=True)
class TaskFactsService:
    """Reads a task's facts."""

    records: Records
    clock: Clock

    def read(self, task: int) -> TaskFacts:
        """A task's facts. Raises NotFound."""
        with self.records.read() as unit:
            return _facts(unit, task, self.clock.now_unix_s())


def _facts(unit: Unit, task: int, now_unix_s: int) -> TaskFacts:
    state, registry = unit.projection.task(task), unit.projection.registry()
    if state is None or registry is None:
        raise NotFound(f"the chain has no task {task}")
    rounds = unit.projection.rounds(task)
    order = unit.orders.by_spec(state.config.spec_digest)
    newest = unit.stream.newest(_READ_EVENTS)
    open_round = next((each for each in rounds if not each.phase.closed), None)
    runs = unit.flower_runs.of_round(task, open_round.round) if open_round else []
    return TaskFacts(
        task=state,
        name=order.name if order else f"Task {task}",
        rounds=tuple(rounds),
        registry=registry,
        nodes=tuple(unit.projection.nodes()),
        slashes=tuple(unit.projection.slashes_of_task(task)),
        names=unit.names.names(),
        evaluations=tuple(unit.evaluations.of_task(task)),
        gas={each.round: unit.outbox.gas_of_round(task, each.round) for each in rounds},
        refused=tuple(
            intent
            for intent in unit.outbox.refused(_READ_REFUSED)
            if subject_of(intent.call).task in (None, task)
        ),
        run=runs[-1] if runs else None,
        events=tuple(event for event in newest if event.announcement.task in (None, task))[:SHOWN_EVENTS],
        last_event_id=unit.stream.last_id(),
        head=unit.projection.last_block(),
        final_block=final_block(unit),
        now_unix_s=now_unix_s,
    )
