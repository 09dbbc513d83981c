"""People: the admins with a password, and who is signed in; sessions of single sign-on are ended here too.

Passwords are set on the hub's own machine alone (``collegium users set-password``): a stolen admin's token
cannot leave a way in behind that outlasts it.
"""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Path

from orchestrator.api.access import Caller, ServicesOfApp, TokenFirst
from orchestrator.api.paging import Listing, PagingOfRequest
from orchestrator.api.schemas import SessionAnswer, SessionList, UserAnswer, UserList

router = APIRouter(prefix="/v1", tags=["people"], route_class=TokenFirst)

_USERS = Listing("users", (str,))
_SESSIONS = Listing("sessions", (int,))

NameInPath = Annotated[
    str,
    Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9.\-]{0,79}$", description="the name that the person signs in with"),
]
SessionInPath = Annotated[int, Path(ge=1, lt=1 << 63, description="the session's number, as listed")]


@router.get("/users", operation_id="list_users")
def list_users(services: ServicesOfApp, _: Caller, paging: PagingOfRequest) -> UserList:
    """The admins with a password, by name; people of single sign-on are not kept."""
    page = services.people.list(paging.after(_USERS), paging.limit).shown_as(UserAnswer.model_validate)
    return UserList(items=page.items, next_cursor=_USERS.cursor(page.next_key))


@router.delete("/users/{name}", operation_id="remove_user", status_code=HTTPStatus.NO_CONTENT)
def remove_user(name: NameInPath, services: ServicesOfApp, _: Caller) -> None:
    """Forget an admin with a password; the sessions end at once."""
    services.people.remove(name)


@router.get("/sessions", operation_id="list_sessions")
def list_sessions(services: ServicesOfApp, _: Caller, paging: PagingOfRequest) -> SessionList:
    """The browsers that are signed in, by number; a session that a token opened names it."""
    page = services.sessions.list(paging.after(_SESSIONS), paging.limit)
    items = page.shown_as(SessionAnswer.model_validate).items
    return SessionList(items=items, next_cursor=_SESSIONS.cursor(page.next_key))


@router.delete("/sessions/{session}", operation_id="end_session", status_code=HTTPStatus.NO_CONTENT)
def end_session(session: SessionInPath, services: ServicesOfApp, _: Caller) -> None:
    """Sign a browser out at once."""
    services.sessions.end(session)
