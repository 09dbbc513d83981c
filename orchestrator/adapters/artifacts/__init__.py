"""The content-addressed artifact store of ``orchestrator.domain.ports``, in a local folder."""

from orchestrator.adapters.artifacts.folder import FolderArtifactStore

__all__ = ["FolderArtifactStore"]
