"""What the ledger's page is made from, read in one unit so that its panels agree with one another."""

from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.domain.outbox import Intent, IntentStatus
from orchestrator.domain.pages import NEWEST, Page
from orchestrator.domain.ports import Clock, Records
from orchestrator.domain.state import NodeState, SlashState, SlashStatus
from orchestrator.services.queries import final_block

TRANSACTIONS_ON_A_PAGE = 50
_SETTLED_FAULTS = 20


@dataclass(frozen=True)
class LedgerFacts:
    """The hub's transactions from some place on, newest first; the newest faults; every node's account.

    ``older`` is where the next page of transactions begins, None at the oldest. All faults in appeal are
    there, and of the others the newest.
    """

    transactions: tuple[Intent, ...]
    older: int | None
    faults: tuple[SlashState, ...]
    nodes: tuple[NodeState, ...]
    names: Mapping[str, str]
    final_block: int
    now_unix_s: int


@dataclass(frozen=True)
class LedgerFactsService:
    """Reads the ledger."""

    records: Records
    clock: Clock

    def read(self, before: int | None = None, status: IntentStatus | None = None) -> LedgerFacts:
        """The ledger, with the transactions older than ``before`` and in one status, if wanted."""
        start = NEWEST if before is None else before
        with self.records.read() as unit:
            found = unit.outbox.newest_before(start, TRANSACTIONS_ON_A_PAGE + 1, status=status, task=None)
            page = Page.of(found, TRANSACTIONS_ON_A_PAGE, lambda intent: (intent.id,))
            return LedgerFacts(
                transactions=tuple(page.items),
                older=None if page.next_key is None else int(page.next_key[0]),
                faults=_shown(unit.projection.slashes()),
                nodes=tuple(unit.projection.nodes()),
                names=unit.names.names(),
                final_block=final_block(unit),
                now_unix_s=self.clock.now_unix_s(),
            )


def _shown(slashes: list[SlashState]) -> tuple[SlashState, ...]:
    """Those in appeal, and then the newest of the others; each newest first."""
    newest_first = sorted(slashes, key=lambda slash: -slash.slash)
    pending = [slash for slash in newest_first if slash.status is SlashStatus.PENDING]
    settled = [slash for slash in newest_first if slash.status is not SlashStatus.PENDING]
    return (*pending, *settled[:_SETTLED_FAULTS])
