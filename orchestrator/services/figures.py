"""Figures of operation for metrics: cheap enough to be asked for every few seconds."""

from collections import Counter
from dataclasses import dataclass, field

from orchestrator.domain.artifacts import ArtifactStore
from orchestrator.domain.figures import HubFigures, StoreUsage
from orchestrator.domain.ports import Clock, Records
from orchestrator.services.queries import QueryService

_USAGE_AGE_S = 60


@dataclass
class FigureService:
    """What a scrape asks for."""

    records: Records
    artifacts: ArtifactStore
    queries: QueryService
    clock: Clock
    _usage: StoreUsage | None = field(default=None, init=False)
    _usage_unix_s: int = field(default=0, init=False)

    def hub(self) -> HubFigures:
        """One look at the records. Raises RecordsUnavailable."""
        tasks: Counter[str] = Counter(task.status for task in self.queries.tasks())
        with self.records.read() as unit:
            last = unit.projection.last_block()
            return HubFigures(
                rounds_by_phase=unit.projection.count_rounds(),
                tasks_by_status=tasks,
                outbox=tuple(unit.outbox.backlog()),
                gas_by_kind=unit.outbox.gas_by_kind(),
                webhook_deliveries=unit.webhooks.count(),
                endpoints=unit.witnesses.all(),
                indexed_block=None if last is None else last.number,
                indexed_block_unix_s=None if last is None else last.timestamp_unix_s,
                now_unix_s=self.clock.now_unix_s(),
            )

    def store(self) -> StoreUsage:
        """What the store holds, at most a minute old: counting visits every file. Raises Unavailable."""
        now_unix_s = self.clock.now_unix_s()
        if self._usage is None or not 0 <= now_unix_s - self._usage_unix_s < _USAGE_AGE_S:
            self._usage, self._usage_unix_s = self.artifacts.usage(), now_unix_s
        return self._usage
