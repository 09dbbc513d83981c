"""What Prometheus is told: requests of this process, and figures of the records and the store at each scrape.

Labels come from closed sets (operations, phases, statuses, kinds), so that no request can make up a series.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from contracts.phase import Phase
from orchestrator.domain.errors import OrchestratorError
from orchestrator.domain.figures import HubFigures
from orchestrator.domain.outbox import IntentStatus
from orchestrator.domain.webhooks import DeliveryStatus
from orchestrator.domain.witnesses import Verdict
from orchestrator.services.bundle import Services

MEDIA_TYPE = CONTENT_TYPE_LATEST
_LATENCY_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_SETTLED = (IntentStatus.MINED, IntentStatus.FINAL, IntentStatus.REFUSED)


class Metrics:
    """One process's registry."""

    def __init__(self, services: Services) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "collegium_http_requests",
            "Requests answered, by operation and class of the status.",
            ("operation", "status"),
            registry=self.registry,
        )
        self.latency_s = Histogram(
            "collegium_http_request_seconds",
            "Time from a request to the beginning of its answer.",
            ("operation",),
            buckets=_LATENCY_S,
            registry=self.registry,
        )
        ProcessCollector(registry=self.registry)
        self.registry.register(_HubCollector(services))

    def text(self) -> bytes:
        """Everything in the text format."""
        return generate_latest(self.registry)


class _HubCollector(Collector):
    """Reads the hub's figures at each scrape; the database may be down then, which is a figure too."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def describe(self) -> Iterable[Metric]:
        """Nothing, so that registering does not read the database."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """The metrics of one scrape."""
        yield _gauge("collegium_event_followers", "Listeners to the stream.", self._services.feed.followers)
        figures = _or_none(self._services.figures.hub)
        yield _gauge("collegium_database_up", "Whether the records can be read.", int(figures is not None))
        if figures is not None:
            yield from _of_records(figures)
        usage = _or_none(self._services.figures.store)
        yield _gauge("collegium_artifact_store_up", "Whether the store can be read.", int(usage is not None))
        if usage is not None:
            yield _gauge("collegium_artifacts", "Artifacts in the store.", usage.artifacts)
            yield _gauge("collegium_artifacts_bytes", "Bytes of artifacts in the store.", usage.size_bytes)


def _of_records(figures: HubFigures) -> Iterator[Metric]:
    phases = dict.fromkeys((phase.label for phase in Phase if phase is not Phase.NONE), 0)
    yield _labelled("collegium_rounds", "Rounds by phase.", "phase", phases | dict(figures.rounds_by_phase))
    yield _labelled("collegium_tasks", "Tasks by status.", "status", dict(figures.tasks_by_status))
    depth = dict.fromkeys(map(str, IntentStatus), 0)
    depth |= {each.status: each.intents for each in figures.outbox}
    yield _labelled("collegium_outbox_intents", "Intents by status.", "status", depth)
    age_s = dict.fromkeys((str(status) for status in IntentStatus if status not in _SETTLED), 0)
    for each in figures.outbox:
        if each.status in age_s:
            age_s[each.status] = max(0, figures.now_unix_s - each.oldest_unix_s)
    help_text = "Age of the oldest intent that is not settled, by status."
    yield _labelled("collegium_outbox_oldest_seconds", help_text, "status", age_s)
    yield _labelled("collegium_gas_used", "Gas of settled transactions.", "kind", dict(figures.gas_by_kind))
    told = dict.fromkeys(map(str, DeliveryStatus), 0) | dict(figures.webhook_deliveries)
    yield _labelled("collegium_webhook_deliveries", "Deliveries of webhooks by status.", "status", told)
    yield from _of_endpoints(figures.endpoints)
    if figures.indexed_block is not None and figures.indexed_block_unix_s is not None:
        yield _gauge("collegium_indexed_block", "The last block in the projection.", figures.indexed_block)
        lag_s = max(0, figures.now_unix_s - figures.indexed_block_unix_s)
        yield _gauge("collegium_indexer_lag_seconds", "Age of the last block in the projection.", lag_s)


def _of_endpoints(verdicts: Sequence[Verdict]) -> Iterator[Metric]:
    """What the worker last found out about the chain's nodes; they are named by their place."""
    sound = {each.name: int(each.fault is None) for each in verdicts}
    text = "Whether the worker found nothing wrong with an RPC endpoint."
    yield _labelled("collegium_rpc_endpoint_sound", text, "endpoint", sound)
    heads = {each.name: each.head for each in verdicts if each.head is not None}
    yield _labelled("collegium_rpc_endpoint_head_block", "The endpoint's newest block.", "endpoint", heads)
    disputed = any(each.is_disputed for each in verdicts)
    text = "Whether two RPC endpoints contradict one another on a final block."
    yield _gauge("collegium_chain_disputed", text, int(disputed))


Found = TypeVar("Found")


def _or_none(look: Callable[[], Found]) -> Found | None:
    try:
        return look()
    except OrchestratorError:
        return None


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=value)


def _labelled(name: str, text: str, label: str, values: dict[str, int]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=(label,))
    for value, count in sorted(values.items()):
        family.add_metric((value,), count)
    return family
