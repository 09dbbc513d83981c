"""Tasks: what is fine-tuned, on what terms, and which nodes approve."""

from http import HTTPStatus

from fastapi import APIRouter

from orchestrator.api.access import Admin, Reader, ServicesOfApp, TokenFirst
from orchestrator.api.routers.paths import TaskInPath
from orchestrator.api.schemas import (
    ApprovalRequest,
    EvaluationAnswer,
    EvaluationList,
    IntentAnswer,
    TaskAnswer,
    TaskList,
    TaskOrderAnswer,
    TaskOrderRequest,
)
from orchestrator.domain.chain import RelayApproval
from orchestrator.services.queries import intent_view

router = APIRouter(prefix="/v1/tasks", tags=["tasks"], route_class=TokenFirst)


@router.get("", operation_id="list_tasks")
def list_tasks(services: ServicesOfApp, _: Reader) -> TaskList:
    """All tasks: those on chain by number, then those ordered."""
    return TaskList(items=tuple(TaskAnswer.model_validate(task) for task in services.queries.tasks()))


@router.post("", operation_id="create_task", status_code=HTTPStatus.ACCEPTED)
def create_task(request: TaskOrderRequest, services: ServicesOfApp, _: Admin) -> TaskOrderAnswer:
    """Create and fund a task on chain; the worker sends the calls. The same request again changes nothing."""
    ordered = services.tasks.create(request.name, request.config.to_config(), request.pool)
    return TaskOrderAnswer.model_validate(ordered)


@router.get("/{task}", operation_id="get_task")
def get_task(task: TaskInPath, services: ServicesOfApp, _: Reader) -> TaskAnswer:
    """One task."""
    return TaskAnswer.model_validate(services.queries.task(task))


@router.get("/{task}/evaluations", operation_id="list_task_evaluations")
def list_task_evaluations(task: TaskInPath, services: ServicesOfApp, _: Reader) -> EvaluationList:
    """A task's evaluations, by round and name."""
    records = services.queries.evaluations(task)
    return EvaluationList(items=tuple(EvaluationAnswer.model_validate(record) for record in records))


@router.post("/{task}/approvals", operation_id="approve_task", status_code=HTTPStatus.ACCEPTED)
def approve_task(
    task: TaskInPath, request: ApprovalRequest, services: ServicesOfApp, _: Reader
) -> IntentAnswer:
    """Relay a node's approval. Its signature proves it, so that any token may hand it in."""
    intent = services.messages.approve(task, RelayApproval(request.message, request.signature))
    return IntentAnswer.model_validate(intent_view(intent))
