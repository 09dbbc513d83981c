"""Intents: what the hub means to put on chain, and what became of it."""

from typing import Annotated

from fastapi import APIRouter, Path, Query

from orchestrator.api.access import Caller, ServicesOfApp, TokenFirst
from orchestrator.api.paging import Listing, PagingOfRequest
from orchestrator.api.routers.paths import TaskInQuery
from orchestrator.api.schemas import IntentAnswer, IntentList
from orchestrator.domain.outbox import IntentStatus

router = APIRouter(prefix="/v1/intents", tags=["ledger"], route_class=TokenFirst)

StatusInQuery = Annotated[IntentStatus | None, Query(description="only intents in this status")]


@router.get("", operation_id="list_intents")
def list_intents(
    services: ServicesOfApp,
    _: Caller,
    paging: PagingOfRequest,
    status: StatusInQuery = None,
    task: TaskInQuery = None,
) -> IntentList:
    """The hub's transactions, newest first; in one status or of one task, if wanted."""
    listing = Listing(f"intents of {task or 'all'}, {status or 'all'}", (int,))
    page = services.listings.intents(paging.after(listing), paging.limit, status=status, task=task)
    items = page.shown_as(IntentAnswer.model_validate).items
    return IntentList(items=items, next_cursor=listing.cursor(page.next_key))


@router.get("/{intent}", operation_id="get_intent")
def get_intent(
    intent: Annotated[int, Path(ge=1, lt=1 << 63, description="the intent's number")],
    services: ServicesOfApp,
    _: Caller,
) -> IntentAnswer:
    """One intent."""
    return IntentAnswer.model_validate(services.queries.intent(intent))
