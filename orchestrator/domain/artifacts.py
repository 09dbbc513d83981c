"""Artifacts: what a store of them takes, gives and refuses."""

from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from orchestrator.domain.errors import Conflict, OrchestratorError, Unacceptable
from orchestrator.domain.figures import StoreUsage


class ArtifactTooLarge(OrchestratorError):
    """The artifact is larger than the store's limit."""

    code = "too_large"


class StorageFull(OrchestratorError):
    """The store's quota is used up, or its disk is full."""

    code = "storage_full"


class WrongOffset(Conflict):
    """The piece does not begin where the upload stands."""

    code = "wrong_offset"


class UploadUnderWay(Conflict):
    """Another piece of the same upload is being received."""

    code = "upload_under_way"


class WrongPieceLength(Unacceptable):
    """The body has not the length that the piece said."""

    code = "wrong_piece_length"


@dataclass(frozen=True)
class UploadPiece:
    """Bytes ``begins_at`` to ``ends_before`` of an artifact; ``begins_at`` None asks how far it is."""

    begins_at: int | None
    ends_before: int
    total_bytes: int

    @property
    def most_bytes(self) -> int:
        """How many bytes come with it."""
        return 0 if self.begins_at is None else self.ends_before - self.begins_at


@dataclass(frozen=True)
class UploadProgress:
    """How far an upload is; complete means that the artifact is stored, new that it was not before."""

    offset_bytes: int
    is_complete: bool
    is_new: bool = False


@dataclass(frozen=True)
class StoredFile:
    """An artifact as the store lists it."""

    digest: str
    size_bytes: int


class ArtifactStore(Protocol):
    """Bytes under their own SHA-256; what is stored never changes."""

    def put(self, digest: str, chunks: Iterable[bytes], length_bytes: int | None = None) -> bool:
        """Store the bytes under their digest; True when they were not there before.

        ``length_bytes`` says how many will come, where that is known.

        Raises:
            ArtifactDigestMismatch: the bytes have another digest, or the name is none; nothing is stored.
            ArtifactTooLarge: more bytes than the limit; nothing is stored.
            StorageFull: there is no room for them; nothing is stored.
        """

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

    def size_bytes(self, digest: str) -> int:
        """The artifact's size.

        Raises:
            NotFound: it is not stored.
        """

    def chunks(self, digest: str, start: int = 0, stop: int | None = None) -> Generator[bytes]:
        """The artifact's bytes in order, from ``start`` to ``stop``; NotFound before the first chunk."""

    def read(self, digest: str, limit_bytes: int) -> bytes:
        """The whole artifact; NotFound as above, ArtifactTooLarge when it is larger than the limit."""

    def usage(self) -> StoreUsage:
        """How much is stored; what is still coming in is not counted. Raises Unavailable."""

    def untouched_since(self, unix_s: int) -> Iterator[StoredFile]:
        """The artifacts that nobody has put since a time, by digest."""

    def remove_untouched(self, digest: str, unix_s: int) -> bool:
        """Remove an artifact, unless somebody has put it since a time; whether it is gone."""

    def put_back(self) -> None:
        """Give back what a ``remove_untouched`` had in hand when its process died; none may be at work."""

    def remove_parts(self, unix_s: int) -> int:
        """Remove what unfinished uploads have left, if nothing came since a time; how many."""
