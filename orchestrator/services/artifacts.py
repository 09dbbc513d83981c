"""Artifacts in and out; most may have only what the chain has made public."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from orchestrator.domain import permissions
from orchestrator.domain.artifacts import ArtifactStore, UploadPiece, UploadProgress
from orchestrator.domain.errors import NotPublicYet
from orchestrator.domain.identity import Principal
from orchestrator.domain.ports import Records

UPLOAD = "put_artifact"
"""The operation that the audit log has for an artifact's arrival."""


@dataclass(frozen=True)
class StoredArtifact:
    """An artifact to be sent."""

    digest: str
    size_bytes: int
    store: ArtifactStore

    def chunks(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """Its bytes, or a part of them."""
        return self.store.chunks(self.digest, start, stop)


@dataclass(frozen=True)
class ArtifactService:
    """The store behind the API."""

    records: Records
    artifacts: ArtifactStore

    def put(self, digest: str, chunks: Iterable[bytes], length_bytes: int | None = None) -> bool:
        """Store bytes under their digest; True when they are new. Errors as ``ArtifactStore.put``."""
        is_new = self.artifacts.put(digest, chunks, length_bytes)
        self._note(digest, is_new=is_new)
        return is_new

    def append(
        self, digest: str, principal: Principal, piece: UploadPiece, chunks: Iterable[bytes]
    ) -> UploadProgress:
        """Add a piece to what the principal has sent. Errors as ``ArtifactStore.append``."""
        progress = self.artifacts.append(digest, principal.key, piece, chunks)
        if progress.is_complete:
            self._note(digest, is_new=progress.is_new)
        return progress

    def _note(self, digest: str, *, is_new: bool) -> None:
        """Have the audit log say that an artifact is there now.

        Also of one that is there already when the log does not say so: whoever stored it died before.
        """
        if not is_new:
            with self.records.read() as unit:
                if unit.audit.tells_of(UPLOAD, digest):
                    return
        with self.records.write() as unit:
            unit.note_change()

    def open(self, digest: str, principal: Principal) -> StoredArtifact:
        """An artifact for whoever asks.

        Raises:
            NotPublicYet: the chain has not made it public, and the caller is no conductor.
            NotFound: it is not stored.
        """
        if not permissions.may(principal, "get_unpublished_artifact"):
            with self.records.read() as unit:
                is_public = unit.projection.digest_is_public(digest)
            if not is_public:
                # Said for unknown digests too: what is stored is nobody's business before it is public.
                raise NotPublicYet("this artifact is not public: no closed proposal phase names it")
        return StoredArtifact(digest, self.artifacts.size_bytes(digest), self.artifacts)
