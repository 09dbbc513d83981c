"""Slashes: amounts set aside for faults, which the council may waive and anyone may execute afterwards."""

from http import HTTPStatus

from fastapi import APIRouter

from orchestrator.api.access import Caller, ServicesOfApp, TokenFirst
from orchestrator.api.routers.paths import SlashInPath
from orchestrator.api.schemas import IntentAnswer, SlashAnswer, SlashList
from orchestrator.services.queries import intent_view

router = APIRouter(prefix="/v1/slashes", tags=["slashes"], route_class=TokenFirst)


@router.get("", operation_id="list_slashes")
def list_slashes(services: ServicesOfApp, _: Caller) -> SlashList:
    """All slashes, by number."""
    return SlashList(items=tuple(SlashAnswer.model_validate(each) for each in services.queries.slashes()))


@router.post("/{slash}/waiver", operation_id="waive_slash", status_code=HTTPStatus.ACCEPTED)
def waive_slash(slash: SlashInPath, services: ServicesOfApp, _: Caller) -> IntentAnswer:
    """Give a pending slash back to the node's stake, within the appeal window."""
    return IntentAnswer.model_validate(intent_view(services.council.waive(slash)))


@router.post("/{slash}/execution", operation_id="execute_slash", status_code=HTTPStatus.ACCEPTED)
def execute_slash(slash: SlashInPath, services: ServicesOfApp, _: Caller) -> IntentAnswer:
    """Pay a slash to its task's pool, when the appeal window is over."""
    return IntentAnswer.model_validate(intent_view(services.council.execute(slash)))
