"""Lists of what the hub knows, page by page."""

from dataclasses import dataclass
from typing import cast

from orchestrator.domain.outbox import IntentStatus
from orchestrator.domain.pages import NEWEST, Key, Page
from orchestrator.domain.ports import Clock, EvaluationRecord, Records, RewardLine
from orchestrator.domain.views import IntentView, NodeView, RoundView, SlashView, TaskView
from orchestrator.services.queries import (
    final_block,
    intent_view,
    node_view,
    order_view,
    round_of_unit,
    slash_view,
    task_of_unit,
    task_view,
)

_ON_CHAIN, _ORDERED = 0, 1


@dataclass(frozen=True)
class ListingService:
    """Each page begins after a key (None: at the list's beginning) and holds at most ``limit`` items."""

    records: Records
    clock: Clock

    def nodes(self, after: Key | None, limit: int) -> Page[NodeView]:
        """Nodes ever admitted, by address."""
        with self.records.read() as unit:
            registry, names = unit.projection.registry(), unit.names.names()
            if registry is None:
                return Page((), None)
            found = unit.projection.nodes_after(None if after is None else str(after[0]), limit + 1)
            page = Page.of(found, limit, lambda state: (state.node,))
            return page.shown_as(lambda state: node_view(unit, state, names.get(state.node), registry))

    def intents(
        self, after: Key | None, limit: int, *, status: IntentStatus | None = None, task: int | None = None
    ) -> Page[IntentView]:
        """Intents, newest first; in a status or of a task where one is named."""
        before = NEWEST if after is None else int(after[0])
        with self.records.read() as unit:
            found = unit.outbox.newest_before(before, limit + 1, status=status, task=task)
        return Page.of(found, limit, lambda intent: (intent.id,)).shown_as(intent_view)

    def rewards(
        self, after: Key | None, limit: int, *, task: int | None = None, node: str | None = None
    ) -> Page[RewardLine]:
        """Rewards, by task, round and node; of a task or a node where one is named."""
        key = cast(tuple[int, int, str], after or (0, 0, ""))
        with self.records.read() as unit:
            found = unit.projection.rewards_after(key, limit + 1, task=task, node=node)
        return Page.of(found, limit, lambda line: (line.task, line.round, line.node.lower()))

    def slashes(
        self, after: Key | None, limit: int, *, task: int | None = None, node: str | None = None
    ) -> Page[SlashView]:
        """Slashes, by number; of a task or a node where one is named."""
        number = -1 if after is None else int(after[0])
        with self.records.read() as unit:
            found = unit.projection.slashes_after(number, limit + 1, task=task, node=node)
            page, final = Page.of(found, limit, lambda state: (state.slash,)), final_block(unit)
            return page.shown_as(lambda state: slash_view(state, final))

    def tasks(self, after: Key | None, limit: int) -> Page[TaskView]:
        """Tasks: those on chain by number, then those ordered and not on chain, oldest first."""
        part, number, spec_digest = after or (_ON_CHAIN, 0, "")
        found: list[tuple[Key, TaskView]] = []
        with self.records.read() as unit:
            if part == _ON_CHAIN:
                tasks = unit.projection.tasks_after(int(number), limit + 1)
                found = [((_ON_CHAIN, task.task, ""), task_view(unit, task)) for task in tasks]
                number = 0
            orders = unit.orders.not_on_chain_after(int(number), str(spec_digest), limit + 1 - len(found))
            for order in orders:
                view = order_view(unit, order)
                if view is not None:
                    found.append(((_ORDERED, order.created_unix_s, order.spec_digest), view))
        return Page.of(found, limit, lambda item: item[0]).shown_as(lambda item: item[1])

    def rounds(self, task: int, after: Key | None, limit: int) -> Page[RoundView]:
        """A task's rounds, by number. Raises NotFound when there is no such task."""
        with self.records.read() as unit:
            task_of_unit(unit, task)
            found = unit.projection.rounds_after(task, 0 if after is None else int(after[0]), limit + 1)
            page = Page.of(found, limit, lambda state: (state.round,))
            return page.shown_as(lambda state: round_of_unit(unit, state, self.clock))

    def evaluations(self, task: int, after: Key | None, limit: int) -> Page[EvaluationRecord]:
        """A task's evaluations, by round and name."""
        key = cast(tuple[int, str], after or (-1, ""))
        with self.records.read() as unit:
            found = unit.evaluations.of_task_after(task, key, limit + 1)
        return Page.of(found, limit, lambda record: (record.round, record.name))

    def evaluations_of_round(
        self, task: int, round_number: int, after: Key | None, limit: int
    ) -> Page[EvaluationRecord]:
        """A round's evaluations, by name."""
        name = "" if after is None else str(after[0])
        with self.records.read() as unit:
            found = unit.evaluations.of_round_after(task, round_number, name, limit + 1)
        return Page.of(found, limit, lambda record: (record.name,))
