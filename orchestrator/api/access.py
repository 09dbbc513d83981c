"""Who may call what: bearer tokens with roles."""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import Depends, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.routing import APIRoute
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from orchestrator.api.idempotency import answered_once
from orchestrator.api.preconditions import conditional
from orchestrator.domain.errors import NotAllowed, Unauthenticated
from orchestrator.domain.ports import Role
from orchestrator.services.bundle import Services
from orchestrator.services.tokens import Principal

_bearer = HTTPBearer(auto_error=False, description="A token from `collegium tokens bootstrap`.")


def services(request: Request) -> Services:
    """The app's services."""
    found: Services = request.app.state.services
    return found


ServicesOfApp = Annotated[Services, Depends(services)]


class TokenFirst(APIRoute):
    """A route that looks at the token before the body: a stranger's body is not parsed.

    A POST that carries an ``Idempotency-Key`` is done once; reads carry an ``ETag``.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's handler, behind the token."""
        handle, operation = super().get_route_handler(), self.unique_id

        async def handle_behind_token(request: Request) -> Response:
            credentials = await _bearer(request)
            principal = await run_in_threadpool(_authenticate, services(request), credentials)
            request.state.principal = principal
            owner = f"{principal.role}:{principal.name}"
            once = services(request).idempotency
            return conditional(request, await answered_once(request, once, owner, operation, handle))

        return handle_behind_token


def _authenticate(all_services: Services, credentials: HTTPAuthorizationCredentials | None) -> Principal:
    if credentials is None:
        raise Unauthenticated("a bearer token is needed: Authorization: Bearer …")
    principal = all_services.tokens.authenticate(credentials.credentials)
    if principal is None:
        raise Unauthenticated("the token is not known or has expired")
    return principal


async def _principal(
    request: Request, _: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> Principal:
    """Who asks; only routes that are ``TokenFirst`` know. The bearer is there for the API's description."""
    found: Principal = request.state.principal
    return found


def _allow(*roles: Role) -> Callable[[Principal], Principal]:
    def check(principal: Annotated[Principal, Depends(_principal)]) -> Principal:
        if not principal.may(*roles):
            needed = " or ".join(("admin", *roles))
            raise NotAllowed(f"this needs the role {needed}; the token's role is {principal.role}")
        return principal

    return check


Admin = Annotated[Principal, Depends(_allow())]
Conductor = Annotated[Principal, Depends(_allow("conductor"))]
Reader = Annotated[Principal, Depends(_allow("conductor", "reader"))]
"""Whoever holds any valid token."""
