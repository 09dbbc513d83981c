"""Models: the adapters that final rounds ended with, their lineage, and a card for each."""

from typing import Annotated

from fastapi import APIRouter, Path
from fastapi.responses import PlainTextResponse

from contracts.digests import Digest
from orchestrator.api.access import Caller, ServicesOfApp, TokenFirst
from orchestrator.api.paging import Listing, PagingOfRequest
from orchestrator.api.schemas import ModelAnswer, ModelCardAnswer, ModelList
from orchestrator.services.model_cards import as_markdown

_MARKDOWN = "text/markdown"
_MODELS = Listing("models", (int, int))
router = APIRouter(prefix="/v1/models", tags=["models"], route_class=TokenFirst)

ModelInPath = Annotated[Digest, Path(alias="digest", description="the adapter's digest")]


@router.get("", operation_id="list_models")
def list_models(services: ServicesOfApp, _: Caller, paging: PagingOfRequest) -> ModelList:
    """The models of all final rounds, by task and round; their bytes are artifacts."""
    page = services.models.models(paging.after(_MODELS), paging.limit).shown_as(ModelAnswer.model_validate)
    return ModelList(items=page.items, next_cursor=_MODELS.cursor(page.next_key))


@router.get("/{digest}", operation_id="get_model", responses={422: {}})
def get_model(digest: ModelInPath, services: ServicesOfApp, _: Caller) -> ModelCardAnswer:
    """One model, with all that is known of it: base model, lineage, contributions, reports, evaluations."""
    return ModelCardAnswer.model_validate(services.models.card(digest))


@router.get(
    "/{digest}/card",
    operation_id="get_model_card",
    response_class=PlainTextResponse,
    responses={200: {"content": {_MARKDOWN: {"schema": {"type": "string"}, "example": "# Model 0x9f86…"}}}},
)
def get_model_card(digest: ModelInPath, services: ServicesOfApp, _: Caller) -> PlainTextResponse:
    """The same as a document for people (Markdown)."""
    return PlainTextResponse(as_markdown(services.models.card(digest)), media_type=_MARKDOWN)
