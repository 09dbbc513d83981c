"""Streamed answers that let go of what they read from, however the answer ends."""

from collections.abc import AsyncGenerator, Generator, Mapping
from http import HTTPStatus

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send


class ClosingStream(StreamingResponse):
    """Streams pieces, and closes their source when the answer is complete, refused or given up.

    A generator that nobody closes keeps its file open, or its follower counted, until the garbage collector
    comes by.
    """

    def __init__(
        self,
        pieces: Generator[bytes] | AsyncGenerator[str],
        headers: Mapping[str, str],
        media_type: str,
        status_code: int = HTTPStatus.OK,
    ) -> None:
        super().__init__(pieces, status_code, headers, media_type)
        self._pieces = pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            if isinstance(self._pieces, AsyncGenerator):
                await self._pieces.aclose()
            else:
                self._pieces.close()
