"""An upload whose process is killed, at every step: nothing is lost, seen half, or in the way of the next."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from contracts.digests import sha256_digest
from orchestrator.adapters.artifacts import FolderArtifactStore
from orchestrator.adapters.artifacts import folder as folder_module
from orchestrator.domain.artifacts import UploadPiece
from orchestrator.domain.chain import Block
from orchestrator.domain.errors import NotFound
from orchestrator.domain.identity import Principal
from orchestrator.domain.ports import Records, Unit
from orchestrator.services.artifacts import UPLOAD, ArtifactService
from orchestrator.services.audit import Attempt, AuditedRecords, Deed, attempting
from orchestrator.services.retention import UNFINISHED_KEPT_S, RetentionService
from tests.integration.databases import Databases, open_quick_records
from tests.integration.orchestrator_double_rig import ClockDouble

DATA = bytes(range(256)) * 1024
DIGEST = sha256_digest(DATA)
UPLOADER = Principal("conductor", "conductor", 1 << 40)
KEPT_S = 30 * 24 * 3600
STEPS = ("os.fsync", "os.replace", "os.utime", "tempfile.mkstemp")
"""Calls of the store that a process may not come back from, beside its writes and the commits."""


@dataclass
class Steps:
    """Counts what a process did, and kills it, as the kernel would, at a step."""

    killed_at: int | None = None
    count: int = 0

    def step(self) -> None:
        """One step."""
        self.count += 1
        if self.count == self.killed_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function before and after which the process may die."""

        @wraps(function)
        def stepped(*arguments: Any, **options: Any) -> Any:
            self.step()
            found = function(*arguments, **options)
            self.step()
            return found

        return stepped


@dataclass(frozen=True)
class MortalRecords:
    """Records whose process may die before and after a commit."""

    records: Records
    steps: Steps

    def read(self) -> Any:
        return self.records.read()

    def version(self) -> int | None:
        return self.records.version()

    @contextmanager
    def write(self) -> Iterator[Unit]:
        with self.records.write() as unit:
            yield unit
            self.steps.step()
        self.steps.step()


class Hub:
    """A store and a database, and processes that upload into them."""

    def __init__(self, folder: Path, database_url: str) -> None:
        self.folder = folder / "artifacts"
        self.database_url = database_url
        self.clock = ClockDouble(unix_s=int(time.time()))
        self.records = open_quick_records(database_url)
        self.store = FolderArtifactStore(self.folder, 1 << 20)

    def upload(self, records: Records, is_in_pieces: bool) -> None:
        """What the API does with an upload."""
        service = ArtifactService(AuditedRecords(records, self.clock), self.store)
        with attempting(Attempt(lambda: Deed(UPLOAD, "c", body_digest=DIGEST), "conductor", "conductor")):
            if not is_in_pieces:
                service.put(DIGEST, iter((DATA[:100_000], DATA[100_000:])), len(DATA))
                return
            asked = UploadPiece(None, 0, len(DATA))
            at = service.append(DIGEST, UPLOADER, asked, ()).offset_bytes
            while at < len(DATA):
                until = min(at + 100_000, len(DATA))
                piece = UploadPiece(at, until, len(DATA))
                at = service.append(DIGEST, UPLOADER, piece, iter((DATA[at:until],))).offset_bytes

    def upload_in_a_process(self, is_in_pieces: bool, killed_at: int | None) -> int | None:
        """Upload in a process of its own; how many steps it took, None when it was killed."""
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                steps = Steps(killed_at)
                for name in STEPS:
                    module = getattr(folder_module, name.split(".")[0])
                    function = getattr(module, name.split(".")[1])
                    mock.patch(name, steps.around(function)).start()
                write = steps.around(folder_module._write_whole)
                mock.patch.object(folder_module, "_write_whole", write).start()
                self.upload(MortalRecords(open_quick_records(self.database_url), steps), is_in_pieces)
                os.write(writing, str(steps.count).encode())
            finally:
                os._exit(0)
        os.close(writing)
        with open(reading, "rb") as pipe:
            told = pipe.read()
        os.waitpid(child, 0)
        return int(told) if told else None

    def rows(self) -> int:
        """How many rows of the log tell of the artifact."""
        with self.records.read() as unit:
            return sum(row.body_digest == DIGEST for row in unit.audit.rows(1, 1000))

    def stored(self) -> bytes | None:
        """What a reader gets."""
        try:
            return self.store.read(DIGEST, 1 << 20)
        except NotFound:
            return None

    def sweep(self, later_s: int) -> None:
        """What the worker's retention does at a later time."""
        now_unix_s = self.clock.unix_s + later_s
        with self.records.write() as unit:
            block = Block(1, DIGEST, DIGEST, now_unix_s)
            unit.projection.set_last_block(block, 0)
        RetentionService(self.records, self.store, ClockDouble(now_unix_s), KEPT_S).sweep()

    def files(self) -> list[Path]:
        """Everything that is in the store's folder."""
        return [file for file in self.folder.rglob("*") if file.is_file()]


@pytest.fixture
def make_hub(tmp_path: Path, databases: Databases) -> Iterator[Callable[[], Hub]]:
    made: list[Hub] = []

    def make() -> Hub:
        folder = tmp_path / str(len(made))
        folder.mkdir()
        made.append(Hub(folder, databases.new(folder)))
        return made[-1]

    yield make
    for hub in made:
        hub.records.close()


@pytest.mark.parametrize("is_in_pieces", [False, True])
def test_a_killed_upload_can_be_sent_again_and_leaves_nothing(
    make_hub: Callable[[], Hub], is_in_pieces: bool
) -> None:
    hub = make_hub()
    steps = hub.upload_in_a_process(is_in_pieces, None)
    assert steps is not None
    assert steps > 8
    assert (hub.stored(), hub.rows()) == (DATA, 1)
    seen = set()
    for step in range(1, steps + 1):
        hub = make_hub()
        assert hub.upload_in_a_process(is_in_pieces, step) is None
        seen.add((hub.stored(), hub.rows()))
        assert (hub.stored(), hub.rows()) in ((None, 0), (DATA, 0), (DATA, 1)), step
        assert hub.store.usage().artifacts == (hub.stored() is not None)
        # Whoever was told nothing asks again, and what is there is there once.
        hub.upload(hub.records, is_in_pieces)
        assert (hub.stored(), hub.rows()) == (DATA, 1), step
        hub.upload(hub.records, is_in_pieces)
        assert hub.rows() == 1, "the same again changes nothing"
        # What the dead process left stays while its upload could still go on, and goes then.
        left = len(hub.files())
        hub.sweep(UNFINISHED_KEPT_S - 60)
        assert len(hub.files()) == left
        hub.sweep(UNFINISHED_KEPT_S + 60)
        assert [file.name for file in hub.files()] == [DIGEST[2:]], step
        hub.sweep(KEPT_S + 60)
        assert hub.files() == []
    assert seen == {(None, 0), (DATA, 0), (DATA, 1)}


@pytest.mark.parametrize("is_in_pieces", [False, True])
def test_a_killed_upload_that_nobody_sends_again_is_removed(
    make_hub: Callable[[], Hub], is_in_pieces: bool
) -> None:
    steps = make_hub().upload_in_a_process(is_in_pieces, None)
    assert steps is not None
    for step in range(1, steps + 1, 2):
        hub = make_hub()
        hub.upload_in_a_process(is_in_pieces, step)
        hub.sweep(UNFINISHED_KEPT_S + 60)
        assert all(file.name == DIGEST[2:] for file in hub.files())
        hub.sweep(KEPT_S + 60)
        assert hub.files() == []
