"""Figures of operation: how much there is of what, and how old it is. For metrics, not for decisions."""

from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.domain.witnesses import Verdict


@dataclass(frozen=True)
class Backlog:
    """The outbox's intents of one status; ``oldest_unix_s`` is when the oldest was queued."""

    status: str
    intents: int
    oldest_unix_s: int


@dataclass(frozen=True)
class StoreUsage:
    """What the artifact store holds."""

    artifacts: int
    size_bytes: int


@dataclass(frozen=True)
class HubFigures:
    """One look at everything that the records and the store know; what there is none of is left out."""

    rounds_by_phase: Mapping[str, int]
    tasks_by_status: Mapping[str, int]
    outbox: tuple[Backlog, ...]
    gas_by_kind: Mapping[str, int]
    webhook_deliveries: Mapping[str, int]
    endpoints: tuple[Verdict, ...]
    indexed_block: int | None
    indexed_block_unix_s: int | None
    now_unix_s: int
