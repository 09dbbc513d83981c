"""Intents: what the hub means to put on chain, and what became of it."""

from typing import Annotated

from fastapi import APIRouter, Path

from orchestrator.api.access import Caller, ServicesOfApp, TokenFirst
from orchestrator.api.schemas import IntentAnswer

router = APIRouter(prefix="/v1/intents", tags=["intents"], route_class=TokenFirst)


@router.get("/{intent}", operation_id="get_intent")
def get_intent(
    intent: Annotated[int, Path(ge=1, lt=1 << 63)], services: ServicesOfApp, _: Caller
) -> IntentAnswer:
    """One intent."""
    return IntentAnswer.model_validate(services.queries.intent(intent))
