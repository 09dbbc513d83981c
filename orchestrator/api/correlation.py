"""Every request has a correlation id: in its answer's header, its errors, its intents and in the log."""

import re

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator.services.correlation import LONGEST, begin, new_correlation_id

HEADER = "X-Correlation-Id"
_ACCEPTED = re.compile(rf"[A-Za-z0-9\-]{{1,{LONGEST}}}")


class CorrelationMiddleware:
    """Takes the caller's id, if it is a harmless one, or makes one."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get(HEADER, "")
        identifier = given if _ACCEPTED.fullmatch(given) else new_correlation_id()
        begin(identifier)

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[HEADER] = identifier
            await send(message)

        await self._app(scope, receive, send_with_id)
