"""Files between the processes of a job: NVFlare's connections and the double behave alike."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from nvflare.apis.signal import Signal
from nvflare.fuel.f3.cellnet.cell import Cell
from nvflare.fuel.f3.streaming.download_service import Downloadable, ProduceRC
from nvflare.fuel.f3.streaming.obj_downloader import ObjectDownloader

from deploy.local.ports import free_ports
from tests.unit.local_wire import WireDouble
from tier_local.errors import JobFailed
from tier_local.exchange import OfferedFile
from tier_local.transfers import PIECE_BYTES, CellWire, _Pieces

REQUEST_SECONDS = 1.0


@dataclass(frozen=True)
class Ends:
    """The holder's wire and the other's."""

    holder: Any
    other: Any


@dataclass(frozen=True)
class Cells:
    """Two processes' ends of NVFlare's connections, here in one process."""

    holder: Cell
    other: Cell


@pytest.fixture(scope="module")
def cells() -> Iterator[Cells]:
    url = f"tcp://127.0.0.1:{free_ports(1)[0]}"
    with ExitStack() as to_stop:
        made = []
        for name in ("server", "site-1"):
            cell = Cell(fqcn=name, root_url=url, secure=False, credentials={})
            cell.start()
            to_stop.callback(cell.stop)
            made.append(cell)
        yield Cells(*made)


@pytest.fixture(params=["double", "cells"])
def ends(request: pytest.FixtureRequest) -> Iterator[Ends]:
    if request.param == "double":
        double = WireDouble()
        yield Ends(double, double)
        return
    pair: Cells = request.getfixturevalue("cells")
    both = Ends(
        CellWire(pair.holder, Signal(), REQUEST_SECONDS), CellWire(pair.other, Signal(), REQUEST_SECONDS)
    )
    yield both
    both.holder.close()


def offer(wire: Any, data: bytes, folder: Path) -> OfferedFile:
    file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 # the wire's
    file.write(data)
    offered = wire.offer(file)
    assert isinstance(offered, OfferedFile)
    return offered


@pytest.mark.parametrize("size_bytes", [0, 1, PIECE_BYTES, 3 * PIECE_BYTES + 7])
def test_a_file_comes_as_it_is_as_often_as_it_is_wanted(ends: Ends, size_bytes: int, tmp_path: Path) -> None:
    data = bytes(range(251)) * (size_bytes // 251 + 1)
    offered = offer(ends.holder, data[:size_bytes], tmp_path)
    for _ in range(2):
        into = BytesIO()
        ends.other.fetch(offered, into, size_bytes)
        assert into.getvalue() == data[:size_bytes]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size_bytes", [PIECE_BYTES - 1, 2 * PIECE_BYTES, 2 * PIECE_BYTES + 2])
def test_a_file_of_another_size_is_refused(ends: Ends, size_bytes: int, tmp_path: Path) -> None:
    offered = offer(ends.holder, b"x" * (2 * PIECE_BYTES + 1), tmp_path)
    with pytest.raises(JobFailed, match="did not come"):
        ends.other.fetch(offered, BytesIO(), size_bytes)


class Hostile(Downloadable):  # type: ignore[misc] # NVFlare ships no types
    """Gives the same answer to every question."""

    def __init__(self, answer: tuple[Any, Any, Any]) -> None:
        super().__init__(None)
        self._answer = answer

    def produce(self, state: Any, requester: str) -> tuple[Any, Any, Any]:
        return self._answer


@pytest.mark.parametrize(
    "answer",
    [
        (ProduceRC.OK, b"", {"start": 0}),
        (ProduceRC.OK, b"x", {"start": 1}),
        (ProduceRC.OK, b"x" * (PIECE_BYTES + 1), {"start": 1}),
        (ProduceRC.OK, ["x"], {"start": 1}),
        (ProduceRC.OK, None, {"start": 1}),
        (ProduceRC.OK, b"x" * PIECE_BYTES, None),
        (ProduceRC.OK, b"x" * PIECE_BYTES, [1]),
        ("odd", b"x" * PIECE_BYTES, {"start": 1}),
        (ProduceRC.ERROR, None, {}),
        (ProduceRC.EOF, None, {}),
    ],
)
def test_a_holder_that_sends_nonsense_is_not_listened_to_for_ever(
    cells: Cells, answer: tuple[Any, Any, Any]
) -> None:
    downloads = ObjectDownloader(cell=cells.holder, timeout=60.0, num_receivers=0)
    offered = OfferedFile(holder=cells.holder.get_fqcn(), reference=downloads.add_object(Hostile(answer)))
    with pytest.raises(JobFailed, match="did not come"):
        CellWire(cells.other, Signal(), REQUEST_SECONDS).fetch(offered, BytesIO(), 3 * PIECE_BYTES)
    downloads.delete_transaction()


def test_what_is_not_offered_any_more_does_not_come(ends: Ends, tmp_path: Path) -> None:
    offered = offer(ends.holder, b"x", tmp_path)
    ends.holder.close()
    with pytest.raises(JobFailed, match="did not come"):
        ends.other.fetch(offered, BytesIO(), 1)


def test_what_was_never_offered_does_not_come(ends: Ends) -> None:
    with pytest.raises(JobFailed, match="did not come"):
        ends.other.fetch(OfferedFile(holder="server", reference="R"), BytesIO(), 1)


def test_a_fetch_that_is_stopped_ends(cells: Cells) -> None:
    """Nobody answers under this name; the fetch would ask for seconds, and pause between."""
    stop = Signal()
    stop.trigger(True)
    with pytest.raises(JobFailed, match="did not come"):
        CellWire(cells.other, stop, 60.0).fetch(OfferedFile(holder="site-9", reference="R"), BytesIO(), 1)


@pytest.mark.parametrize("wrong", [{"start": -1}, {"start": "0"}, {"start": True}, {"start": 1.0}])
def test_a_request_that_makes_no_sense_gets_an_error(wrong: dict[str, object], tmp_path: Path) -> None:
    with tempfile.TemporaryFile(dir=tmp_path) as file:
        file.write(b"x")
        file.flush()
        produce: Callable[..., Any] = _Pieces(file).produce
        assert produce(wrong, "site-1")[0] == ProduceRC.ERROR
        assert produce({"start": 1}, "site-1")[0] == ProduceRC.EOF
