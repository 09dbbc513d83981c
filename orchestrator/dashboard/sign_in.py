"""Signing in and out: a token or a single-use link in exchange for a session cookie."""

from typing import Annotated
from urllib.parse import parse_qs

from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import BaseModel, ConfigDict
from starlette.concurrency import run_in_threadpool

from orchestrator.dashboard import pages
from orchestrator.dashboard.html_route import HtmlRoute, address_of
from orchestrator.dashboard.setting import DashboardSetting, setting_of
from orchestrator.domain import permissions
from orchestrator.domain.errors import NotAllowed, TooLarge, Unauthenticated
from orchestrator.domain.identity import Principal
from orchestrator.services.audit import identify
from orchestrator.services.sessions import SESSION_S, TICKET_S

COOKIE = "collegium_session"
_MOST_FORM_BYTES = 4096

router = APIRouter(route_class=HtmlRoute, include_in_schema=False)
tickets_router = APIRouter(prefix="/dashboard", tags=["dashboard"])
Setting = Annotated[DashboardSetting, Depends(setting_of)]


def current_session(request: Request, setting: Setting) -> Principal:
    """The session of whoever asks. Raises Unauthenticated."""
    session = setting.sessions.holder_of(request.cookies.get(COOKIE))
    if session is None:
        raise Unauthenticated("sign in first")
    identify(session.name, session.role)
    return session


Session = Annotated[Principal, Depends(current_session)]


class Ticket(BaseModel):
    """A sign-in link: it works once, and until it expires."""

    model_config = ConfigDict(frozen=True)

    url: str
    lasts_s: int


@tickets_router.post("/tickets", status_code=201, operation_id="createDashboardTicket")
def create_ticket(
    request: Request,
    setting: Setting,
    authorization: Annotated[str, Header(description="a bearer token")] = "",
) -> Ticket:
    """Make a single-use link that signs a browser in to the dashboard."""
    setting.throttle.attempt(address_of(request))
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Unauthenticated("the request carries no bearer token")
    ticket = setting.sessions.issue_ticket(_holder(setting, token.strip(), "createDashboardTicket"))
    return Ticket(url=f"/login?ticket={ticket}", lasts_s=TICKET_S)


@router.get("/login")
def show_sign_in(
    request: Request, setting: Setting, ticket: Annotated[str, Query(max_length=200)] = ""
) -> Response:
    """The sign-in page, or, with a ticket, a session."""
    if not ticket:
        return sign_in_page(setting, None)
    if "prefetch" in request.headers.get("sec-purpose", ""):
        # A browser that looks ahead must not use the link up.
        return Response(status_code=503)
    setting.throttle.attempt(address_of(request))
    try:
        secret = setting.sessions.redeem_ticket(ticket)
    except Unauthenticated as error:
        return sign_in_page(setting, sentence(error))
    # A page, not a redirect: a redirect that began on another site would come without the strict cookie.
    page = pages.render("signed_in.html", signed_in_as=None, session_hours=SESSION_S // 3600)
    return with_cookie(HTMLResponse(page), request, setting, secret)


@router.post("/login")
async def sign_in(request: Request, setting: Setting) -> Response:
    """A session for the token in the form."""
    setting.throttle.attempt(address_of(request))
    token = (await read_form(request)).get("token", "").strip()
    try:
        secret = await run_in_threadpool(_open_session, setting, token)
    except (Unauthenticated, NotAllowed) as error:
        return sign_in_page(setting, sentence(error))
    return with_cookie(RedirectResponse("/", 303), request, setting, secret)


@router.post("/logout")
def sign_out(request: Request, setting: Setting) -> Response:
    """End the session."""
    secret = request.cookies.get(COOKIE)
    if secret:
        holder = setting.sessions.holder_of(secret)
        if holder is not None:
            identify(holder.name, holder.role)
        setting.sessions.close(secret)
    response = RedirectResponse("/login", 303)
    response.delete_cookie(COOKIE)
    return response


def _open_session(setting: DashboardSetting, token: str) -> str:
    return setting.sessions.open(_holder(setting, token, "open_dashboard"))


def _holder(setting: DashboardSetting, token: str, operation: str) -> Principal:
    holder = setting.tokens.authenticate(token)
    if holder is None:
        raise Unauthenticated("this token is not known, or it has expired")
    identify(holder.name, holder.role)
    permissions.require(holder, operation)
    return holder


def sign_in_page(setting: DashboardSetting, problem: str | None) -> HTMLResponse:
    """The page with all ways in, and what went wrong with the last one."""
    page = pages.render(
        "login.html",
        signed_in_as=None,
        problem=problem,
        has_single_sign_on=setting.single_sign_on is not None,
    )
    return HTMLResponse(page, 200 if problem is None else 401)


def sentence(error: Exception) -> str:
    """An error's words, as a person writes them."""
    text = str(error)
    return f"{text[:1].upper()}{text[1:]}."


def with_cookie(response: Response, request: Request, setting: DashboardSetting, secret: str) -> Response:
    """A response that opens a session in the browser."""
    response.set_cookie(
        COOKIE,
        secret,
        max_age=SESSION_S,
        httponly=True,
        samesite="strict",
        secure=setting.is_https or request.url.scheme == "https",
    )
    return response


async def read_form(request: Request) -> dict[str, str]:
    """The fields of a form. Raises TooLarge."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MOST_FORM_BYTES:
            raise TooLarge(f"a form has at most {_MOST_FORM_BYTES} bytes")
    fields = parse_qs(body.decode("utf-8", "replace"))
    return {name: values[0] for name, values in fields.items()}
