"""Adapters between a network's server and its sites: files that one offers and the other fetches.

NVFlare would carry an adapter in the message itself, and hold it in memory where many meet: at the server. So
messages only say where a file can be fetched (``OfferedFile``), and the file goes in pieces, by NVFlare's
download service: from the server's disk, and to it. A server holds a few pieces for each fetch; a site, which
works with the adapter, has it in memory.
"""

import os
import tempfile
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from nvflare.apis.fl_constant import ServerCommandNames
from nvflare.apis.signal import Signal
from nvflare.fuel.f3.cellnet.cell import Cell
from nvflare.fuel.f3.streaming.download_service import Consumer, Downloadable, ProduceRC, download_object
from nvflare.fuel.f3.streaming.obj_downloader import ObjectDownloader
from nvflare.private.defs import CellChannel

from contracts.manifest import FloatArray, Manifest, Tensors
from tier_local.errors import JobFailed
from tier_local.exchange import OfferedFile

PIECE_BYTES = 512 << 10
"""On its way a piece lies in the server's memory several times, for each site that fetches."""

_IDLE_SECONDS = 7 * 24 * 3600.0
"""A file is offered until ``close``; NVFlare wants a time after which nobody came for it."""

_START = "start"


class Wire(Protocol):
    """Files to and from the other processes of a job."""

    def offer(self, file: BinaryIO) -> OfferedFile:
        """Let others fetch the file, which is this object's from now on, and does not change any more."""

    def fetch(self, offered: OfferedFile, into: BinaryIO, size_bytes: int) -> None:
        """Write the file that another process offers.

        Raises:
            JobFailed: it is of another size, it is not offered, or the other stopped sending.
        """


def offer_adapter(wire: Wire, manifest: Manifest, adapter: Tensors, folder: Path) -> OfferedFile:
    """Let others fetch the adapter; its canonical file lies in the folder.

    Raises:
        InvalidAdapter: as ``Manifest.check``.
        OSError: there is no room for it.
    """
    # Without a name: of a process that is killed nothing stays.
    file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 # the wire's
    file.writelines(manifest.pieces(adapter))
    return wire.offer(file)


def fetch_adapter(wire: Wire, manifest: Manifest, offered: OfferedFile) -> dict[str, FloatArray]:
    """The adapter that another process offers, in memory.

    Raises:
        JobFailed: as ``Wire.fetch``.
        InvalidAdapter, NotSafetensors, NotCanonical: as ``Manifest.decode``.
    """
    data = BytesIO()
    wire.fetch(offered, data, manifest.file_bytes)
    return manifest.decode(data.getvalue())


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

    def fetch(self, offered: OfferedFile, into: BinaryIO, size_bytes: int) -> None:
        """As in ``Wire``."""
        taken = _Taken(into, size_bytes)
        try:
            download_object(
                from_fqcn=offered.holder,
                ref_id=offered.reference,
                per_request_timeout=self._request_seconds,
                cell=self._cell,
                consumer=taken,
                abort_signal=self._stop,
            )
        except (TypeError, ValueError, AssertionError) as error:
            raise JobFailed("a file did not come: its holder's answer makes no sense") from error
        if taken.error is None and taken.left_bytes:
            taken.error = f"{taken.left_bytes} bytes are missing"
        if taken.error is not None:
            raise JobFailed(f"a file did not come: {taken.error}")
        into.flush()

    def close(self) -> None:
        """Offer nothing any more."""
        for downloads, file in self._offers:
            downloads.delete_transaction()
            file.close()
        self._offers.clear()


def take_no_arrays(cell: Cell) -> None:
    """From now on, this server leaves arrays where they are that a site puts into its answer's message.

    There are none in a right answer. NVFlare would fetch them into memory, and end the process where that
    fails.
    """
    cell.decode_pass_through_topics.add((CellChannel.SERVER_COMMAND, ServerCommandNames.SUBMIT_UPDATE))


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

    def __init__(self, into: BinaryIO, size_bytes: int) -> None:
        super().__init__()
        self._into, self.left_bytes = into, size_bytes
        self.error: str | None = None

    def consume(self, ref_id: str, state: dict[str, Any], data: Any) -> dict[str, Any]:
        """Write one piece."""
        # Whole pieces but for the last: else a holder could send for ever, in pieces of nothing.
        if not isinstance(data, bytes) or not data or len(data) != min(PIECE_BYTES, self.left_bytes):
            raise ValueError("it is not of the size, or not in the pieces, that it should be")
        self._into.write(data)
        self.left_bytes -= len(data)
        return state

    def download_completed(self, ref_id: str) -> None:
        """All of it is here."""

    def download_failed(self, ref_id: str, reason: str) -> None:
        """It will not come."""
        self.error = reason
