"""Closes epochs of the audit log and has the Merkle root of each put on chain.

Epochs go one after the other: the next is closed when the one before is on chain, because the contract takes
them only in order.
"""

from dataclasses import dataclass

from contracts.audit import epoch_root
from orchestrator.domain.audit import AuditEpoch
from orchestrator.domain.chain import AnchorEpoch
from orchestrator.domain.outbox import Intent
from orchestrator.domain.ports import Clock, Records, Unit
from orchestrator.domain.reconciler import may_ask_again
from orchestrator.services.outbox import enqueue


@dataclass(frozen=True)
class AuditAnchoring:
    """An epoch ends after ``epoch_s`` or ``epoch_rows``, whichever comes first, when it has rows."""

    records: Records
    clock: Clock
    epoch_s: int
    epoch_rows: int

    def run_once(self) -> Intent | None:
        """Close the epoch that is due, if one is, and have its root put on chain; or ask for it again."""
        now_unix_s = self.clock.now_unix_s()
        with self.records.read() as unit:
            last = unit.audit.last_epoch()
            if last is not None and not _is_anchored(unit, last):
                return self._ask_again(last, now_unix_s)
            epoch = self._due(unit, last, now_unix_s)
        if epoch is None:
            return None
        with self.records.write() as unit:
            if unit.audit.last_epoch() != last:
                return None  # another worker was faster
            unit.audit.add_epoch(epoch)
            return enqueue(unit, _key(epoch), _call(epoch), now_unix_s)

    def _due(self, unit: Unit, last: AuditEpoch | None, now_unix_s: int) -> AuditEpoch | None:
        newest = unit.audit.last()
        first = 1 if last is None else last.last + 1
        if newest is None or newest.number < first:
            return None
        until = min(newest.number, first + self.epoch_rows - 1)
        is_full = until - first + 1 >= self.epoch_rows
        if not is_full and now_unix_s < next(unit.audit.rows(first, first)).time_unix_s + self.epoch_s:
            return None
        # Rows never change, so that this may be computed before the write lock is taken.
        return AuditEpoch(first, until, epoch_root(list(unit.audit.rows(first, until))), now_unix_s)

    def _ask_again(self, epoch: AuditEpoch, now_unix_s: int) -> Intent | None:
        with self.records.write() as unit:
            intent = unit.outbox.by_key(_key(epoch))
            if intent is None or may_ask_again(intent, now_unix_s):
                return enqueue(unit, _key(epoch), _call(epoch), now_unix_s)
        return None


def _is_anchored(unit: Unit, epoch: AuditEpoch) -> bool:
    intent = unit.outbox.by_key(_key(epoch))
    return intent is not None and intent.is_on_chain


def _key(epoch: AuditEpoch) -> str:
    return f"anchor:{epoch.first}"


def _call(epoch: AuditEpoch) -> AnchorEpoch:
    return AnchorEpoch(epoch.root, epoch.first, epoch.last)
