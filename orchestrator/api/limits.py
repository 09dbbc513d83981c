"""Limits on the size and time of requests' bodies; artifacts have their own, kept while they stream."""

from http import HTTPStatus

import anyio
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator.api.problems import problem_response

BODY_LIMIT_BYTES = 1 << 20
BODY_DEADLINE_S = 20.0


class BodyLimitMiddleware:
    """Reads small bodies whole before anything else sees them, and refuses larger and slower ones."""

    def __init__(
        self,
        app: ASGIApp,
        streamed_prefix: str,
        limit_bytes: int = BODY_LIMIT_BYTES,
        deadline_s: float = BODY_DEADLINE_S,
    ) -> None:
        self._app = app
        self._streamed_prefix = streamed_prefix
        self._limit_bytes = limit_bytes
        self._deadline_s = deadline_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or scope["path"].startswith(self._streamed_prefix):
            await self._app(scope, receive, send)
            return
        try:
            with anyio.fail_after(self._deadline_s):
                body = await self._read(receive)
        except TimeoutError:
            detail = f"the body did not come within {self._deadline_s:.0f} s"
            headers = {"Connection": "close"}
            late = problem_response(HTTPStatus.REQUEST_TIMEOUT, "too_slow", detail, headers)
            await late(scope, receive, send)
            return
        if body is None:
            detail = f"a request has at most {self._limit_bytes} bytes"
            response = problem_response(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large", detail)
            await response(scope, receive, send)
            return
        given = False

        async def replay() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app(scope, replay, send)

    async def _read(self, receive: Receive) -> bytes | None:
        """The whole body, or None when it is larger than the limit."""
        body = b""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return body
            chunk: bytes = message.get("body", b"")
            body += chunk
            if len(body) > self._limit_bytes:
                return None
            if not message.get("more_body", False):
                return body
