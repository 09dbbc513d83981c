"""Webhooks: who is told of what happens, and what became of telling them."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Path

from orchestrator.api.access import Caller, ServicesOfApp, TokenFirst
from orchestrator.api.idempotency import holds_a_secret
from orchestrator.api.paging import Listing, PagingOfRequest
from orchestrator.api.schemas import (
    DeliveryAnswer,
    DeliveryList,
    WebhookAnswer,
    WebhookList,
    WebhookMade,
    WebhookRequest,
)

router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"], route_class=TokenFirst)

WebhookInPath = Annotated[int, Path(ge=1, lt=1 << 63, description="the webhook's number")]
DeliveryInPath = Annotated[int, Path(ge=1, lt=1 << 63, description="the delivery's number")]

_WEBHOOKS = Listing("webhooks", (int,))


@router.post(
    "",
    operation_id="create_webhook",
    status_code=HTTPStatus.CREATED,
    dependencies=[Depends(holds_a_secret)],
)
def create_webhook(request: WebhookRequest, services: ServicesOfApp, _: Caller) -> WebhookMade:
    """Tell a receiver of what happens from now on; the answer is the only one that has the secret."""
    made, secret = services.webhooks.subscribe(request.url, request.kinds)
    return WebhookMade(**WebhookAnswer.model_validate(made).model_dump(), secret=secret)


@router.get("", operation_id="list_webhooks")
def list_webhooks(services: ServicesOfApp, _: Caller, paging: PagingOfRequest) -> WebhookList:
    """All webhooks, by number."""
    page = services.webhooks.list(paging.after(_WEBHOOKS), paging.limit)
    items = page.shown_as(WebhookAnswer.model_validate).items
    return WebhookList(items=items, next_cursor=_WEBHOOKS.cursor(page.next_key))


@router.delete("/{webhook}", operation_id="delete_webhook", status_code=HTTPStatus.NO_CONTENT)
def delete_webhook(webhook: WebhookInPath, services: ServicesOfApp, _: Caller) -> None:
    """Tell the receiver nothing more; its secret is worthless then."""
    services.webhooks.remove(webhook)


@router.get("/{webhook}/deliveries", operation_id="list_deliveries")
def list_deliveries(
    webhook: WebhookInPath, services: ServicesOfApp, _: Caller, paging: PagingOfRequest
) -> DeliveryList:
    """A webhook's deliveries, newest first."""
    listing = Listing(f"deliveries of {webhook}", (int,))
    page = services.webhooks.deliveries(webhook, paging.after(listing), paging.limit)
    items = page.shown_as(DeliveryAnswer.model_validate).items
    return DeliveryList(items=items, next_cursor=listing.cursor(page.next_key))


@router.post(
    "/{webhook}/deliveries/{delivery}/replay",
    operation_id="replay_delivery",
    status_code=HTTPStatus.ACCEPTED,
)
def replay_delivery(
    webhook: WebhookInPath, delivery: DeliveryInPath, services: ServicesOfApp, _: Caller
) -> DeliveryAnswer:
    """Deliver once more, under the same message id."""
    return DeliveryAnswer.model_validate(services.webhooks.replay(webhook, delivery))
