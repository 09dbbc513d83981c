"""Nobody holds the hub up for ever: a deadline for every request, and for each piece of a stream.

A request that is no stream, its body and its answer included, has ``REQUEST_DEADLINE_S``. Artifacts and
streams of events may last; each piece of what they send has to be taken within ``IDLE_DEADLINE_S`` (of what
they receive: ``uploads``). A thread that works for a request is not ended by this: the client is told, and
whoever asks again with the same ``Idempotency-Key`` is answered once it is done.
"""

import asyncio
import logging
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator.api.problems import problem_response

REQUEST_DEADLINE_S = 60.0
IDLE_DEADLINE_S = 60.0
_ENDLESS = "text/event-stream"

logger = logging.getLogger(__name__)


class _NotTaken(Exception):
    """A piece of a stream was not taken in time. No OSError: that is a client who left."""


class DeadlineMiddleware:
    """Ends what takes too long: with 503 where nothing was answered yet, else by ending the connection."""

    def __init__(
        self,
        app: ASGIApp,
        streamed_prefix: str,
        request_deadline_s: float = REQUEST_DEADLINE_S,
        idle_deadline_s: float = IDLE_DEADLINE_S,
    ) -> None:
        self._app = app
        self._streamed_prefix = streamed_prefix
        self._request_deadline_s = request_deadline_s
        self._idle_deadline_s = idle_deadline_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_stream = scope["path"].startswith(self._streamed_prefix)
        has_begun = False

        async def send_in_time(message: Message) -> None:
            nonlocal is_stream, has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                if Headers(raw=message["headers"]).get("content-type", "").startswith(_ENDLESS):
                    is_stream = True
                    whole.reschedule(None)
            if not is_stream:
                await send(message)
                return
            try:
                async with asyncio.timeout(self._idle_deadline_s):
                    await send(message)
            except TimeoutError:
                raise _NotTaken from None

        try:
            async with asyncio.timeout(None if is_stream else self._request_deadline_s) as whole:
                await self._app(scope, receive, send_in_time)
        except (TimeoutError, _NotTaken):
            if has_begun:
                # The server closes a connection whose answer was not completed.
                logger.warning("an answer was not taken in time")
                return
            detail = f"the hub could not answer within {self._request_deadline_s:.0f} s"
            late = problem_response(HTTPStatus.SERVICE_UNAVAILABLE, "deadline_exceeded", detail)
            await late(scope, receive, send)
