"""Tasks: what is fine-tuned, on what terms, which nodes approve, and whether it goes on."""

from http import HTTPStatus

from fastapi import APIRouter, Response

from orchestrator.api.access import Caller, ServicesOfApp, TokenFirst
from orchestrator.api.paging import Listing, PagingOfRequest
from orchestrator.api.preconditions import ExpectedVersions, entity_tag
from orchestrator.api.routers.paths import TaskInPath
from orchestrator.api.schemas import (
    ApprovalAnswer,
    ApprovalList,
    ApprovalRequest,
    EvaluationAnswer,
    EvaluationList,
    IntentAnswer,
    RefundRequest,
    RevocationRequest,
    TaskAnswer,
    TaskList,
    TaskOrderAnswer,
    TaskOrderRequest,
)
from orchestrator.domain import permissions
from orchestrator.domain.chain import RelayApproval, RelayRevocation
from orchestrator.domain.versions import version_of_task
from orchestrator.services.queries import intent_view

router = APIRouter(prefix="/v1/tasks", tags=["tasks"], route_class=TokenFirst)

_TASKS = Listing("tasks", (int, int, str))


@router.get("", operation_id="list_tasks")
def list_tasks(services: ServicesOfApp, _: Caller, paging: PagingOfRequest) -> TaskList:
    """All tasks: those on chain by number, then those ordered."""
    page = services.listings.tasks(paging.after(_TASKS), paging.limit).shown_as(TaskAnswer.model_validate)
    return TaskList(items=page.items, next_cursor=_TASKS.cursor(page.next_key))


@router.post("", operation_id="create_task", status_code=HTTPStatus.ACCEPTED)
def create_task(request: TaskOrderRequest, services: ServicesOfApp, _: Caller) -> TaskOrderAnswer:
    """Create and fund a task on chain; the worker sends the calls. The same request again changes nothing."""
    ordered = services.tasks.create(request.name, request.config.to_config(), request.pool)
    return TaskOrderAnswer.model_validate(ordered)


@router.get("/{task}", operation_id="get_task")
def get_task(task: TaskInPath, services: ServicesOfApp, _: Caller, response: Response) -> TaskAnswer:
    """One task. Its ``ETag`` is what ``If-Match`` of an edit takes."""
    view = services.queries.task(task)
    response.headers["ETag"] = entity_tag(version_of_task(view))
    return TaskAnswer.model_validate(view)


@router.get("/{task}/evaluations", operation_id="list_task_evaluations")
def list_task_evaluations(
    task: TaskInPath, services: ServicesOfApp, _: Caller, paging: PagingOfRequest
) -> EvaluationList:
    """A task's evaluations, by round and name."""
    listing = Listing(f"evaluations of {task}", (int, str))
    page = services.listings.evaluations(task, paging.after(listing), paging.limit)
    items = page.shown_as(EvaluationAnswer.model_validate).items
    return EvaluationList(items=items, next_cursor=listing.cursor(page.next_key))


@router.get("/{task}/approvals", operation_id="list_approvals")
def list_approvals(
    task: TaskInPath, services: ServicesOfApp, _: Caller, paging: PagingOfRequest
) -> ApprovalList:
    """The approvals of a task that stand on chain, by node."""
    listing = Listing(f"approvals of {task}", (str,))
    page = services.queries.approvals(task, paging.after(listing), paging.limit)
    items = page.shown_as(ApprovalAnswer.model_validate).items
    return ApprovalList(items=items, next_cursor=listing.cursor(page.next_key))


@router.post("/{task}/approvals", operation_id="approve_task", status_code=HTTPStatus.ACCEPTED)
def approve_task(
    task: TaskInPath, request: ApprovalRequest, services: ServicesOfApp, caller: Caller
) -> IntentAnswer:
    """Relay a node's approval; what it signs is proof enough, whoever hands it in."""
    permissions.require_node(caller, request.message.node)
    intent = services.messages.relay_of_task(task, RelayApproval(request.message, request.signature))
    return IntentAnswer.model_validate(intent_view(intent))


@router.post("/{task}/revocations", operation_id="revoke_task", status_code=HTTPStatus.ACCEPTED)
def revoke_task(
    task: TaskInPath, request: RevocationRequest, services: ServicesOfApp, caller: Caller
) -> IntentAnswer:
    """Relay a node's revocation of its approval, from the next round on."""
    permissions.require_node(caller, request.message.node)
    intent = services.messages.relay_of_task(task, RelayRevocation(request.message, request.signature))
    return IntentAnswer.model_validate(intent_view(intent))


@router.post("/{task}/pause", operation_id="pause_task", status_code=HTTPStatus.ACCEPTED)
def pause_task(
    task: TaskInPath, services: ServicesOfApp, _: Caller, expected: ExpectedVersions
) -> IntentAnswer:
    """Abort the open round, without faults, and open no other until the pause is lifted."""
    return IntentAnswer.model_validate(intent_view(services.council.pause(task, expected)))


@router.delete("/{task}/pause", operation_id="unpause_task", status_code=HTTPStatus.ACCEPTED)
def unpause_task(
    task: TaskInPath, services: ServicesOfApp, _: Caller, expected: ExpectedVersions
) -> IntentAnswer:
    """Let rounds be requested again."""
    return IntentAnswer.model_validate(intent_view(services.council.unpause(task, expected)))


@router.post("/{task}/cancellation", operation_id="cancel_task", status_code=HTTPStatus.ACCEPTED)
def cancel_task(
    task: TaskInPath, services: ServicesOfApp, _: Caller, expected: ExpectedVersions
) -> IntentAnswer:
    """End the task, after its open round if there is one; what is left of the pool can then be refunded."""
    return IntentAnswer.model_validate(intent_view(services.council.cancel(task, expected)))


@router.post("/{task}/refunds", operation_id="refund_task", status_code=HTTPStatus.ACCEPTED)
def refund_task(
    task: TaskInPath, request: RefundRequest, services: ServicesOfApp, _: Caller, expected: ExpectedVersions
) -> IntentAnswer:
    """Pay a funder its part of what an ended task left in its pool."""
    return IntentAnswer.model_validate(intent_view(services.council.refund(task, request.funder, expected)))
