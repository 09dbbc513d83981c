"""A database, a chain in memory, and outbox processes that may die before and after anything they do."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from contracts.task_config import TaskConfig
from orchestrator.adapters.database import DatabaseRecords
from orchestrator.domain.chain import (
    Call,
    CreateTask,
    FeeMarket,
    Fees,
    Receipt,
    RoundMessageCall,
    SignedBatch,
    SignedTransaction,
)
from orchestrator.domain.outbox import Intent, OutboxRules
from orchestrator.domain.ports import Records, Unit
from orchestrator.services.outbox import OutboxProcessor, enqueue
from tests.integration.orchestrator_chain_double import ChainDouble, LaneDouble, LanesDouble
from tests.integration.orchestrator_double_rig import ClockDouble
from tests.integration.orchestrator_rig import task_spec, terms_of

CONFIG = TaskConfig(**terms_of(task_spec()))
MOST_STEPS = 100
CONFIRMATIONS = 3
STUCK_AFTER_S = 20
MOST_FEE_WEI = 10_000
RULES = OutboxRules(CONFIRMATIONS, STUCK_AFTER_S, MOST_FEE_WEI)


class Killed(BaseException):
    """The process is gone."""


@dataclass
class Fuse:
    """Kills the process at its n-th step; ``steps`` counts them."""

    burns_at: int | None = None
    steps: int = 0

    def step(self) -> None:
        """One step that a process may not survive."""
        self.steps += 1
        if self.steps == self.burns_at:
            raise Killed


@dataclass(frozen=True)
class MortalLane:
    """A lane whose process may die before and after anything it does."""

    lane: LaneDouble
    fuse: Fuse

    @property
    def sender(self) -> str:
        return self.lane.sender

    def next_nonce(self) -> int:
        return self.lane.next_nonce()

    def nonce_at(self, block_number: int) -> int:
        return self.lane.nonce_at(block_number)

    def knows(self, transaction_hash: str) -> bool:
        return self.lane.knows(transaction_hash)

    def market(self) -> FeeMarket:
        return self.lane.market()

    def replacement(self, transaction: SignedTransaction, fees: Fees) -> SignedTransaction:
        return self.lane.replacement(transaction, fees)

    def sign_batch(self, calls: Sequence[RoundMessageCall], nonce: int) -> SignedBatch:
        self.fuse.step()
        signed = self.lane.sign_batch(calls, nonce)
        self.fuse.step()
        return signed

    def sign(self, call: Call, nonce: int) -> SignedTransaction:
        self.fuse.step()
        signed = self.lane.sign(call, nonce)
        self.fuse.step()
        return signed

    def broadcast(self, transaction: SignedTransaction) -> None:
        self.fuse.step()
        self.lane.broadcast(transaction)
        self.fuse.step()

    def receipt(self, transaction_hash: str) -> Receipt | None:
        self.fuse.step()
        found = self.lane.receipt(transaction_hash)
        self.fuse.step()
        return found


@dataclass(frozen=True)
class MortalLanes:
    """Lanes of a mortal process."""

    lanes: LanesDouble
    fuse: Fuse

    def for_call(self, call: Call) -> MortalLane:
        return MortalLane(self.lanes.for_call(call), self.fuse)


@dataclass(frozen=True)
class MortalRecords:
    """Records of a mortal process: it may die before a commit and after it."""

    records: Records
    fuse: Fuse

    @contextmanager
    def read(self) -> Iterator[Unit]:
        with self.records.read() as unit:
            yield unit

    @contextmanager
    def write(self) -> Iterator[Unit]:
        with self.records.write() as unit:
            yield unit
            self.fuse.step()
        self.fuse.step()


@dataclass
class Setting:
    """A database, a chain, and processes that come and go."""

    records: DatabaseRecords
    chain: ChainDouble = field(default_factory=ChainDouble)
    clock: ClockDouble = field(default_factory=ClockDouble)

    def queue(self, key: str, call: Call) -> Intent:
        with self.records.write() as unit:
            return enqueue(unit, key, call, self.clock.unix_s)

    def processor(self, fuse: Fuse | None = None) -> OutboxProcessor:
        """A process that has just been started."""
        lanes = LanesDouble.of(self.chain)
        used = fuse or Fuse()
        records, mortal_lanes = MortalRecords(self.records, used), MortalLanes(lanes, used)
        return OutboxProcessor(records, mortal_lanes, self.chain, self.clock, RULES)

    def intents(self) -> list[Intent]:
        with self.records.read() as unit:
            found = [unit.outbox.by_id(number) for number in range(1, 10)]
        return [intent for intent in found if intent is not None]

    def settle(self, processor: OutboxProcessor) -> None:
        """Work until everything is mined or refused."""
        self._work_until(processor, lambda: self._count_unsettled() == 0)

    def finish(self, processor: OutboxProcessor) -> None:
        """Work until every end is final."""
        self._work_until(processor, lambda: all(intent.is_final for intent in self.intents()))

    def transactions(self, intent: Intent) -> tuple[SignedTransaction, ...]:
        assert intent.sender is not None
        assert intent.nonce is not None
        with self.records.read() as unit:
            return unit.outbox.transactions_of(intent.sender, intent.nonce)

    def _count_unsettled(self) -> int:
        with self.records.read() as unit:
            return unit.outbox.count_unsettled()

    def _work_until(self, processor: OutboxProcessor, is_done: Callable[[], bool]) -> None:
        for _ in range(MOST_STEPS):
            if is_done():
                return
            processor.run_once()
            self.chain.mine()
            self.clock.unix_s += 1
        raise AssertionError("the outbox did not settle")


def effects(setting: Setting, kind: type) -> int:
    return sum(isinstance(event, kind) for event in setting.chain.all_events)


def queue_two(setting: Setting) -> None:
    setting.queue("create_task:x", CreateTask(CONFIG))
    setting.queue("create_task:y", CreateTask(CONFIG))
