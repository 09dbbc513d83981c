"""Holds the worker's lease, and lets nothing through that is not done under it."""

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from orchestrator.domain.chain import (
    Block,
    Call,
    ChainReader,
    FeeMarket,
    Fees,
    IndexedEvent,
    Receipt,
    RoundMessageCall,
    SignedBatch,
    SignedTransaction,
    StakeTerms,
    TransactionLane,
)
from orchestrator.domain.errors import OrchestratorError
from orchestrator.domain.lease import Lease, claimed, seized
from orchestrator.domain.ports import (
    Clock,
    FlowerRuns,
    Lanes,
    Records,
    RunStatus,
    Unit,
    WebhookReceivers,
)

logger = logging.getLogger(__name__)


class LeaseLost(OrchestratorError):
    """Another worker acts now."""

    code = "lease_lost"


@dataclass
class WorkerLease:
    """One worker's hold on the lease."""

    records: Records
    clock: Clock
    holder: str
    duration_s: int
    _lease: Lease | None = field(default=None, init=False)
    _is_told: bool = field(default=False, init=False)
    _memory: threading.Lock = field(default_factory=threading.Lock, init=False)
    """What was just taken is not forgotten by a thread that found the one before lost."""

    def hold(self) -> bool:
        """Take the lease or keep it; False while it is another worker's."""
        now_unix_s = self.clock.now_unix_s()
        held = self._lease
        # Written again when a third of it has passed: every write waits for the disk.
        if held is not None and held.expires_unix_s - now_unix_s > self.duration_s * 2 // 3:
            return True
        with self.records.write() as unit:
            known = unit.lease.current()
            fence = None if held is None else held.fence
            lease = claimed(known, self.holder, fence, now_unix_s, self.duration_s)
            if lease is not None:
                unit.lease.save(lease)
        if lease is None:
            # No longer a worker that was just started: from now on it waits like any other.
            self._lease = Lease(self.holder, 0, 0)
            if not self._is_told:
                logger.warning("%s holds the lease: standing by", known.holder if known else "nobody")
            self._is_told = True
            return False
        if held is None or held.fence != lease.fence:
            logger.info("the lease is ours: %s, fence %d", self.holder, lease.fence)
        with self._memory:
            self._lease, self._is_told = lease, False
        return True

    @contextmanager
    def seized(self) -> Iterator[None]:
        """Keep every worker from acting within the block, also the one that holds the lease.

        That one finds out when it writes next, and takes the lease again after the block.
        """
        with self.records.write() as unit:
            lease = seized(unit.lease.current(), self.holder, self.clock.now_unix_s(), self.duration_s)
            unit.lease.save(lease)
        self._lease = lease
        try:
            yield
        finally:
            self.release()

    def require(self, unit: Unit) -> None:
        """Refuse to go on under a lease that another worker has taken. Raises LeaseLost."""
        held, known = self._lease, unit.lease.current()
        if held is None or known is None or known.fence != held.fence:
            with self._memory:
                if self._lease is held:
                    self._lease = Lease(self.holder, 0, 0)
            raise LeaseLost("another worker has taken the lease")

    def release(self) -> None:
        """Let another worker take over at once."""
        if self._lease is None:
            return
        with self.records.write() as unit:
            known = unit.lease.current()
            if known is not None and known.fence == self._lease.fence:
                unit.lease.save(Lease(known.holder, known.fence, 0))
        self._lease = Lease(self.holder, 0, 0)


@dataclass(frozen=True)
class LeasedRecords:
    """``Records`` whose writes are all done under the lease, or not at all."""

    records: Records
    lease: WorkerLease

    @contextmanager
    def read(self) -> Iterator[Unit]:
        """A unit that changes nothing."""
        with self.records.read() as unit:
            yield unit

    @contextmanager
    def write(self) -> Iterator[Unit]:
        """A unit that is committed under the lease. Raises LeaseLost."""
        with self.records.write() as unit:
            self.lease.require(unit)
            yield unit

    def version(self) -> int | None:
        """A number that changes whenever anything is written; None when that cannot be told at once."""
        return self.records.version()


@dataclass(frozen=True)
class LeasedReader:
    """``ChainReader`` whose every stretch keeps the lease: a long chain takes longer than the lease lasts."""

    reader: ChainReader
    lease: WorkerLease

    def head(self) -> Block:
        """The newest block."""
        return self.reader.head()

    def block(self, number: int) -> Block:
        """The block at a height."""
        return self.reader.block(number)

    def blocks(self, first_block: int, last_block: int) -> Sequence[Block]:
        """The blocks of a range. Raises LeaseLost."""
        self._keep()
        return self.reader.blocks(first_block, last_block)

    def events(self, first_block: int, last_block: int) -> Sequence[IndexedEvent]:
        """All events in a range of blocks. Raises LeaseLost."""
        self._keep()
        return self.reader.events(first_block, last_block)

    def is_due(self, task: int) -> bool:
        """Whether ``advance`` would move the task's open round in the next block."""
        return self.reader.is_due(task)

    def stake_terms(self) -> StakeTerms:
        """What the registry fixes for ever."""
        return self.reader.stake_terms()

    def _keep(self) -> None:
        if not self.lease.hold():
            raise LeaseLost("another worker has taken the lease")


@dataclass(frozen=True)
class LeasedRuns:
    """``FlowerRuns`` that are started under the lease only."""

    runs: FlowerRuns
    lease: WorkerLease

    def submit(self, task: int, round_number: int) -> str:
        """Start the conductor of a round. Raises LeaseLost, FlowerError."""
        with self.lease.records.read() as unit:
            self.lease.require(unit)
        return self.runs.submit(task, round_number)

    def status(self, run_id: str) -> RunStatus:
        """Where a run stands. Raises FlowerError."""
        return self.runs.status(run_id)


@dataclass(frozen=True)
class LeasedReceivers:
    """``WebhookReceivers`` that are told something under the lease only."""

    receivers: WebhookReceivers
    lease: WorkerLease

    def check(self, url: str) -> None:
        """Whether a webhook may go there. Raises WebhookRefused."""
        self.receivers.check(url)

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> int:
        """The status of the receiver's answer. Raises LeaseLost, WebhookRefused, WebhookFailed."""
        with self.lease.records.read() as unit:
            self.lease.require(unit)
        return self.receivers.post(url, body, headers)


@dataclass(frozen=True)
class LeasedLanes:
    """``Lanes`` that broadcast under the lease only."""

    lanes: Lanes
    lease: WorkerLease

    def for_call(self, call: Call) -> TransactionLane:
        """The account that sends such a call."""
        return LeasedLane(self.lanes.for_call(call), self.lease)


@dataclass(frozen=True)
class LeasedLane:
    """``TransactionLane`` that broadcasts under the lease only; all else changes nothing."""

    lane: TransactionLane
    lease: WorkerLease

    @property
    def sender(self) -> str:
        """The account's address."""
        return self.lane.sender

    def next_nonce(self) -> int:
        """The account's nonce counting transactions that are mined."""
        return self.lane.next_nonce()

    def nonce_at(self, block_number: int) -> int:
        """The account's next nonce as of the end of a block."""
        return self.lane.nonce_at(block_number)

    def sign(self, call: Call, nonce: int) -> SignedTransaction:
        """Estimate, price and sign a call. Raises CallRefused."""
        return self.lane.sign(call, nonce)

    def sign_batch(self, calls: Sequence[RoundMessageCall], nonce: int) -> SignedBatch:
        """Estimate, price and sign one transaction of several calls."""
        return self.lane.sign_batch(calls, nonce)

    def market(self) -> FeeMarket:
        """What the next block asks for a unit of gas."""
        return self.lane.market()

    def replacement(self, transaction: SignedTransaction, fees: Fees) -> SignedTransaction:
        """The same transaction at the same nonce, signed for other fees."""
        return self.lane.replacement(transaction, fees)

    def broadcast(self, transaction: SignedTransaction) -> None:
        """Hand a signed transaction to the chain. Raises LeaseLost, NonceUsed."""
        with self.lease.records.read() as unit:
            self.lease.require(unit)
        self.lane.broadcast(transaction)

    def knows(self, transaction_hash: str) -> bool:
        """Whether the chain has the transaction, mined or waiting."""
        return self.lane.knows(transaction_hash)

    def receipt(self, transaction_hash: str) -> Receipt | None:
        """The receipt, or None while the transaction is not mined."""
        return self.lane.receipt(transaction_hash)
