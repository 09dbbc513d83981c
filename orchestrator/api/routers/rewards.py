"""Rewards: what nodes earned in rounds, as the chain credited it."""

from fastapi import APIRouter

from orchestrator.api.access import Caller, ServicesOfApp, TokenFirst
from orchestrator.api.paging import Listing, PagingOfRequest
from orchestrator.api.routers.paths import NodeInQuery, TaskInQuery
from orchestrator.api.schemas import RewardLineAnswer, RewardList

router = APIRouter(prefix="/v1/rewards", tags=["ledger"], route_class=TokenFirst)


@router.get("", operation_id="list_rewards")
def list_rewards(
    services: ServicesOfApp,
    _: Caller,
    paging: PagingOfRequest,
    task: TaskInQuery = None,
    node: NodeInQuery = None,
) -> RewardList:
    """All rewards, by task, round and node; of one task or one node, if wanted."""
    listing = Listing(f"rewards of {task or 'all'}, {node or 'all'}", (int, int, str))
    page = services.listings.rewards(paging.after(listing), paging.limit, task=task, node=node)
    items = page.shown_as(RewardLineAnswer.model_validate).items
    return RewardList(items=items, next_cursor=listing.cursor(page.next_key))
