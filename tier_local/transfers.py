"""Adapters between a network's server and its sites: files that one offers and the other fetches.

NVFlare would carry an adapter in the message itself, and hold it in memory where many meet: at the server. So
messages only say where a file can be fetched (``OfferedFile``), and the file goes in pieces, from disk to
disk, by NVFlare's download service. What a process holds of it is a few pieces for each fetch.
"""

import os
from typing import Any, BinaryIO, Protocol

from nvflare.apis.signal import Signal
from nvflare.fuel.f3.cellnet.cell import Cell
from nvflare.fuel.f3.streaming.download_service import Consumer, Downloadable, ProduceRC, download_object
from nvflare.fuel.f3.streaming.obj_downloader import ObjectDownloader

from tier_local.errors import JobFailed
from tier_local.exchange import OfferedFile

PIECE_BYTES = 512 << 10
"""On its way a piece lies in the server's memory about five times, for each site that fetches."""

_IDLE_SECONDS = 7 * 24 * 3600.0
"""A file is offered until ``close``; NVFlare wants a time after which nobody came for it."""

_START = "start"


class Wire(Protocol):
    """Files to and from the other processes of a job."""

    def offer(self, file: BinaryIO) -> OfferedFile:
        """Let others fetch the file, which is this object's from now on, and does not change any more."""

    def fetch(self, offered: OfferedFile, into: BinaryIO, most_bytes: int) -> None:
        """Write the file that another process offers.

        Raises:
            JobFailed: it holds more than ``most_bytes``, it is not offered, or the other stopped sending.
        """


class CellWire:
    """A ``Wire`` over NVFlare's connections."""

    def __init__(self, cell: Cell, stop: Signal, request_seconds: float) -> None:
        """``request_seconds``: how long the other may take for one piece; NVFlare asks four times."""
        self._cell, self._stop, self._request_seconds = cell, stop, request_seconds
        self._offers: list[tuple[ObjectDownloader, BinaryIO]] = []

    def offer(self, file: BinaryIO) -> OfferedFile:
        """As in ``Wire``."""
        file.flush()
        downloads = ObjectDownloader(cell=self._cell, timeout=_IDLE_SECONDS, num_receivers=0)
        self._offers.append((downloads, file))
        return OfferedFile(holder=self._cell.get_fqcn(), reference=downloads.add_object(_Pieces(file)))

    def fetch(self, offered: OfferedFile, into: BinaryIO, most_bytes: int) -> None:
        """As in ``Wire``."""
        taken = _Taken(into, most_bytes)
        download_object(
            from_fqcn=offered.holder,
            ref_id=offered.reference,
            per_request_timeout=self._request_seconds,
            cell=self._cell,
            consumer=taken,
            abort_signal=self._stop,
        )
        if taken.error is not None:
            raise JobFailed(f"a file did not come: {taken.error}")
        into.flush()

    def close(self) -> None:
        """Offer nothing any more."""
        for downloads, file in self._offers:
            downloads.delete_transaction()
            file.close()
        self._offers.clear()


class _Pieces(Downloadable):  # type: ignore[misc] # NVFlare ships no types
    """A file as its holder gives it, piece by piece, to any number of others at the same time."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)
        self._file = file

    def produce(self, state: dict[str, Any], requester: str) -> tuple[str, bytes | None, dict[str, int]]:
        """The piece that begins where the last one ended."""
        start = state.get(_START, 0) if state else 0
        if type(start) is not int or start < 0:
            return ProduceRC.ERROR, None, {}
        piece = os.pread(self._file.fileno(), PIECE_BYTES, start)
        if not piece:
            return ProduceRC.EOF, None, {}
        return ProduceRC.OK, piece, {_START: start + len(piece)}


class _Taken(Consumer):  # type: ignore[misc] # NVFlare ships no types
    """A file as it comes."""

    # The next piece is asked for while this one is written: what is asked does not depend on it.
    supports_pipelining = True

    def __init__(self, into: BinaryIO, most_bytes: int) -> None:
        super().__init__()
        self._into, self._left_bytes = into, most_bytes
        self.error: str | None = None

    def consume(self, ref_id: str, state: dict[str, Any], data: Any) -> dict[str, Any]:
        """Write one piece."""
        if not isinstance(data, bytes) or len(data) > self._left_bytes:
            raise ValueError("it is larger than it may be")
        self._into.write(data)
        self._left_bytes -= len(data)
        return state

    def download_completed(self, ref_id: str) -> None:
        """All of it is here."""

    def download_failed(self, ref_id: str, reason: str) -> None:
        """It will not come."""
        self.error = reason
