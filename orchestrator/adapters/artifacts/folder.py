"""Artifacts as files named by their SHA-256, in sub-folders by the first two digits.

A file appears under its name only when it is complete, checked and on disk: it is written under a temporary
name, synced and renamed, so that a crash leaves a stray temporary file at worst. What an upload in pieces has
sent so far lies beside the temporary files, one file for each uploader and digest.
"""

import errno
import fcntl
import hashlib
import os
import tempfile
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path

from contracts.digests import is_digest
from orchestrator.adapters.artifacts.space import Space
from orchestrator.domain.artifacts import (
    ArtifactTooLarge,
    StorageFull,
    StoredFile,
    UploadPiece,
    UploadProgress,
    UploadUnderWay,
    WrongOffset,
    WrongPieceLength,
)
from orchestrator.domain.errors import ArtifactDigestMismatch, NotFound, Unavailable
from orchestrator.domain.figures import StoreUsage

_CHUNK_BYTES = 1 << 20
_PARTS = "incoming"
_SET_ASIDE = ".removed"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class FolderArtifactStore:
    """``ArtifactStore`` in one folder.

    ``quota_bytes`` bounds all files together; ``reserve_bytes`` of the disk stay free.
    """

    def __init__(
        self, folder: Path, limit_bytes: int, *, quota_bytes: int | None = None, reserve_bytes: int = 0
    ) -> None:
        self._folder = folder
        self._limit_bytes = limit_bytes
        self._space = Space(folder, quota_bytes, reserve_bytes)

    def put(self, digest: str, chunks: Iterable[bytes], length_bytes: int | None = None) -> bool:
        """Store the bytes under their digest; True when they were not there before.

        Raises:
            ArtifactDigestMismatch: the bytes have another digest, or the name is none; nothing is stored.
            ArtifactTooLarge: more bytes than the limit; nothing is stored.
            StorageFull: there is no room for them; nothing is stored.
        """
        path = self._required_path(digest)
        self._require_room(length_bytes or 0)
        with _disk_errors():
            descriptor, temporary = tempfile.mkstemp(dir=self._parts_folder())
        try:
            with os.fdopen(descriptor, "wb", buffering=0) as file:
                sha256 = hashlib.sha256()
                self._write(file, chunks, self._limit_bytes, sha256)
                _check_digest(sha256, digest)
            return self._publish(Path(temporary), path)
        finally:
            Path(temporary).unlink(missing_ok=True)

    def append(
        self, digest: str, uploader: str, piece: UploadPiece, chunks: Iterable[bytes]
    ) -> UploadProgress:
        """Add a piece to what an uploader has sent of an artifact; the last piece stores it.

        What arrived of a piece is kept when its source fails, so that the upload can go on from there.

        Raises:
            WrongOffset: the piece does not begin where the upload stands; nothing is added.
            WrongPieceLength: more bytes than the piece said; what was sent so far is forgotten.
            UploadUnderWay: the uploader is sending another piece at this moment.
            ArtifactDigestMismatch, ArtifactTooLarge, StorageFull: as ``put``; what was sent so far is
                forgotten.
        """
        path = self._required_path(digest)
        if piece.total_bytes > self._limit_bytes:
            raise ArtifactTooLarge(f"an artifact has at most {self._limit_bytes} bytes")
        if _touch(path):
            return UploadProgress(piece.total_bytes, is_complete=True)
        with self._part_of(digest, uploader) as (part, file):
            offset_bytes = file.seek(0, os.SEEK_END)
            if piece.begins_at is not None and piece.begins_at != offset_bytes:
                raise WrongOffset(f"{offset_bytes} bytes were uploaded so far; go on from there")
            try:
                self._require_room(piece.total_bytes - offset_bytes)
                self._write(file, chunks, piece.most_bytes, None)
                if file.tell() < piece.total_bytes:
                    return UploadProgress(file.tell(), is_complete=False)
                _check_digest(_sha256_of(file), digest)
                is_new = self._publish(part, path)
            except (WrongPieceLength, ArtifactDigestMismatch, StorageFull):
                part.unlink(missing_ok=True)
                raise
        return UploadProgress(piece.total_bytes, is_complete=True, is_new=is_new)

    def size_bytes(self, digest: str) -> int:
        """The artifact's size. Raises NotFound."""
        path = self._path(digest)
        try:
            if path is not None:
                return path.stat().st_size
        except FileNotFoundError:
            pass
        raise NotFound(f"artifact {digest[:80]} is not stored")

    def chunks(self, digest: str, start: int = 0, stop: int | None = None) -> Generator[bytes]:
        """The bytes in order, from ``start`` to ``stop``. Raises NotFound, before the first chunk."""
        size_bytes = self.size_bytes(digest)
        return self._read_chunks(digest, start, size_bytes if stop is None else min(stop, size_bytes))

    def read(self, digest: str, limit_bytes: int) -> bytes:
        """The whole artifact. Raises NotFound, or ArtifactTooLarge when it is larger than the limit."""
        size_bytes = self.size_bytes(digest)
        if size_bytes > limit_bytes:
            raise ArtifactTooLarge(
                f"artifact {digest} has {size_bytes} bytes, at most {limit_bytes} are expected"
            )
        return b"".join(self._read_chunks(digest, 0, size_bytes))

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

    def untouched_since(self, unix_s: int) -> Iterator[StoredFile]:
        """The artifacts that nobody has put since a time, by digest."""
        for folder in sorted(self._folder.glob("[0-9a-f][0-9a-f]")):
            for file in sorted(folder.iterdir()):
                with suppress(FileNotFoundError):
                    status = file.stat()
                    if status.st_mtime < unix_s:
                        yield StoredFile("0x" + file.name, status.st_size)

    def remove_untouched(self, digest: str, unix_s: int) -> bool:
        """Remove an artifact, unless somebody has put it since a time; whether it is gone."""
        path = self._required_path(digest)
        # Set aside first: whoever puts it from now on stores it anew, whoever did before is seen by the time.
        aside = self._parts_folder() / f"{path.name}{_SET_ASIDE}"
        try:
            path.rename(aside)
        except FileNotFoundError:
            return False
        if aside.stat().st_mtime >= unix_s:
            _give_back(aside, path)
            return False
        aside.unlink()
        return True

    def put_back(self) -> None:
        """Give back what a ``remove_untouched`` had in hand when its process died; none may be at work."""
        for aside in self._parts_folder().glob(f"*{_SET_ASIDE}"):
            _give_back(aside, self._required_path("0x" + aside.name.removesuffix(_SET_ASIDE)))

    def remove_parts(self, unix_s: int) -> int:
        """Remove what unfinished uploads have left, if nothing came since a time; how many."""
        removed = 0
        for file in self._parts_folder().iterdir():
            with suppress(FileNotFoundError):
                if file.stat().st_mtime < unix_s:
                    file.unlink()
                    removed += 1
        return removed

    def _require_room(self, more_bytes: int) -> None:
        with _disk_errors():
            self._space.require(more_bytes)

    def _write(
        self, file: FileIO, chunks: Iterable[bytes], most_bytes: int, sha256: "hashlib._Hash | None"
    ) -> None:
        """Write the chunks and bring them to the disk; also those that came before their source failed."""
        written_bytes = checked_bytes = 0
        try:
            # Errors of the chunks' source are not the disk's.
            for chunk in chunks:
                written_bytes += len(chunk)
                if written_bytes > most_bytes:
                    raise _too_many(most_bytes, self._limit_bytes)
                if sha256 is not None:
                    sha256.update(chunk)
                _write_whole(file, chunk)
                if written_bytes - checked_bytes >= Space.CHECK_EVERY_BYTES:
                    checked_bytes = written_bytes
                    self._require_room(0)
        finally:
            with _disk_errors():
                os.fsync(file.fileno())

    @contextmanager
    def _part_of(self, digest: str, uploader: str) -> Iterator[tuple[Path, FileIO]]:
        """The uploader's file for a digest, for one caller alone; the lock ends with its process."""
        owner = hashlib.sha256(uploader.encode()).hexdigest()[:16]
        part = self._parts_folder() / f"{digest[2:]}.{owner}.part"
        with _disk_errors():
            file = open(part, "a+b", buffering=0)  # noqa: SIM115 (closed below)
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                is_current = part.exists() and part.stat().st_ino == os.fstat(file.fileno()).st_ino
            except OSError:
                is_current = False
            if not is_current:
                raise UploadUnderWay("another piece of this upload is on its way; ask again when it is done")
            yield part, file

    def _read_chunks(self, digest: str, start: int, stop: int) -> Generator[bytes]:
        with self._required_path(digest).open("rb") as file:
            file.seek(start)
            left_bytes = stop - start
            while left_bytes > 0 and (chunk := file.read(min(_CHUNK_BYTES, left_bytes))):
                left_bytes -= len(chunk)
                yield chunk

    def _publish(self, temporary: Path, path: Path) -> bool:
        """Give a finished file its name; False when the name is taken, then by the same bytes."""
        if _touch(path):
            temporary.unlink(missing_ok=True)
            return False
        self._require_room(0)
        _give_name(temporary, path)
        return True

    def _parts_folder(self) -> Path:
        folder = self._folder / _PARTS
        with _disk_errors():
            folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _required_path(self, digest: str) -> Path:
        path = self._path(digest)
        if path is None:
            raise ArtifactDigestMismatch(f"{digest[:80]!r} is not a digest: 0x and 64 lower-case hex digits")
        return path

    def _path(self, digest: str) -> Path | None:
        if not is_digest(digest):
            return None
        return self._folder / digest[2:4] / digest[2:]


def _too_many(most_bytes: int, limit_bytes: int) -> ArtifactTooLarge | WrongPieceLength:
    if most_bytes == limit_bytes:
        return ArtifactTooLarge(f"an artifact has at most {limit_bytes} bytes")
    return WrongPieceLength(f"the piece has more than the {most_bytes} bytes that it said")


def _write_whole(file: FileIO, chunk: bytes) -> None:
    # Not buffered: what a full disk refuses is known at once, and not when the file is closed.
    left = memoryview(chunk)
    while left:
        with _disk_errors():
            left = left[file.write(left) :]


def _check_digest(sha256: "hashlib._Hash", digest: str) -> None:
    if "0x" + sha256.hexdigest() != digest:
        raise ArtifactDigestMismatch(f"the bytes have the SHA-256 0x{sha256.hexdigest()}, not {digest}")


def _sha256_of(file: FileIO) -> "hashlib._Hash":
    file.seek(0)
    return hashlib.file_digest(file, "sha256")


def _give_name(file: Path, path: Path) -> None:
    with _disk_errors():
        path.parent.mkdir(parents=True, exist_ok=True)
        os.replace(file, path)
        _sync_folder(path.parent)


def _give_back(aside: Path, path: Path) -> None:
    """Undo that an artifact was set aside, also on a full disk; somebody may have stored it anew."""
    if _touch(path):
        aside.unlink(missing_ok=True)
    else:
        _give_name(aside, path)


def _touch(path: Path) -> bool:
    """Mark a stored file as wanted today; False when it is not stored."""
    try:
        os.utime(path)
    except FileNotFoundError:
        return False
    return True


@contextmanager
def _disk_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StorageFull("the artifact store's disk is full; nothing was stored") from error
        raise Unavailable(f"the artifact store does not work: {error.strerror}") from error


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
