"""Artifacts as files named by their SHA-256, in sub-folders by the first two digits.

A file appears under its name only when it is complete, checked and on disk: it is written under a temporary
name, synced and renamed, so that a crash leaves a stray temporary file at worst.
"""

import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from contracts.digests import is_digest
from orchestrator.domain.errors import ArtifactDigestMismatch, NotFound, Unavailable
from orchestrator.domain.figures import StoreUsage
from orchestrator.domain.ports import ArtifactTooLarge

_CHUNK_BYTES = 1 << 18
_PARTS = "incoming"


class FolderArtifactStore:
    """``ArtifactStore`` in one folder."""

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self._folder = folder
        self._limit_bytes = limit_bytes

    def put(self, digest: str, chunks: Iterable[bytes]) -> bool:
        """Store the bytes under their digest; True when they were not there before.

        Raises:
            ArtifactDigestMismatch: the bytes have another digest, or the name is none; nothing is stored.
            ArtifactTooLarge: more bytes than the limit; nothing is stored.
        """
        path = self._path(digest)
        if path is None:
            raise ArtifactDigestMismatch(f"{digest[:80]!r} is not a digest: 0x and 64 lower-case hex digits")
        return self._store(path, digest, chunks)

    def size_bytes(self, digest: str) -> int:
        """The artifact's size. Raises NotFound."""
        path = self._path(digest)
        try:
            if path is not None:
                return path.stat().st_size
        except FileNotFoundError:
            pass
        raise NotFound(f"artifact {digest[:80]} is not stored")

    def chunks(self, digest: str) -> Iterator[bytes]:
        """The artifact's bytes in order. Raises NotFound, before the first chunk."""
        self.size_bytes(digest)
        return self._read_chunks(digest)

    def read(self, digest: str, limit_bytes: int) -> bytes:
        """The whole artifact. Raises NotFound, or ArtifactTooLarge when it is larger than the limit."""
        size_bytes = self.size_bytes(digest)
        if size_bytes > limit_bytes:
            raise ArtifactTooLarge(
                f"artifact {digest} has {size_bytes} bytes, at most {limit_bytes} are expected"
            )
        return b"".join(self._read_chunks(digest))

    def usage(self) -> StoreUsage:
        """How much is stored; what is still coming in is not counted. Raises Unavailable."""
        artifacts = size_bytes = 0
        with _disk_errors():
            for folder in self._folder.iterdir() if self._folder.exists() else ():
                if folder.name == _PARTS or not folder.is_dir():
                    continue
                with os.scandir(folder) as files:
                    for file in files:
                        artifacts += 1
                        size_bytes += file.stat().st_size
        return StoreUsage(artifacts, size_bytes)

    def _store(self, path: Path, digest: str, chunks: Iterable[bytes]) -> bool:
        with _disk_errors():
            incoming = self._folder / _PARTS
            incoming.mkdir(parents=True, exist_ok=True)
            descriptor, temporary = tempfile.mkstemp(dir=incoming)
        try:
            with os.fdopen(descriptor, "wb") as file:
                # Errors of the chunks' source are not the disk's.
                for chunk in self._checked(digest, chunks):
                    with _disk_errors():
                        file.write(chunk)
                with _disk_errors():
                    file.flush()
                    os.fsync(file.fileno())
            with _disk_errors():
                return _publish(Path(temporary), path)
        finally:
            Path(temporary).unlink(missing_ok=True)

    def _checked(self, digest: str, chunks: Iterable[bytes]) -> Iterator[bytes]:
        sha256, size_bytes = hashlib.sha256(), 0
        for chunk in chunks:
            size_bytes += len(chunk)
            if size_bytes > self._limit_bytes:
                raise ArtifactTooLarge(f"an artifact has at most {self._limit_bytes} bytes")
            sha256.update(chunk)
            yield chunk
        if "0x" + sha256.hexdigest() != digest:
            raise ArtifactDigestMismatch(f"the bytes have the SHA-256 0x{sha256.hexdigest()}, not {digest}")

    def _read_chunks(self, digest: str) -> Iterator[bytes]:
        path = self._path(digest)
        assert path is not None, "the caller has found the artifact"
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                yield chunk

    def _path(self, digest: str) -> Path | None:
        if not is_digest(digest):
            return None
        return self._folder / digest[2:4] / digest[2:]


def _publish(temporary: Path, path: Path) -> bool:
    """Give a finished file its name; False when the name is taken, then by the same bytes."""
    if path.exists():
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    os.replace(temporary, path)
    _sync_folder(path.parent)
    return True


@contextmanager
def _disk_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unavailable(f"the artifact store does not work: {error.strerror}") from error


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
