"""Slashes: amounts set aside for faults, which the council may waive and anyone may execute afterwards."""

from http import HTTPStatus

from fastapi import APIRouter

from orchestrator.api.access import Caller, ServicesOfApp, TokenFirst
from orchestrator.api.paging import Listing, PagingOfRequest
from orchestrator.api.routers.paths import NodeInQuery, SlashInPath, TaskInQuery
from orchestrator.api.schemas import IntentAnswer, SlashAnswer, SlashList
from orchestrator.services.queries import intent_view

router = APIRouter(prefix="/v1/slashes", tags=["ledger"], route_class=TokenFirst)


@router.get("", operation_id="list_slashes")
def list_slashes(
    services: ServicesOfApp,
    _: Caller,
    paging: PagingOfRequest,
    task: TaskInQuery = None,
    node: NodeInQuery = None,
) -> SlashList:
    """All slashes, by number; of one task or one node, if wanted."""
    listing = Listing(f"slashes of {task or 'all'}, {node or 'all'}", (int,))
    page = services.listings.slashes(paging.after(listing), paging.limit, task=task, node=node)
    items = page.shown_as(SlashAnswer.model_validate).items
    return SlashList(items=items, next_cursor=listing.cursor(page.next_key))


@router.get("/{slash}", operation_id="get_slash")
def get_slash(slash: SlashInPath, services: ServicesOfApp, _: Caller) -> SlashAnswer:
    """One slash."""
    return SlashAnswer.model_validate(services.queries.slash(slash))


@router.post("/{slash}/waiver", operation_id="waive_slash", status_code=HTTPStatus.ACCEPTED)
def waive_slash(slash: SlashInPath, services: ServicesOfApp, _: Caller) -> IntentAnswer:
    """Give a pending slash back to the node's stake, within the appeal window."""
    return IntentAnswer.model_validate(intent_view(services.council.waive(slash)))


@router.post("/{slash}/execution", operation_id="execute_slash", status_code=HTTPStatus.ACCEPTED)
def execute_slash(slash: SlashInPath, services: ServicesOfApp, _: Caller) -> IntentAnswer:
    """Pay a slash to its task's pool, when the appeal window is over."""
    return IntentAnswer.model_validate(intent_view(services.council.execute(slash)))
