"""Retention: artifacts that nothing names are removed after a while.

What the chain, an order, an intent or an evaluation names is never removed. An artifact that nothing names
was uploaded for a proposal that was never made, or for a task that was never ordered. Each that is removed
leaves a row in the audit log.
"""

from dataclasses import dataclass

from orchestrator.domain.artifacts import ArtifactStore, StoredFile
from orchestrator.domain.errors import Conflict
from orchestrator.domain.ports import Clock, Records, Unit
from orchestrator.services.audit import Attempt, Deed
from orchestrator.services.correlation import new_correlation_id

UNFINISHED_KEPT_S = 24 * 3600
"""An upload that was begun can be gone on with for a day."""
_NEWEST_BLOCK_S = 24 * 3600
REMOVAL = "remove_artifact"
"""The operation that the audit log has for an artifact's end."""


class ChainNotCurrent(Conflict):
    """What the chain names is not known well enough to remove anything."""

    code = "chain_not_current"


@dataclass(frozen=True)
class Swept:
    """What was removed, or would be."""

    artifacts: tuple[StoredFile, ...]
    unfinished_uploads: int

    @property
    def freed_bytes(self) -> int:
        """The artifacts' bytes."""
        return sum(each.size_bytes for each in self.artifacts)


@dataclass(frozen=True)
class RetentionService:
    """Removes what nothing names and nobody has uploaded for ``kept_s``."""

    records: Records
    artifacts: ArtifactStore
    clock: Clock
    kept_s: int

    def sweep(self, *, only_look: bool = False) -> Swept:
        """Remove them; with ``only_look``, say what would be removed.

        Raises:
            ChainNotCurrent: the worker has not read the chain of the last day.
        """
        now_unix_s = self.clock.now_unix_s()
        self._require_current_chain(now_unix_s)
        before_unix_s = now_unix_s - self.kept_s
        if not only_look:
            # Inside a writing unit: no other sweep is at work.
            with self.records.write():
                self.artifacts.put_back()
        unnamed = tuple(
            each for each in self.artifacts.untouched_since(before_unix_s) if not self._is_named(each.digest)
        )
        if only_look:
            return Swept(unnamed, 0)
        removed = tuple(each for each in unnamed if self._remove(each.digest, before_unix_s))
        return Swept(removed, self.artifacts.remove_parts(now_unix_s - UNFINISHED_KEPT_S))

    def _require_current_chain(self, now_unix_s: int) -> None:
        """While the projection is built anew, it names less than the chain does."""
        with self.records.read() as unit:
            last = unit.projection.last_block()
        if last is None or last.timestamp_unix_s < now_unix_s - _NEWEST_BLOCK_S:
            raise ChainNotCurrent(
                "the worker has not read a block of the last 24 hours, so nothing is removed; is it running?"
            )

    def _is_named(self, digest: str) -> bool:
        with self.records.read() as unit:
            return is_named(unit, digest)

    def _remove(self, digest: str, before_unix_s: int) -> bool:
        # Inside a writing unit: nobody can record a name for it meanwhile.
        with self.records.write() as unit:
            if is_named(unit, digest) or not self.artifacts.remove_untouched(digest, before_unix_s):
                return False
            deed = Deed(REMOVAL, new_correlation_id(), body_digest=digest)
            attempt = Attempt(lambda: deed, principal="retention", role="host")
            unit.audit.append(attempt.entry("done", self.clock.now_unix_s()))
        return True


def is_named(unit: Unit, digest: str) -> bool:
    """Whether anything that is recorded names an artifact."""
    return (
        unit.projection.digest_is_named(digest)
        or unit.orders.by_spec(digest) is not None
        or unit.outbox.names_digest(digest)
        or unit.evaluations.names_digest(digest)
    )
