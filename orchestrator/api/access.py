"""Who may call what: bearer tokens with roles."""

from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

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


def _principal(
    all_services: ServicesOfApp,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> Principal:
    if credentials is None:
        raise Unauthenticated("a bearer token is needed: Authorization: Bearer …")
    principal = all_services.tokens.authenticate(credentials.credentials)
    if principal is None:
        raise Unauthenticated("the token is not known or has expired")
    return principal


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
