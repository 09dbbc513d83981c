"""Evaluations of adapters on test sets, as the admin measured them; round 0 is the base model."""

from dataclasses import dataclass

from orchestrator.domain.errors import NotFound
from orchestrator.domain.ports import Clock, EvaluationRecord, Records
from orchestrator.domain.projection import Announcement


@dataclass(frozen=True)
class EvaluationService:
    """Records evaluations."""

    records: Records
    clock: Clock

    def record(self, record: EvaluationRecord) -> EvaluationRecord:
        """Keep an evaluation, in place of an earlier one of the same name.

        Raises:
            NotFound: the chain has no such task or round.
        """
        with self.records.write() as unit:
            if unit.projection.task(record.task) is None:
                raise NotFound(f"the chain has no task {record.task}")
            if record.round != 0 and unit.projection.round(record.task, record.round) is None:
                raise NotFound(f"task {record.task} has no round {record.round}")
            unit.evaluations.save(record)
            facts: dict[str, str | int | bool | None] = {
                "name": record.name,
                "correct": record.correct,
                "records": record.records,
            }
            announcement = Announcement("evaluation.recorded", record.task, record.round, facts=facts)
            unit.stream.append(announcement, self.clock.now_unix_s())
        return record
