"""Artifacts in and out; most may have only what the chain has made public."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from orchestrator.domain import permissions
from orchestrator.domain.errors import NotPublicYet
from orchestrator.domain.identity import Principal
from orchestrator.domain.ports import ArtifactStore, Records


@dataclass(frozen=True)
class StoredArtifact:
    """An artifact to be sent: its size and its bytes."""

    size_bytes: int
    chunks: Iterator[bytes]


@dataclass(frozen=True)
class ArtifactService:
    """The store behind the API."""

    records: Records
    artifacts: ArtifactStore

    def put(self, digest: str, chunks: Iterable[bytes]) -> bool:
        """Store bytes under their digest; True when they are new. Errors as ``ArtifactStore.put``."""
        is_new = self.artifacts.put(digest, chunks)
        if is_new:
            with self.records.write() as unit:
                unit.note_change()
        return is_new

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
        return StoredArtifact(self.artifacts.size_bytes(digest), self.artifacts.chunks(digest))
