"""Bodies that are streamed into a thread: a few at a time, and each at a least speed.

A body's thread waits for its client. So these threads are not those that answer everything else.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import anyio
import anyio.from_thread
import anyio.to_thread
from fastapi import Request

from orchestrator.domain.errors import TooSlow, Unavailable

PIECE_BYTES = 1 << 16

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
        stream = request.stream()

        async def next_piece() -> bytes:
            piece = bytearray()
            try:
                with anyio.fail_after(self.piece_deadline_s):
                    while len(piece) < PIECE_BYTES and (chunk := await anext(stream, None)) is not None:
                        piece += chunk
            except TimeoutError as error:
                message = f"{PIECE_BYTES} bytes of the body did not come within {self.piece_deadline_s:.0f} s"
                raise TooSlow(message) from error
            return bytes(piece)

        while piece := anyio.from_thread.run(next_piece):
            yield piece
