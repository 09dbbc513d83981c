"""API tokens: made, listed, replaced and revoked. A secret is shown once, in the answer that makes it."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Path

from orchestrator.api.access import Caller, ServicesOfApp, TokenFirst
from orchestrator.api.idempotency import holds_a_secret
from orchestrator.api.paging import Listing, PagingOfRequest
from orchestrator.api.token_schemas import TokenAnswer, TokenList, TokenOrder, TokenSecretAnswer

router = APIRouter(prefix="/v1/tokens", tags=["tokens"], route_class=TokenFirst)

_TOKENS = Listing("tokens", (int,))
_SECRET = [Depends(holds_a_secret)]

TokenInPath = Annotated[int, Path(ge=1, lt=1 << 63, description="the token's number, as listed")]


@router.get("", operation_id="list_tokens")
def list_tokens(services: ServicesOfApp, caller: Caller, paging: PagingOfRequest) -> TokenList:
    """All tokens that have not been revoked, oldest first; an operator sees those of its own node."""
    page = services.tokens.list(caller, paging.after(_TOKENS), paging.limit).shown_as(TokenAnswer.of)
    return TokenList(items=page.items, next_cursor=_TOKENS.cursor(page.next_key))


@router.post("", operation_id="create_token", status_code=HTTPStatus.CREATED, dependencies=_SECRET)
def create_token(order: TokenOrder, services: ServicesOfApp, caller: Caller) -> TokenSecretAnswer:
    """Make a token. It cannot have more rights than the one that asks for it."""
    return TokenSecretAnswer.of_issued(services.tokens.create(caller, order.to_request()))


@router.get("/current", operation_id="get_current_token")
def get_current_token(services: ServicesOfApp, caller: Caller) -> TokenAnswer:
    """The token that this request shows."""
    return TokenAnswer.of(services.tokens.current(caller))


@router.delete("/current", operation_id="revoke_current_token", status_code=HTTPStatus.NO_CONTENT)
def revoke_current_token(services: ServicesOfApp, caller: Caller) -> None:
    """Make the token that this request shows, and the browser sessions that it opened, worthless at once."""
    services.tokens.revoke(caller, services.tokens.current(caller).id)


@router.post(
    "/{token}/rotation",
    operation_id="rotate_token",
    status_code=HTTPStatus.CREATED,
    dependencies=_SECRET,
)
def rotate_token(token: TokenInPath, services: ServicesOfApp, caller: Caller) -> TokenSecretAnswer:
    """Give a token a new secret, for as long again; the old secret is worthless at once."""
    return TokenSecretAnswer.of_issued(services.tokens.rotate(caller, token))


@router.delete("/{token}", operation_id="revoke_token", status_code=HTTPStatus.NO_CONTENT)
def revoke_token(token: TokenInPath, services: ServicesOfApp, caller: Caller) -> None:
    """Make a token, and the browser sessions that it opened, worthless at once."""
    services.tokens.revoke(caller, token)
