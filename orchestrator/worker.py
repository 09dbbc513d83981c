"""The worker: follows the chain, decides what is due, and puts intents on chain.

It may be killed at any moment; what it was doing is finished or undone at the next start.
"""

import logging
import signal
import socket
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from queue import SimpleQueue

from orchestrator.adapters.chain import LaneTerms, open_endpoints, open_lanes, open_reader, open_witnesses
from orchestrator.adapters.flower import FlowerCommandRuns
from orchestrator.composition import (
    SystemClock,
    build_deliveries,
    open_database,
    open_outlet,
    open_retention,
)
from orchestrator.domain.chain import ChainError
from orchestrator.domain.ports import Clock, Records, RecordsUnavailable
from orchestrator.logs import configure_logs
from orchestrator.services.anchoring import AuditAnchoring
from orchestrator.services.arrivals import Arrivals
from orchestrator.services.conductors import Conductors
from orchestrator.services.indexer import Indexer
from orchestrator.services.lease import (
    LeasedLanes,
    LeasedReceivers,
    LeasedRecords,
    LeasedRuns,
    LeaseLost,
    WorkerLease,
)
from orchestrator.services.outbox import OutboxProcessor
from orchestrator.services.reconciler import Reconciler
from orchestrator.services.retention import ChainNotCurrent, RetentionService
from orchestrator.services.webhooks import WebhookDeliveries
from orchestrator.services.witnesses import Witnesses
from orchestrator.settings import Settings
from orchestrator.telemetry import start_tracing
from orchestrator.worker_metrics import WorkerMetrics

logger = logging.getLogger(__name__)

_BUSY_PAUSE_S = 0.01
_LONGEST_PAUSE_S = 10.0
_DECIDE_EVERY_S = 5.0
_SWEEP_EVERY_S = 3600.0
_WITNESS_TIMEOUT_S = 3.0
"""How long a node that is only looked at may hold up a turn."""


@dataclass
class Worker:
    """One loop over everything that has to happen.

    ``conductors`` and ``webhooks`` are None where there are none, ``lease`` where this is the only worker,
    ``witnesses`` where the chain's nodes are not watched, ``retention`` where all artifacts are kept,
    ``arrivals`` where every pause has its whole length.
    """

    indexer: Indexer
    reconciler: Reconciler
    outbox: OutboxProcessor
    anchoring: AuditAnchoring
    conductors: Conductors | None
    poll_s: float
    metrics: WorkerMetrics
    webhooks: WebhookDeliveries | None = None
    lease: WorkerLease | None = None
    witnesses: Witnesses | None = None
    retention: RetentionService | None = None
    arrivals: Arrivals | None = None
    _stands_by: bool = False
    _decide_again_s: float = 0.0
    _sweep_again_s: float = 0.0

    def run(self, stop: threading.Event) -> None:
        """Work until ``stop`` is set."""
        failures = 0
        while not stop.is_set():
            pause_s, arrivals = self.poll_s, None
            try:
                if self.run_once():
                    # A call of the hub's own moves a round, and the round's nodes wait for that.
                    pause_s = min(_BUSY_PAUSE_S, self.poll_s)
                elif not self._stands_by:
                    arrivals = self.arrivals
                failures = 0
                self.metrics.turn_done()
            except LeaseLost:
                logger.warning("another worker has taken the lease: this one stops what it was at")
            except (ChainError, RecordsUnavailable) as error:
                failures += 1
                self.metrics.turn_failed()
                logger.warning("trying again: %s", error)
            except Exception:
                # A loop that gives up would stop every round; the log says what it was, and every step is
                # one transaction.
                failures += 1
                self.metrics.turn_failed()
                logger.exception("trying again after an unexpected error")
            if arrivals is None:
                stop.wait(min(pause_s * 2 ** min(failures, 10), _LONGEST_PAUSE_S))
            else:
                arrivals.wait(stop, pause_s)
        if self.conductors is not None:
            self.conductors.close()
        if self.webhooks is not None:
            self.webhooks.close()
        if self.lease is not None:
            with suppress(RecordsUnavailable):  # it runs out by itself
                self.lease.release()

    def run_once(self) -> bool:
        """One turn: read the chain, decide, send; nothing while another worker has the lease.

        Whether it sent what moves a round: the next turn sees it in its block and should come at once. What
        nodes send hurries less (``arrivals``): what comes together shares a transaction.

        Raises:
            LeaseLost: another worker took it meanwhile; nothing was done after that.
        """
        self._stands_by = self.lease is not None and not self.lease.hold()
        if self._stands_by:
            return False
        if self.witnesses is not None:
            self.witnesses.run_once()
        has_news = self.indexer.run_once()
        if self.conductors is not None:
            has_news |= self.conductors.follow()
        # Also now and then without news: what was refused is asked again after a while.
        has_queued = False
        if has_news or time.monotonic() >= self._decide_again_s:
            has_queued = self._decide()
        # What was just sent may complete a phase; the advance then goes into the same block.
        if self.outbox.run_once():
            has_queued |= self._decide()
            self.outbox.run_once(finalises=False)
        if self.webhooks is not None:
            self.webhooks.run_once()
        if self.retention is not None and time.monotonic() >= self._sweep_again_s:
            self._sweep(self.retention)
        return has_queued

    def _sweep(self, retention: RetentionService) -> None:
        self._sweep_again_s = time.monotonic() + _SWEEP_EVERY_S
        try:
            swept = retention.sweep()
        except ChainNotCurrent as error:
            logger.info("artifacts are not swept: %s", error)
            return
        if swept.artifacts:
            logger.info("removed %d artifacts that nothing names", len(swept.artifacts))

    def _decide(self) -> bool:
        self.anchoring.run_once()
        decided = self.reconciler.run_once()
        for run in decided.runs:
            if self.conductors is not None:
                self.conductors.start(run)
        self._decide_again_s = time.monotonic() + _DECIDE_EVERY_S
        return decided.has_queued


def build_worker(settings: Settings) -> Worker:
    """The worker that the settings describe. Raises SettingsError, InvalidDeployment, ChainKeyError."""
    deployment, endpoints = settings.deployment(), open_endpoints(settings.chain_rpc_urls())
    reader = open_reader(endpoints, deployment)
    lanes = open_lanes(
        endpoints,
        deployment,
        relayer_key_file=settings.relayer_key(),
        council_key_file=settings.council_key(),
        terms=LaneTerms(settings.outbox_rules().most_fee_wei, settings.most_batch_gas),
    )
    plain_records, clock = open_database(settings), SystemClock()
    lease = WorkerLease(plain_records, clock, settings.worker_name or socket.gethostname(), settings.lease_s)
    records = LeasedRecords(plain_records, lease)
    conductors = _conductors(settings, records, clock, lease)
    outlet = open_outlet(settings)
    leased_outlet = replace(outlet, receivers=LeasedReceivers(outlet.receivers, lease))
    return Worker(
        indexer=Indexer(records, reader, clock, deployment.block, settings.confirmations),
        reconciler=Reconciler(records, reader, clock, conducts=conductors is not None),
        outbox=OutboxProcessor(records, LeasedLanes(lanes, lease), reader, clock, settings.outbox_rules()),
        anchoring=AuditAnchoring(
            records, clock, epoch_s=60 * settings.audit_epoch_minutes, epoch_rows=settings.audit_epoch_rows
        ),
        conductors=conductors,
        poll_s=settings.poll_s,
        metrics=WorkerMetrics(plain_records, reader),
        webhooks=build_deliveries(records, leased_outlet, clock),
        lease=lease,
        witnesses=Witnesses(
            records,
            clock,
            open_witnesses(endpoints, deployment, timeout_s=_WITNESS_TIMEOUT_S),
            deployment.chain_id,
            settings.confirmations,
            endpoints.avoid,
        ),
        retention=open_retention(settings, records, clock),
        arrivals=Arrivals(plain_records),
    )


def run(settings: Settings) -> None:
    """Work as the settings say until SIGTERM or SIGINT. Errors as ``build_worker``."""
    configure_logs(settings.log_format == "lines")
    start_tracing(settings, "collegium-worker")
    worker = build_worker(settings)
    stop = threading.Event()
    set_at_signals(stop, (signal.SIGTERM, signal.SIGINT))
    if settings.worker_metrics_port is None:
        worker.run(stop)
        return
    server = worker.metrics.serve(settings.worker_metrics_host, settings.worker_metrics_port)
    try:
        worker.run(stop)
    finally:
        server.shutdown()
        server.server_close()


def set_at_signals(stop: threading.Event, numbers: Iterable[signal.Signals]) -> None:
    """Have ``stop`` set when one of the signals comes; call it in the main thread.

    A handler that called ``stop.set()`` would wait for ever where it interrupts ``stop.wait()`` with the
    event's lock in its hand: both are the main thread. ``SimpleQueue.put`` may be called from a handler.
    """
    asked: SimpleQueue[int] = SimpleQueue()
    for number in numbers:
        signal.signal(number, lambda number, _frame: asked.put(number))

    def set_when_asked() -> None:
        asked.get()
        stop.set()

    threading.Thread(target=set_when_asked, name="stop", daemon=True).start()


def _conductors(settings: Settings, records: Records, clock: Clock, lease: WorkerLease) -> Conductors | None:
    if settings.flower_app_folder is None or settings.flower_home is None:
        logger.warning("no conductors are started here: COLLEGIUM_FLOWER_APP_FOLDER or _HOME is not set")
        return None
    runs = FlowerCommandRuns(settings.flower_app_folder, settings.flower_home, settings.flower_connection)
    return Conductors(records, LeasedRuns(runs, lease), clock, settings.flower_follow_every_s)
