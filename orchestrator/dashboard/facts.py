"""Everything that a task's page is made from, read in one unit so that the panels agree with one another."""

from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.domain.chain import Block
from orchestrator.domain.outbox import Intent
from orchestrator.domain.ports import EvaluationRecord, FlowerRunRecord, StreamEvent
from orchestrator.domain.state import NodeState, RoundState, TaskState


@dataclass(frozen=True)
class TaskFacts:
    """A task as the records hold it; mappings by round number, ``names`` by node address.

    ``refused`` are the task's transactions that the chain said no to; ``runs`` the newest Flower run of the open
    round; ``events`` the task's and the consortium's newest, newest first.
    """

    task: TaskState
    name: str
    rounds: tuple[RoundState, ...]
    nodes: tuple[NodeState, ...]
    names: Mapping[str, str]
    evaluations: tuple[EvaluationRecord, ...]
    gas: Mapping[int, Mapping[str, int]]
    refused: tuple[Intent, ...]
    run: FlowerRunRecord | None
    events: tuple[StreamEvent, ...]
    last_event_id: int
    head: Block | None
    now_unix_s: int

    @property
    def open_round(self) -> RoundState | None:
        """The round that is not closed, if there is one."""
        return next((each for each in self.rounds if not each.phase.closed), None)
