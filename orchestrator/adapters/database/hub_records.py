"""The hub's own records in tables: orders, names, evaluations, conductors' runs, the stream."""

from typing import cast

from sqlalchemy import func, select, tuple_
from sqlalchemy.orm import Session

from orchestrator.adapters.database.models import (
    EvaluationRow,
    FlowerRunRow,
    NodeNameRow,
    StreamRow,
    TaskOrderRow,
    TaskRow,
)
from orchestrator.adapters.database.text_order import by_bytes
from orchestrator.domain.ports import (
    EvaluationRecord,
    FlowerRunRecord,
    FlowerRunStatus,
    StreamEvent,
    TaskOrder,
)
from orchestrator.domain.projection import Announcement

_ERROR_LENGTH = 500


class SqlTaskOrderRepository:
    """``TaskOrderRepository`` over one session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def by_spec(self, spec_digest: str) -> TaskOrder | None:
        """The order of that spec."""
        row = self._session.get(TaskOrderRow, spec_digest)
        return None if row is None else _order(row)

    def all(self) -> list[TaskOrder]:
        """All orders, oldest first."""
        query = select(TaskOrderRow).order_by(TaskOrderRow.created_unix_s, TaskOrderRow.spec_digest)
        return [_order(row) for row in self._session.scalars(query)]

    def not_on_chain_after(self, created_unix_s: int, spec_digest: str, limit: int) -> list[TaskOrder]:
        """The orders after (time, spec) whose task is not on chain, oldest first."""
        key = tuple_(TaskOrderRow.created_unix_s, TaskOrderRow.spec_digest)
        on_chain = select(TaskRow.task).where(TaskRow.spec_digest == TaskOrderRow.spec_digest)
        query = (
            select(TaskOrderRow)
            .where(key > (created_unix_s, spec_digest), ~on_chain.exists())
            .order_by(TaskOrderRow.created_unix_s, TaskOrderRow.spec_digest)
            .limit(limit)
        )
        return [_order(row) for row in self._session.scalars(query)]

    def add(self, order: TaskOrder) -> None:
        """Record an order."""
        self._session.add(
            TaskOrderRow(
                spec_digest=order.spec_digest,
                name=order.name,
                call_key=order.call_key,
                pool=order.pool,
                created_unix_s=order.created_unix_s,
            )
        )
        self._session.flush()


class SqlNodeNameRepository:
    """``NodeNameRepository`` over one session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def names(self) -> dict[str, str]:
        """Name by node address."""
        return {row.node: row.name for row in self._session.scalars(select(NodeNameRow))}

    def set_name(self, node: str, name: str) -> None:
        """Name a node."""
        self._session.merge(NodeNameRow(node=node, name=name))


class SqlEvaluationRepository:
    """``EvaluationRepository`` over one session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def of_task(self, task: int) -> list[EvaluationRecord]:
        """A task's evaluations, by round and name."""
        found = [
            _evaluation(row)
            for row in self._session.scalars(select(EvaluationRow).where(EvaluationRow.task == task))
        ]
        # Sorted here: databases order text by different rules.
        return sorted(found, key=lambda record: (record.round, record.name))

    def of_task_after(self, task: int, key: tuple[int, str], limit: int) -> list[EvaluationRecord]:
        """A task's evaluations after (round, name), by round and name."""
        name = by_bytes(self._session, EvaluationRow.name)
        query = (
            select(EvaluationRow)
            .where(EvaluationRow.task == task, tuple_(EvaluationRow.round, name) > key)
            .order_by(EvaluationRow.round, name)
            .limit(limit)
        )
        return [_evaluation(row) for row in self._session.scalars(query)]

    def of_round_after(self, task: int, round_number: int, name: str, limit: int) -> list[EvaluationRecord]:
        """A round's evaluations after a name, by name."""
        names = by_bytes(self._session, EvaluationRow.name)
        query = (
            select(EvaluationRow)
            .where(EvaluationRow.task == task, EvaluationRow.round == round_number, names > name)
            .order_by(names)
            .limit(limit)
        )
        return [_evaluation(row) for row in self._session.scalars(query)]

    def names_digest(self, digest: str) -> bool:
        """Whether an evaluation is of that adapter."""
        query = select(EvaluationRow.task).where(EvaluationRow.digest == digest).limit(1)
        return self._session.scalar(query) is not None

    def save(self, record: EvaluationRecord) -> None:
        """Insert or replace the evaluation of (task, round, name)."""
        self._session.merge(
            EvaluationRow(
                task=record.task,
                round=record.round,
                name=record.name,
                digest=record.digest,
                records=record.records,
                correct=record.correct,
                accuracy=record.accuracy,
                interval_low=record.interval_low,
                interval_high=record.interval_high,
                loss_nats=record.loss_nats,
            )
        )
        self._session.flush()


class SqlFlowerRunRepository:
    """``FlowerRunRepository`` over one session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def of_round(self, task: int, round_number: int) -> list[FlowerRunRecord]:
        """A round's submissions, oldest first."""
        query = (
            select(FlowerRunRow)
            .where(FlowerRunRow.task == task, FlowerRunRow.round == round_number)
            .order_by(FlowerRunRow.id)
        )
        return [_flower_run(row) for row in self._session.scalars(query)]

    def unfinished(self) -> list[FlowerRunRecord]:
        """Submissions that are submitting or running, oldest first."""
        query = (
            select(FlowerRunRow)
            .where(FlowerRunRow.status.in_(("submitting", "running")))
            .order_by(FlowerRunRow.id)
        )
        return [_flower_run(row) for row in self._session.scalars(query)]

    def add(self, task: int, round_number: int, now_unix_s: int) -> FlowerRunRecord:
        """Record that a submission begins."""
        row = FlowerRunRow(task=task, round=round_number, status="submitting", changed_unix_s=now_unix_s)
        self._session.add(row)
        self._session.flush()
        return _flower_run(row)

    def save(self, record: FlowerRunRecord) -> None:
        """Store a submission's new state."""
        row = self._session.get_one(FlowerRunRow, record.id)
        row.run_id = record.run_id
        row.status = record.status
        row.changed_unix_s = record.changed_unix_s
        row.error = None if record.error is None else record.error[:_ERROR_LENGTH]


class SqlStreamRepository:
    """``StreamRepository`` over one session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def append(self, announcement: Announcement, now_unix_s: int) -> None:
        """Add one line."""
        self._session.add(
            StreamRow(
                created_unix_s=now_unix_s,
                kind=announcement.kind,
                task=announcement.task,
                round=announcement.round,
                node=announcement.node,
                facts=dict(announcement.facts),
            )
        )
        # Flushed at once, so that lines are numbered in the order they were added.
        self._session.flush()

    def after(self, event_id: int, limit: int) -> list[StreamEvent]:
        """The lines after a number, oldest first."""
        query = select(StreamRow).where(StreamRow.id > event_id).order_by(StreamRow.id).limit(limit)
        return [_stream_event(row) for row in self._session.scalars(query)]

    def newest(self, limit: int) -> list[StreamEvent]:
        """The newest lines, newest first."""
        query = select(StreamRow).order_by(StreamRow.id.desc()).limit(limit)
        return [_stream_event(row) for row in self._session.scalars(query)]

    def last_id(self) -> int:
        """The newest line's number; 0 without any."""
        return self._session.scalar(select(func.max(StreamRow.id))) or 0


def _order(row: TaskOrderRow) -> TaskOrder:
    return TaskOrder(row.spec_digest, row.name, row.call_key, row.pool, row.created_unix_s)


def _evaluation(row: EvaluationRow) -> EvaluationRecord:
    return EvaluationRecord(
        task=row.task,
        round=row.round,
        name=row.name,
        digest=row.digest,
        records=row.records,
        correct=row.correct,
        accuracy=row.accuracy,
        interval_low=row.interval_low,
        interval_high=row.interval_high,
        loss_nats=row.loss_nats,
    )


def _flower_run(row: FlowerRunRow) -> FlowerRunRecord:
    return FlowerRunRecord(
        id=row.id,
        task=row.task,
        round=row.round,
        run_id=row.run_id,
        status=cast(FlowerRunStatus, row.status),
        changed_unix_s=row.changed_unix_s,
        error=row.error,
    )


def _stream_event(row: StreamRow) -> StreamEvent:
    announcement = Announcement(row.kind, row.task, row.round, row.node, row.facts)
    return StreamEvent(row.id, row.created_unix_s, announcement)
