"""What the worker tells Prometheus of itself, on a port of its own; without the port it tells nothing.

What the database knows (rounds, outbox, gas) stands in the API's metrics: two processes that answer the same
would be counted twice.
"""

import time
from collections.abc import Iterable, Iterator
from http.server import HTTPServer

from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector, start_http_server
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from orchestrator.domain.chain import ChainError, ChainReader
from orchestrator.domain.ports import Records, RecordsUnavailable


class WorkerMetrics:
    """One worker's registry."""

    def __init__(self, records: Records, reader: ChainReader) -> None:
        self.registry = CollectorRegistry()
        self._turns = Counter(
            "collegium_worker_turns", "Turns of the worker's loop.", ("outcome",), registry=self.registry
        )
        for outcome in ("done", "failed"):
            self._turns.labels(outcome)
        self._success = Gauge(
            "collegium_worker_last_success_timestamp_seconds",
            "When the worker last ended a turn without an error.",
            registry=self.registry,
        )
        ProcessCollector(registry=self.registry)
        self.registry.register(_ChainCollector(records, reader))

    def turn_done(self) -> None:
        """A turn ended well."""
        self._turns.labels("done").inc()
        self._success.set(time.time())

    def turn_failed(self) -> None:
        """A turn ended with an error."""
        self._turns.labels("failed").inc()

    def serve(self, host: str, port: int) -> HTTPServer:
        """Answer scrapes from a thread until the server is shut down. Raises OSError."""
        server, _ = start_http_server(port, host, self.registry)
        return server


class _ChainCollector(Collector):
    """Asks the chain for its head at each scrape and compares it with what is indexed."""

    def __init__(self, records: Records, reader: ChainReader) -> None:
        self._records = records
        self._reader = reader

    def describe(self) -> Iterable[Metric]:
        """Nothing, so that registering does not ask the chain."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """The metrics of one scrape."""
        try:
            head = self._reader.head().number
        except ChainError:
            yield GaugeMetricFamily("collegium_chain_up", "Whether the chain answers.", value=0)
            return
        yield GaugeMetricFamily("collegium_chain_up", "Whether the chain answers.", value=1)
        yield GaugeMetricFamily("collegium_chain_head_block", "The chain's newest block.", value=head)
        try:
            with self._records.read() as unit:
                last = unit.projection.last_block()
        except RecordsUnavailable:
            return
        if last is not None:
            behind = max(0, head - last.number)
            yield GaugeMetricFamily("collegium_indexer_lag_blocks", "Blocks not indexed yet.", value=behind)
