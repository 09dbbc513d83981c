"""Routes that answer people: every answer carries the security headers, and every error is a page.

A reader without a session is sent to the sign-in page: by a redirect, or, where htmx asked for a panel, by
the header that makes the whole page go there.
"""

from collections.abc import Callable, Coroutine
from typing import Any
from urllib.parse import urlsplit

from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from fastapi.routing import APIRoute
from starlette.requests import Request

from orchestrator.dashboard import pages
from orchestrator.domain.errors import (
    NotAllowed,
    NotFound,
    OrchestratorError,
    TooLarge,
    TooManyRequests,
    Unauthenticated,
    Unavailable,
)

SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    # Not no-referrer: browsers then send `Origin: null` with forms, which the origin check has to refuse.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
}

_STATUS: dict[type[OrchestratorError], tuple[int, str]] = {
    NotFound: (404, "There is nothing here"),
    NotAllowed: (403, "This is not allowed"),
    TooLarge: (413, "That was too much"),
    Unavailable: (503, "Not available at the moment"),
}

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class HtmlRoute(APIRoute):
    """A route whose answers, errors included, are for a browser."""

    def get_route_handler(self) -> Handler:
        """The endpoint's handler with errors turned to pages and the headers added."""
        inner = super().get_route_handler()

        async def handle(request: Request) -> Response:
            try:
                _require_own_origin(request)
                response = await inner(request)
            except Unauthenticated:
                response = _to_sign_in(request)
            except RequestValidationError:
                response = problem_page(404, "There is nothing here", "The address is not one of ours.")
            except TooManyRequests as error:
                response = problem_page(429, "Too many requests", "Wait a moment before you try again.")
                response.headers["Retry-After"] = str(error.retry_after_s)
            except OrchestratorError as error:
                response = _error_page(error)
            for name, value in SECURITY_HEADERS.items():
                response.headers.setdefault(name, value)
            response.headers.setdefault("Cache-Control", "no-store")
            return response

        return handle


def address_of(request: Request) -> str:
    """Where a request comes from; behind a proxy, what a trusted proxy says."""
    return "unknown" if request.client is None else request.client.host


def _require_own_origin(request: Request) -> None:
    """Refuse what another site's page sent with our cookie; browsers name the sender with every POST."""
    if request.method in ("GET", "HEAD"):
        return
    origin = urlsplit(request.headers.get("origin", ""))
    if not origin.netloc or origin.netloc.lower() != request.headers.get("host", "").lower():
        raise NotAllowed("this form was not sent from the dashboard's own pages")


def problem_page(status: int, title: str, detail: str) -> HTMLResponse:
    """A page that says what is wrong."""
    html = pages.render("problem.html", status=status, title=title, detail=detail, signed_in_as=None)
    return HTMLResponse(html, status)


def _to_sign_in(request: Request) -> Response:
    if request.headers.get("hx-request") == "true":
        return Response(status_code=401, headers={"HX-Redirect": "/login"})
    if request.method == "GET" and "text/html" in request.headers.get("accept", ""):
        return RedirectResponse("/login", 303)
    return Response(status_code=401)


def _error_page(error: OrchestratorError) -> HTMLResponse:
    status, title = next(
        (known for kind, known in _STATUS.items() if isinstance(error, kind)), (500, "Something went wrong")
    )
    return problem_page(status, title, f"{str(error)[:1].upper()}{str(error)[1:]}.")
