"""Bodies that are streamed into a thread: a few at a time, and each at a least speed.

A body's thread waits for its client. So these threads are not those that answer everything else.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import anyio
import anyio.from_thread
import anyio.to_thread
from fastapi import Request
from starlette.requests import ClientDisconnect

from orchestrator.domain.errors import TooSlow, Unavailable

PIECE_BYTES = 1 << 16
CHUNK_BYTES = 1 << 20

Result = TypeVar("Result")


class Uploads:
    """``most`` bodies at once, of which every 64 KiB have ``piece_deadline_s`` to arrive."""

    def __init__(self, most: int = 16, piece_deadline_s: float = 20.0) -> None:
        self.piece_deadline_s = piece_deadline_s
        self._most = most
        self._running = 0
        self._threads: anyio.CapacityLimiter | None = None

    async def run(self, request: Request, work: Callable[[Iterable[bytes]], Result]) -> Result:
        """What ``work`` makes of the body, in a thread of its own.

        Raises:
            Unavailable: too many bodies are on their way already.
            TooSlow: the body stopped coming, or trickles.
            ClientDisconnect: the client is gone.
        """
        if self._running >= self._most:
            raise Unavailable("too many uploads are under way already; try again later")
        if self._threads is None:
            self._threads = anyio.CapacityLimiter(self._most)
        self._running += 1
        try:
            return await anyio.to_thread.run_sync(work, self._pieces(request), limiter=self._threads)
        finally:
            self._running -= 1

    def _pieces(self, request: Request) -> Iterator[bytes]:
        """The body, read from a worker thread."""
        body = _Body(request, self.piece_deadline_s)
        while chunk := anyio.from_thread.run(body.next_chunk):
            yield chunk


class _Body:
    """A request's body in chunks that are large enough to be worth a change of threads."""

    def __init__(self, request: Request, piece_deadline_s: float) -> None:
        self._stream = request.stream()
        self._piece_deadline_s = piece_deadline_s
        self._failure: Exception | None = None

    async def next_chunk(self) -> bytes:
        """The next chunk; what came before a failure is given before the failure is raised."""
        if self._failure is not None:
            raise self._failure
        chunk = bytearray()
        try:
            while len(chunk) < CHUNK_BYTES and await self._read_piece(chunk):
                pass
        except (TooSlow, ClientDisconnect) as error:
            if not chunk:
                raise
            self._failure = error
        return bytes(chunk)

    async def _read_piece(self, chunk: bytearray) -> bool:
        """Add a piece to the chunk; False at the end of the body."""
        enough = len(chunk) + PIECE_BYTES
        try:
            with anyio.fail_after(self._piece_deadline_s):
                while len(chunk) < enough:
                    received = await anext(self._stream, None)
                    if received is None:
                        return False
                    chunk += received
        except TimeoutError as error:
            message = f"{PIECE_BYTES} bytes of the body did not come within {self._piece_deadline_s:.0f} s"
            raise TooSlow(message) from error
        return True
