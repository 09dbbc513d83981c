"""One behaviour for every artifact store: the folder, and the double that tests of services use."""

import hashlib
import os
import resource
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event

import pytest

from contracts.digests import is_digest, sha256_digest
from orchestrator.adapters.artifacts import FolderArtifactStore
from orchestrator.domain.artifacts import (
    ArtifactStore,
    ArtifactTooLarge,
    StorageFull,
    StoredFile,
    UploadPiece,
    UploadProgress,
    UploadUnderWay,
    WrongOffset,
    WrongPieceLength,
)
from orchestrator.domain.errors import ArtifactDigestMismatch, NotFound

LIMIT_BYTES = 1_000_000
DATA = bytes(range(256)) * 2_000
NOW = int(time.time())
LATER = NOW + 1_000_000


class MemoryArtifactStore:
    """``ArtifactStore`` in memory, where everything was put just now."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._stored: dict[str, bytes] = {}
        self._parts: dict[tuple[str, str], bytearray] = {}

    def put(self, digest: str, chunks: Iterable[bytes], length_bytes: int | None = None) -> bool:
        if not is_digest(digest):
            raise ArtifactDigestMismatch("not a digest")
        data = b""
        for chunk in chunks:
            data += chunk
            if len(data) > self._limit_bytes:
                raise ArtifactTooLarge("too large")
        if "0x" + hashlib.sha256(data).hexdigest() != digest:
            raise ArtifactDigestMismatch("another digest")
        is_new = digest not in self._stored
        self._stored[digest] = data
        return is_new

    def size_bytes(self, digest: str) -> int:
        return len(self._data(digest))

    def append(
        self, digest: str, uploader: str, piece: UploadPiece, chunks: Iterable[bytes]
    ) -> UploadProgress:
        if not is_digest(digest):
            raise ArtifactDigestMismatch("not a digest")
        if piece.total_bytes > self._limit_bytes:
            raise ArtifactTooLarge("too large")
        if digest in self._stored:
            return UploadProgress(piece.total_bytes, is_complete=True)
        part = self._parts.setdefault((digest, uploader), bytearray())
        if piece.begins_at not in (None, len(part)):
            raise WrongOffset("elsewhere")
        limit_bytes = len(part) + piece.most_bytes
        for chunk in chunks:
            part += chunk
            if len(part) > limit_bytes:
                del self._parts[digest, uploader]
                raise WrongPieceLength("longer")
        if len(part) < piece.total_bytes:
            return UploadProgress(len(part), is_complete=False)
        is_new = self.put(digest, [bytes(self._parts.pop((digest, uploader)))])
        return UploadProgress(piece.total_bytes, is_complete=True, is_new=is_new)

    def chunks(self, digest: str, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        return iter([self._data(digest)[start:stop]])

    def untouched_since(self, unix_s: int) -> Iterator[StoredFile]:
        return (
            StoredFile(digest, len(self._stored[digest])) for digest in sorted(self._stored) if unix_s > NOW
        )

    def remove_untouched(self, digest: str, unix_s: int) -> bool:
        return unix_s > NOW and self._stored.pop(digest, None) is not None

    def remove_parts(self, unix_s: int) -> int:
        removed, self._parts = (len(self._parts), {}) if unix_s > NOW else (0, self._parts)
        return removed

    def read(self, digest: str, limit_bytes: int) -> bytes:
        data = self._data(digest)
        if len(data) > limit_bytes:
            raise ArtifactTooLarge("too large")
        return data

    def _data(self, digest: str) -> bytes:
        if digest not in self._stored:
            raise NotFound("not stored")
        return self._stored[digest]


@pytest.fixture(params=["folder", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ArtifactStore:
    if request.param == "folder":
        return FolderArtifactStore(tmp_path / "artifacts", LIMIT_BYTES)
    return MemoryArtifactStore(LIMIT_BYTES)


def in_pieces(data: bytes, piece_bytes: int) -> Iterator[bytes]:
    for start in range(0, len(data), piece_bytes):
        yield data[start : start + piece_bytes]


@pytest.mark.parametrize("piece_bytes", [7_777, LIMIT_BYTES])
def test_what_is_put_can_be_read(store: ArtifactStore, piece_bytes: int) -> None:
    digest = sha256_digest(DATA)
    assert store.put(digest, in_pieces(DATA, piece_bytes)) is True
    assert store.size_bytes(digest) == len(DATA)
    assert b"".join(store.chunks(digest)) == DATA
    assert store.read(digest, len(DATA)) == DATA


def test_put_again_changes_nothing(store: ArtifactStore) -> None:
    digest = sha256_digest(DATA)
    store.put(digest, [DATA])
    assert store.put(digest, [DATA]) is False
    assert store.read(digest, LIMIT_BYTES) == DATA


def test_empty_artifact(store: ArtifactStore) -> None:
    digest = sha256_digest(b"")
    assert store.put(digest, []) is True
    assert store.read(digest, 0) == b""


def test_other_bytes_than_the_digest_are_refused(store: ArtifactStore) -> None:
    digest = sha256_digest(DATA)
    with pytest.raises(ArtifactDigestMismatch):
        store.put(digest, [DATA[:-1]])
    with pytest.raises(NotFound):
        store.size_bytes(digest)


def test_wrong_bytes_do_not_replace_right_ones(store: ArtifactStore) -> None:
    digest = sha256_digest(DATA)
    store.put(digest, [DATA])
    with pytest.raises(ArtifactDigestMismatch):
        store.put(digest, [b"wrong"])
    assert store.read(digest, LIMIT_BYTES) == DATA


@pytest.mark.parametrize(
    "name", ["", "..", "../../etc/passwd", "0x12", "0x" + "AB" * 32, "0x" + "/" * 64, "\0" * 66]
)
def test_names_that_are_no_digests_are_refused(store: ArtifactStore, name: str) -> None:
    with pytest.raises(ArtifactDigestMismatch):
        store.put(name, [DATA])
    for ask in (store.size_bytes, store.chunks, lambda digest: store.read(digest, 1)):
        with pytest.raises(NotFound):
            ask(name)


def test_larger_than_the_limit_is_refused_before_it_is_all_read(store: ArtifactStore) -> None:
    read_bytes = 0

    def endless() -> Iterator[bytes]:
        nonlocal read_bytes
        while True:
            read_bytes += 1_000
            yield b"x" * 1_000

    with pytest.raises(ArtifactTooLarge):
        store.put(sha256_digest(b"x"), endless())
    assert read_bytes <= LIMIT_BYTES + 1_000
    with pytest.raises(NotFound):
        store.size_bytes(sha256_digest(b"x"))


def test_reading_more_than_asked_for_is_refused(store: ArtifactStore) -> None:
    digest = sha256_digest(DATA)
    store.put(digest, [DATA])
    with pytest.raises(ArtifactTooLarge):
        store.read(digest, len(DATA) - 1)


def test_an_interrupted_upload_leaves_nothing(store: ArtifactStore) -> None:
    digest = sha256_digest(DATA)

    def broken() -> Iterator[bytes]:
        yield DATA[:1_000]
        raise ConnectionError("gone")

    with pytest.raises(ConnectionError):
        store.put(digest, broken())
    with pytest.raises(NotFound):
        store.size_bytes(digest)


def test_missing_is_said_before_the_first_chunk(store: ArtifactStore) -> None:
    with pytest.raises(NotFound):
        store.chunks(sha256_digest(DATA))


def test_many_put_the_same_at_once(store: ArtifactStore) -> None:
    digest = sha256_digest(DATA)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: store.put(digest, in_pieces(DATA, 10_000)), range(16)))
    assert store.read(digest, LIMIT_BYTES) == DATA


def test_the_folder_holds_finished_files_only(tmp_path: Path) -> None:
    store = FolderArtifactStore(tmp_path, LIMIT_BYTES)
    digest = sha256_digest(DATA)
    store.put(digest, [DATA])
    with pytest.raises(ArtifactDigestMismatch):
        store.put(sha256_digest(b"other"), [DATA])
    files = [file.relative_to(tmp_path) for file in tmp_path.rglob("*") if file.is_file()]
    assert files == [Path(digest[2:4]) / digest[2:]]


# --- ranges and pieces


@pytest.mark.parametrize(
    ("start", "stop"), [(0, 0), (0, 1), (5, 5), (255, 300_000), (511_999, None), (7, 10**9)]
)
def test_a_part_can_be_read(store: ArtifactStore, start: int, stop: int | None) -> None:
    digest = sha256_digest(DATA)
    store.put(digest, [DATA])
    assert b"".join(store.chunks(digest, start, stop)) == DATA[start:stop]


def send(
    store: ArtifactStore, start: int, stop: int, uploader: str = "a", data: bytes = DATA
) -> UploadProgress:
    piece = UploadPiece(start, stop, len(data))
    return store.append(sha256_digest(DATA), uploader, piece, in_pieces(data[start:stop], 10_000))


def how_far(store: ArtifactStore, uploader: str = "a") -> UploadProgress:
    return store.append(sha256_digest(DATA), uploader, UploadPiece(None, len(DATA), len(DATA)), [])


def test_pieces_become_an_artifact(store: ArtifactStore) -> None:
    digest = sha256_digest(DATA)
    assert how_far(store) == UploadProgress(0, is_complete=False)
    assert send(store, 0, 1) == UploadProgress(1, is_complete=False)
    assert send(store, 1, 300_000) == UploadProgress(300_000, is_complete=False)
    with pytest.raises(NotFound):
        store.size_bytes(digest)
    done = UploadProgress(len(DATA), is_complete=True, is_new=True)
    assert send(store, 300_000, len(DATA)) == done
    assert store.read(digest, LIMIT_BYTES) == DATA
    assert send(store, 0, 1) == how_far(store) == UploadProgress(len(DATA), is_complete=True)


def test_an_empty_artifact_has_no_pieces(store: ArtifactStore) -> None:
    digest = sha256_digest(b"")
    assert store.append(digest, "a", UploadPiece(None, 0, 0), []) == UploadProgress(
        0, is_complete=True, is_new=True
    )
    assert store.read(digest, 0) == b""


def test_a_broken_piece_is_kept_and_gone_on_with(store: ArtifactStore) -> None:
    def broken() -> Iterator[bytes]:
        yield DATA[:1_000]
        raise ConnectionError("gone")

    with pytest.raises(ConnectionError):
        store.append(sha256_digest(DATA), "a", UploadPiece(0, len(DATA), len(DATA)), broken())
    assert how_far(store) == UploadProgress(1_000, is_complete=False)
    with pytest.raises(WrongOffset):
        send(store, 0, len(DATA))
    with pytest.raises(WrongOffset):
        send(store, 1_001, len(DATA))
    assert send(store, 1_000, len(DATA)).is_complete


def test_uploaders_do_not_disturb_one_another(store: ArtifactStore) -> None:
    send(store, 0, 1_000, "mallory", b"\0" * len(DATA))
    send(store, 0, 2_000, "alice")
    assert how_far(store, "mallory").offset_bytes == 1_000
    assert send(store, 2_000, len(DATA), "alice").is_complete


def test_wrong_pieces_are_noticed_and_forgotten(store: ArtifactStore) -> None:
    send(store, 0, 1_000, data=b"\0" * len(DATA))
    with pytest.raises(ArtifactDigestMismatch):
        send(store, 1_000, len(DATA))
    assert how_far(store).offset_bytes == 0
    with pytest.raises(WrongPieceLength):
        store.append(sha256_digest(DATA), "a", UploadPiece(0, 10, len(DATA)), [b"x" * 11])
    assert how_far(store).offset_bytes == 0
    with pytest.raises(ArtifactTooLarge):
        store.append(sha256_digest(DATA), "a", UploadPiece(0, 1, LIMIT_BYTES + 1), [b"x"])
    with pytest.raises(ArtifactDigestMismatch):
        store.append("../../x", "a", UploadPiece(0, 1, 1), [b"x"])


def test_what_was_not_put_for_long_can_be_listed_and_removed(store: ArtifactStore) -> None:
    digest = sha256_digest(DATA)
    store.put(digest, [DATA])
    assert list(store.untouched_since(NOW - 1_000)) == []
    assert list(store.untouched_since(LATER)) == [StoredFile(digest, len(DATA))]
    assert not store.remove_untouched(digest, NOW - 1_000)
    assert store.size_bytes(digest) == len(DATA)
    assert store.remove_untouched(digest, LATER)
    assert not store.remove_untouched(digest, LATER)
    with pytest.raises(NotFound):
        store.size_bytes(digest)
    other = UploadPiece(0, 1, 2)
    store.append(digest, "a", other, [b"x"])
    assert (store.remove_parts(NOW - 1_000), store.remove_parts(LATER), store.remove_parts(LATER)) == (
        0,
        1,
        0,
    )


# --- the folder alone


def files_in(folder: Path) -> list[Path]:
    return [file for file in folder.rglob("*") if file.is_file()]


def test_one_piece_of_an_upload_at_a_time(tmp_path: Path) -> None:
    store, begun, go_on = FolderArtifactStore(tmp_path, LIMIT_BYTES), Event(), Event()

    def slow() -> Iterator[bytes]:
        yield DATA[:10]
        begun.set()
        assert go_on.wait(60)

    with ThreadPoolExecutor(1) as thread:
        piece = UploadPiece(0, 10, len(DATA))
        first = thread.submit(store.append, sha256_digest(DATA), "a", piece, slow())
        assert begun.wait(60)
        with pytest.raises(UploadUnderWay):
            how_far(store)
        assert how_far(store, "another").offset_bytes == 0
        go_on.set()
        assert first.result(60).offset_bytes == 10
    assert how_far(store).offset_bytes == 10


def test_a_quota_is_never_exceeded_and_nothing_is_left_half_stored(tmp_path: Path) -> None:
    store = FolderArtifactStore(tmp_path, LIMIT_BYTES, quota_bytes=len(DATA) + 100)
    store.put(sha256_digest(DATA), [DATA])
    more = b"y" * 101
    with pytest.raises(StorageFull, match="sweep"):
        store.put(sha256_digest(more), [more])
    with pytest.raises(StorageFull):
        store.put(sha256_digest(more), [more], length_bytes=101)
    with pytest.raises(StorageFull):
        store.append(sha256_digest(more), "a", UploadPiece(0, 50, 101), [more[:50]])
    assert [file.stat().st_size for file in files_in(tmp_path)] == [len(DATA)]
    store.put(sha256_digest(more[:100]), [more[:100]])
    assert store.put(sha256_digest(DATA), [DATA[:-1], DATA[-1:]]) is False


def test_many_uploads_at_once_stay_within_the_quota(tmp_path: Path) -> None:
    store = FolderArtifactStore(tmp_path, LIMIT_BYTES, quota_bytes=100_000)

    def put(number: int) -> None:
        data = bytes([number]) * 20_000
        with suppress(StorageFull):
            store.put(sha256_digest(data), in_pieces(data, 1_000))

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(put, range(16)))
    stored = files_in(tmp_path)
    assert stored
    assert sum(file.stat().st_size for file in stored) <= 100_000
    assert not any("incoming" in file.parts for file in stored)


def test_the_disk_keeps_its_reserve(tmp_path: Path) -> None:
    (tmp_path / "incoming").mkdir()
    store = FolderArtifactStore(tmp_path, LIMIT_BYTES, reserve_bytes=1 << 62)
    with pytest.raises(StorageFull, match="must stay free"):
        store.put(sha256_digest(DATA), [DATA])
    assert files_in(tmp_path) == []


@contextmanager
def largest_file(size_bytes: int) -> Iterator[None]:
    """The kernel refuses to write more into one file, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_takes_no_more_is_full_and_nothing_is_left(tmp_path: Path) -> None:
    store = FolderArtifactStore(tmp_path, LIMIT_BYTES)
    with largest_file(300_000):
        with pytest.raises(StorageFull):
            store.put(sha256_digest(DATA), in_pieces(DATA, 70_000))
        assert files_in(tmp_path) == []
        send(store, 0, 200_000)
        with pytest.raises(StorageFull):
            send(store, 200_000, len(DATA))
        assert files_in(tmp_path) == []
    assert send(store, 0, len(DATA)).is_complete


def test_an_artifact_that_is_put_while_it_is_removed_stays(tmp_path: Path) -> None:
    store, digest = FolderArtifactStore(tmp_path, LIMIT_BYTES), sha256_digest(DATA)
    store.put(digest, [DATA])
    (file,) = files_in(tmp_path)
    os.utime(file, (0, 0))
    assert list(store.untouched_since(NOW)) == [StoredFile(digest, len(DATA))]
    store.put(digest, [DATA])
    assert not store.remove_untouched(digest, NOW)
    assert store.read(digest, LIMIT_BYTES) == DATA
    assert files_in(tmp_path) == [file]
