"""Who may call what: a credential and a role are looked at before anything else of a request."""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import Depends, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from orchestrator.api.idempotency import answered_once
from orchestrator.api.media_types import JsonRequest, JsonRoute
from orchestrator.api.preconditions import conditional
from orchestrator.domain import permissions
from orchestrator.domain.errors import Unauthenticated
from orchestrator.domain.identity import Principal
from orchestrator.services.audit import identify
from orchestrator.services.bundle import Services

_bearer = HTTPBearer(auto_error=False, description="A token from `collegium tokens`.")


def services_of(request: Request) -> Services:
    """The app's services."""
    found: Services = request.app.state.services
    return found


async def _services(request: Request) -> Services:
    # Asynchronous, so that no thread is asked for it.
    return services_of(request)


ServicesOfApp = Annotated[Services, Depends(_services)]


def address_of(request: Request) -> str:
    """Where a request comes from; behind a proxy, what a trusted proxy says."""
    return "unknown" if request.client is None else request.client.host


def _attempt(request: Request, all_services: ServicesOfApp) -> None:
    all_services.throttle.attempt(address_of(request))


ATTEMPT = Depends(_attempt)
"""A dependency of operations that show a proof in place of a token: an address may try so often."""


class TokenFirst(JsonRoute):
    """A route that looks at the token and its role, by ``permissions``, before the body is parsed.

    A POST that carries an ``Idempotency-Key`` is done once; reads carry an ``ETag``.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's handler, behind the token."""
        handle = super().get_route_handler()
        operation = self.operation_id or self.name
        permissions.roles_for(operation)

        async def handle_behind_token(plain_request: Request) -> Response:
            request = JsonRequest.of(plain_request)
            all_services, address = services_of(request), address_of(request)
            all_services.throttle.look_at(address)
            try:
                credentials = await _bearer(request)
                principal = await run_in_threadpool(_authenticate, all_services, credentials)
            except Unauthenticated:
                all_services.throttle.wrong_credential(address)
                raise
            identify(principal.name, principal.role)
            all_services.throttle.request(principal)
            request.state.principal = principal
            permissions.require(principal, operation)
            once = all_services.idempotency
            answer = await answered_once(request, once, principal.key, operation, handle)
            return conditional(request, answer)

        return handle_behind_token


def _authenticate(all_services: Services, credentials: HTTPAuthorizationCredentials | None) -> Principal:
    if credentials is None:
        raise Unauthenticated("a bearer token is needed: Authorization: Bearer …")
    principal = all_services.tokens.authenticate(credentials.credentials)
    if principal is None:
        raise Unauthenticated("the token is not known, has expired or was revoked")
    return principal


async def _caller(
    request: Request, _: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> Principal:
    """Who asks; only routes that are ``TokenFirst`` know. The bearer is there for the API's description."""
    found: Principal = request.state.principal
    return found


Caller = Annotated[Principal, Depends(_caller)]
"""Whoever asks; that the role allows the operation was checked before."""
