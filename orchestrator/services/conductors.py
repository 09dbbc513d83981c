"""Starts the conductor of a round as a Flower run and follows it.

Flower's command takes seconds, so both happen on a thread of their own and never hold up the chain's work. A
worker that is killed while it submits cannot know whether the run began: the round gets another conductor
then, which is harmless, because nodes answer from their records.
"""

import logging
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from orchestrator.domain.ports import (
    Clock,
    FlowerError,
    FlowerRunNotFound,
    FlowerRunRecord,
    FlowerRuns,
    Records,
)
from orchestrator.domain.projection import Announcement

LOST_AFTER_S = 30
"""A submission that nobody has finished for so long is lost: Flower's command takes seconds. Before that, it
may be another worker's."""

logger = logging.getLogger(__name__)


@dataclass
class Conductors:
    """The hub's Flower runs; ``follow_every_s`` apart, because asking costs seconds of CPU."""

    records: Records
    flower: FlowerRuns
    clock: Clock
    follow_every_s: int
    _thread: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(max_workers=1, thread_name_prefix="flower")
    )
    _busy: dict[int, Future[None]] = field(default_factory=dict)
    _asked_unix_s: dict[int, int] = field(default_factory=dict)

    def start(self, run: FlowerRunRecord) -> None:
        """Submit a recorded run, soon."""
        self._busy[run.id] = self._thread.submit(self._submit, run)

    def follow(self) -> bool:
        """Ask after runs whose turn it is; whether a submission or an answer came in since the last call."""
        done = [number for number, future in self._busy.items() if future.done()]
        answers = [self._busy.pop(number) for number in done]
        with self.records.read() as unit:
            unfinished = unit.flower_runs.unfinished()
        now_unix_s = self.clock.now_unix_s()
        for run in unfinished:
            if run.id in self._busy:
                continue
            if run.run_id is None:
                # Not this worker's. When the one that was at it is dead, or could not record what came of
                # it, nobody ever finishes it.
                if now_unix_s >= run.changed_unix_s + LOST_AFTER_S:
                    self._save(replace(run, status="lost", error="the worker stopped while it submitted"))
            elif now_unix_s >= self._asked_unix_s.get(run.id, run.changed_unix_s) + self.follow_every_s:
                self._asked_unix_s[run.id] = now_unix_s
                self._busy[run.id] = self._thread.submit(self._ask, run)
        for answer in answers:
            answer.result()
        return bool(done)

    def close(self) -> None:
        """Wait for what is under way and start nothing more."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _submit(self, run: FlowerRunRecord) -> None:
        try:
            run_id = self.flower.submit(run.task, run.round)
        except FlowerError as error:
            logger.warning("the conductor of round %d of task %d: %s", run.round, run.task, error)
            self._save(replace(run, status="failed", error=str(error)))
            return
        self._save(replace(run, status="running", run_id=run_id))

    def _ask(self, run: FlowerRunRecord) -> None:
        assert run.run_id is not None, "only submitted runs are followed"
        try:
            status = self.flower.status(run.run_id)
        except FlowerRunNotFound as error:
            # It never comes back; the round gets another conductor.
            self._save(replace(run, status="lost", error=str(error)))
            return
        except FlowerError as error:
            logger.warning("Flower run %s: %s", run.run_id, error)
            return
        if status != "pending" and status != "running":
            self._save(replace(run, status=status))

    def _save(self, run: FlowerRunRecord) -> None:
        now_unix_s = self.clock.now_unix_s()
        facts = {"run": run.run_id, "status": run.status, "error": run.error}
        with self.records.write() as unit:
            unit.flower_runs.save(replace(run, changed_unix_s=now_unix_s))
            announcement = Announcement("conductor." + run.status, run.task, run.round, facts=facts)
            unit.stream.append(announcement, now_unix_s)
        logger.info("the conductor of round %d of task %d is %s", run.round, run.task, run.status)
