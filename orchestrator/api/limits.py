"""A limit on the bodies of requests; artifacts have their own, which their store keeps while they stream."""

from http import HTTPStatus

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator.api.problems import problem_response

BODY_LIMIT_BYTES = 1 << 20


class BodyLimitMiddleware:
    """Reads small bodies whole before anything else sees them, and refuses larger ones."""

    def __init__(self, app: ASGIApp, streamed_prefix: str, limit_bytes: int = BODY_LIMIT_BYTES) -> None:
        self._app = app
        self._streamed_prefix = streamed_prefix
        self._limit_bytes = limit_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or scope["path"].startswith(self._streamed_prefix):
            await self._app(scope, receive, send)
            return
        body = await self._read(receive)
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
