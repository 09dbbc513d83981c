"""What the council orders of tasks and slashes, and what anyone may finish; the worker sends the calls."""

from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.domain.chain import (
    Call,
    CancelTask,
    ExecuteSlash,
    PauseTask,
    Refund,
    UnpauseTask,
    WaiveSlash,
)
from orchestrator.domain.council import (
    check_cancel,
    check_execution,
    check_pause,
    check_refund,
    check_unpause,
    check_waiver,
)
from orchestrator.domain.errors import NotFound
from orchestrator.domain.outbox import Intent
from orchestrator.domain.ports import Clock, Records
from orchestrator.domain.state import SlashState, TaskState
from orchestrator.domain.versions import check_version, version_of_task
from orchestrator.services.messages import chain_time_unix_s
from orchestrator.services.outbox import enqueue
from orchestrator.services.queries import task_view

Expected = frozenset[str] | None


@dataclass(frozen=True)
class CouncilService:
    """Orders that the chain would take now; the same order again, while it is under way, changes nothing.

    ``expected`` holds the versions of the task that whoever orders may have seen, None for any; the orders
    raise PreconditionFailed when the task has another one.
    """

    records: Records
    clock: Clock

    def pause(self, task: int, expected: Expected = None) -> Intent:
        """Abort the open round, without faults, and open no other. Raises NotFound, TaskPaused, TaskOver."""
        return self._of_task(task, expected, check_pause, _pause_key, PauseTask(task))

    def unpause(self, task: int, expected: Expected = None) -> Intent:
        """Let rounds be requested again. Raises NotFound, TaskNotPaused, TaskOver."""
        return self._of_task(task, expected, check_unpause, _pause_key, UnpauseTask(task))

    def cancel(self, task: int, expected: Expected = None) -> Intent:
        """End the task, after its open round if there is one. Raises NotFound, TaskOver."""

        def key(state: TaskState) -> str:
            return f"cancel:{state.task}"

        return self._of_task(task, expected, check_cancel, key, CancelTask(task))

    def refund(self, task: int, funder: str, expected: Expected = None) -> Intent:
        """Pay a funder its part of what an ended task left. Raises NotFound, NothingToRefund."""

        def key(state: TaskState) -> str:
            # What was refunded before numbers the payments: slashes may reach the pool after the end.
            return f"refund:{state.task}:{funder}:{state.refunded}"

        return self._of_task(task, expected, check_refund, key, Refund(task, funder))

    def waive(self, slash: int) -> Intent:
        """Give a pending slash back to the stake. Raises NotFound, SlashSettled, AppealOver."""
        return self._of_slash(slash, check_waiver, f"waive:{slash}", WaiveSlash(slash))

    def execute(self, slash: int) -> Intent:
        """Pay a slash to its task's pool. Raises NotFound, SlashSettled, AppealOpen."""
        return self._of_slash(slash, check_execution, f"execute_slash:{slash}", ExecuteSlash(slash))

    def _of_task(
        self,
        task: int,
        expected: Expected,
        check: Callable[[TaskState], None],
        key: Callable[[TaskState], str],
        call: Call,
    ) -> Intent:
        with self.records.write() as unit:
            state = unit.projection.task(task)
            if state is None:
                raise NotFound(f"the chain has no task {task}")
            check_version(version_of_task(task_view(unit, state)), expected)
            check(state)
            return enqueue(unit, key(state), call, self.clock.now_unix_s())

    def _of_slash(self, slash: int, check: Callable[[SlashState, int], None], key: str, call: Call) -> Intent:
        with self.records.write() as unit:
            state = unit.projection.slash(slash)
            if state is None:
                raise NotFound(f"the chain has no slash {slash}")
            check(state, chain_time_unix_s(unit, self.clock))
            return enqueue(unit, key, call, self.clock.now_unix_s())


def _pause_key(task: TaskState) -> str:
    """One order for each turn between paused and not."""
    return f"pause:{task.task}:{task.pause_changes}"
