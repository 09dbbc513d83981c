"""One behaviour for every artifact store: the folder, and the double that tests of services use."""

import hashlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from contracts.digests import is_digest, sha256_digest
from orchestrator.adapters.artifacts import FolderArtifactStore
from orchestrator.domain.errors import ArtifactDigestMismatch, NotFound
from orchestrator.domain.ports import ArtifactStore, ArtifactTooLarge

LIMIT_BYTES = 1_000_000
DATA = bytes(range(256)) * 2_000


class MemoryArtifactStore:
    """``ArtifactStore`` in memory."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._stored: dict[str, bytes] = {}

    def put(self, digest: str, chunks: Iterable[bytes]) -> bool:
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

    def chunks(self, digest: str) -> Iterator[bytes]:
        return iter([self._data(digest)])

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
