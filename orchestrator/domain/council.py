"""Whether what the council or anyone orders of a task or a slash would be taken by the chain now."""

from orchestrator.domain.errors import (
    AppealOpen,
    AppealOver,
    NothingToRefund,
    SlashSettled,
    TaskNotPaused,
    TaskOver,
    TaskPaused,
)
from orchestrator.domain.state import SlashState, SlashStatus, TaskState


def check_pause(task: TaskState) -> None:
    """Refuse to pause what is paused or over. Raises TaskPaused, TaskOver."""
    _require_running(task)
    if task.is_paused:
        raise TaskPaused(f"task {task.task} is paused already")


def check_unpause(task: TaskState) -> None:
    """Refuse to let go on what was not stopped. Raises TaskNotPaused, TaskOver."""
    _require_running(task)
    if not task.is_paused:
        raise TaskNotPaused(f"task {task.task} is not paused")


def check_cancel(task: TaskState) -> None:
    """Refuse to cancel a second time, or what is over. Raises TaskOver."""
    _require_running(task)
    if task.is_cancelled:
        raise TaskOver(f"task {task.task} is cancelled already; it ends with its open round")


def funding_refusal(task: TaskState) -> str | None:
    """Why the chain takes no more money for the task's pool: no round could pay it. None while it does."""
    if task.is_over:
        return f"task {task.task} is over"
    if task.is_cancelled:
        return f"task {task.task} is cancelled, so no round would pay the money"
    if task.rounds_requested == task.config.rounds:
        return f"the last round of task {task.task} has been requested, so no round would pay the money"
    return None


def check_refund(task: TaskState) -> None:
    """Refuse a refund of nothing; each funder's own part, only the chain knows. Raises NothingToRefund."""
    if not task.is_over:
        raise NothingToRefund(f"task {task.task} may still open rounds, so its pool stays with it")
    if task.pool == 0:
        raise NothingToRefund(f"nothing is left in the pool of task {task.task}")


def check_waiver(slash: SlashState, now_unix_s: int) -> None:
    """Refuse to waive what is settled or past its appeal. Raises SlashSettled, AppealOver."""
    _require_pending(slash)
    if now_unix_s >= slash.executable_unix_s:
        raise AppealOver(f"slash {slash.slash} could be waived until {slash.executable_unix_s}")


def check_execution(slash: SlashState, now_unix_s: int) -> None:
    """Refuse to execute what is settled or may still be waived. Raises SlashSettled, AppealOpen."""
    _require_pending(slash)
    if now_unix_s < slash.executable_unix_s:
        raise AppealOpen(f"slash {slash.slash} may be waived until {slash.executable_unix_s}")


def _require_running(task: TaskState) -> None:
    if task.is_over:
        raise TaskOver(f"task {task.task} is over")


def _require_pending(slash: SlashState) -> None:
    if slash.status is not SlashStatus.PENDING:
        raise SlashSettled(f"slash {slash.slash} was {slash.status} before")
