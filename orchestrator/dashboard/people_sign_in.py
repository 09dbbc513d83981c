"""People sign in: by the consortium's identity provider, or, when that is down, by name and password."""

import hmac
import secrets
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.concurrency import run_in_threadpool

from orchestrator.dashboard import pages
from orchestrator.dashboard.html_route import HtmlRoute, address_of
from orchestrator.dashboard.setting import DashboardSetting, SingleSignOn
from orchestrator.dashboard.sign_in import (
    Setting,
    read_form,
    sentence,
    sign_in_page,
    with_cookie,
)
from orchestrator.domain.errors import NotAllowed, NotFound, Unauthenticated, Unavailable
from orchestrator.domain.identity import Principal
from orchestrator.domain.single_sign_on import Attempt
from orchestrator.services.audit import identify
from orchestrator.services.sessions import SESSION_S

ATTEMPT_COOKIE = "collegium_sign_in"
ATTEMPT_S = 600
_PATH = "/login/sso"

router = APIRouter(route_class=HtmlRoute, include_in_schema=False)


@router.post("/login/password")
async def sign_in_by_password(request: Request, setting: Setting) -> Response:
    """A session for the name and password in the form."""
    setting.throttle.attempt(address_of(request))
    form = await read_form(request)
    name, password = form.get("name", "").strip()[:80], form.get("password", "")
    try:
        admin = await run_in_threadpool(setting.people.authenticate, name, password)
        identify(admin.principal.name, admin.principal.role)
        secret = await run_in_threadpool(setting.sessions.open, admin.principal, admin.is_current)
    except (Unauthenticated, Unavailable) as error:
        return sign_in_page(setting, sentence(error))
    return with_cookie(RedirectResponse("/", 303), request, setting, secret)


@router.post(_PATH)
def begin_single_sign_on(request: Request, setting: Setting) -> Response:
    """To the identity provider, with a secret in this browser that the way back needs."""
    setting.throttle.attempt(address_of(request))
    sso = _single_sign_on(setting)
    secret = secrets.token_urlsafe(32)
    try:
        url = sso.provider.begin(Attempt.of(secret), _redirect_url(sso))
    except Unavailable as error:
        return sign_in_page(setting, sentence(error))
    # A page, not a redirect: the policy on forms would also be applied to where a redirect leads.
    page = pages.render("to_provider.html", signed_in_as=None, url=url)
    response = HTMLResponse(page)
    # Lax, because the browser comes back from another site; it is worth nothing without the provider's code.
    response.set_cookie(
        ATTEMPT_COOKIE,
        secret,
        max_age=ATTEMPT_S,
        path=_PATH,
        httponly=True,
        samesite="lax",
        secure=setting.is_https or request.url.scheme == "https",
    )
    return response


@router.get(_PATH + "/done")
def finish_single_sign_on(
    request: Request,
    setting: Setting,
    code: Annotated[str, Query(max_length=2048)] = "",
    state: Annotated[str, Query(max_length=200)] = "",
    iss: Annotated[str | None, Query(max_length=500)] = None,
) -> Response:
    """A session for whoever comes back from the identity provider with what it was sent there with."""
    setting.throttle.attempt(address_of(request))
    sso = _single_sign_on(setting)
    try:
        person = _person(sso, request.cookies.get(ATTEMPT_COOKIE, ""), code, state, iss, setting)
        identify(person.name, person.role)
        page = pages.render("signed_in.html", signed_in_as=None, session_hours=SESSION_S // 3600)
        response = with_cookie(HTMLResponse(page), request, setting, setting.sessions.open(person))
    except (Unauthenticated, NotAllowed, Unavailable) as error:
        response = sign_in_page(setting, sentence(error))
    response.delete_cookie(ATTEMPT_COOKIE, path=_PATH)
    return response


def _person(
    sso: SingleSignOn, secret: str, code: str, state: str, issuer: str | None, setting: DashboardSetting
) -> Principal:
    attempt = Attempt.of(secret)
    if not secret or not code or not hmac.compare_digest(state.encode(), attempt.state.encode()):
        raise Unauthenticated("this sign-in was not begun in this browser, or took too long; try again")
    person = sso.provider.finish(attempt, _redirect_url(sso), code, issuer)
    grant = sso.roles.grant_for(person)
    ends_unix_s = setting.sessions.clock.now_unix_s() + SESSION_S
    name = "".join(filter(str.isprintable, person.name))[:90]
    return Principal(f"{name} (SSO)", grant.role, ends_unix_s, grant.node)


def _single_sign_on(setting: DashboardSetting) -> SingleSignOn:
    if setting.single_sign_on is None:
        raise NotFound("this hub has no single sign-on")
    return setting.single_sign_on


def _redirect_url(sso: SingleSignOn) -> str:
    # From the settings, never from the request: whoever sends a Host header must not choose where codes go.
    return f"{sso.public_url.rstrip('/')}{_PATH}/done"
