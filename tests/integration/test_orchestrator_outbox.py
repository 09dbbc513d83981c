"""The outbox killed between any two steps: every intent has exactly one effect on chain."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from contracts.events import TaskCreated, TaskFunded
from contracts.task_config import TaskConfig
from orchestrator.adapters.database import DatabaseRecords
from orchestrator.domain.chain import (
    AdmitNode,
    Call,
    ChainError,
    CreateTask,
    FundTask,
    Receipt,
    SignedTransaction,
)
from orchestrator.domain.errors import Conflict
from orchestrator.domain.outbox import Intent, IntentStatus, OutboxRules
from orchestrator.domain.ports import Records, Unit
from orchestrator.services.outbox import OutboxProcessor, enqueue
from tests.integration.databases import Databases, open_quick_records
from tests.integration.orchestrator_chain_double import ChainDouble, LaneDouble, LanesDouble, NodeOnDouble
from tests.integration.orchestrator_double_rig import ClockDouble
from tests.integration.orchestrator_rig import NETWORKS, task_spec, terms_of

CONFIG = TaskConfig(**terms_of(task_spec()))
MOST_STEPS = 100
CONFIRMATIONS = 3
RULES = OutboxRules(confirmations=CONFIRMATIONS)


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


@pytest.fixture
def setting(tmp_path: Path, databases: Databases) -> Iterator[Setting]:
    records = open_quick_records(databases.new(tmp_path))
    yield Setting(records)
    records.close()


def effects(setting: Setting, kind: type) -> int:
    return sum(isinstance(event, kind) for event in setting.chain.all_events)


def queue_two(setting: Setting) -> None:
    setting.queue("create_task:x", CreateTask(CONFIG))
    setting.queue("create_task:y", CreateTask(CONFIG))


def steps_of_a_whole_life(folder: Path, databases: Databases) -> int:
    folder.mkdir()
    records = open_quick_records(databases.new(folder))
    fuse = Fuse()
    setting = Setting(records)
    queue_two(setting)
    setting.finish(setting.processor(fuse))
    records.close()
    return fuse.steps


def test_killed_at_any_step_each_intent_has_one_effect(tmp_path: Path, databases: Databases) -> None:
    steps = steps_of_a_whole_life(tmp_path / "whole", databases)
    assert steps > 20
    for burns_at in range(1, steps + 1):
        folder = tmp_path / str(burns_at)
        folder.mkdir()
        records = open_quick_records(databases.new(folder))
        setting = Setting(records)
        queue_two(setting)
        with pytest.raises(Killed):
            setting.finish(setting.processor(Fuse(burns_at)))
        # A block may be made while no process is there.
        setting.chain.mine(burns_at % 2)
        setting.finish(setting.processor())
        assert effects(setting, TaskCreated) == 2, f"killed at step {burns_at}"
        assert [intent.status for intent in setting.intents()] == [IntentStatus.FINAL] * 2
        records.close()


def test_killed_at_any_step_after_a_reorganisation_each_intent_has_one_effect(
    tmp_path: Path, databases: Databases
) -> None:
    burns_at, killed = 0, True
    while killed:
        burns_at += 1
        folder = tmp_path / str(burns_at)
        folder.mkdir()
        records = open_quick_records(databases.new(folder))
        setting = Setting(records)
        queue_two(setting)
        setting.settle(setting.processor())
        setting.chain.reorganise(setting.chain.head().number)
        setting.chain.mine(CONFIRMATIONS)
        try:
            setting.finish(setting.processor(Fuse(burns_at)))
            killed = False
        except Killed:
            setting.finish(setting.processor())
        assert effects(setting, TaskCreated) == 2, f"killed at step {burns_at}"
        assert [intent.status for intent in setting.intents()] == [IntentStatus.FINAL] * 2
        records.close()
    assert burns_at > 10


def test_a_mined_intent_is_final_only_when_its_block_is_deep_enough(setting: Setting) -> None:
    setting.queue("create_task:x", CreateTask(CONFIG))
    processor = setting.processor()
    setting.settle(processor)
    (mined,) = setting.intents()
    assert mined.block_number is not None
    while setting.chain.head().number < mined.block_number + CONFIRMATIONS:
        processor.run_once()
        (before,) = setting.intents()
        assert (before.status, before.is_final) == (IntentStatus.MINED, False)
        setting.chain.mine()
    processor.run_once()
    (after,) = setting.intents()
    assert (after.status, after.is_final) == (IntentStatus.FINAL, True)


def test_an_intent_that_left_its_block_is_sent_again_with_the_same_bytes(setting: Setting) -> None:
    setting.queue("create_task:x", CreateTask(CONFIG))
    processor = setting.processor()
    setting.settle(processor)
    (mined,) = setting.intents()
    stored = setting.transactions(mined)
    setting.chain.reorganise(setting.chain.head().number)
    setting.chain.mine(CONFIRMATIONS)
    processor.run_once()
    (reorged,) = setting.intents()
    assert (reorged.status, reorged.block_number, reorged.gas_used) == (IntentStatus.REORGED, None, 0)
    processor.run_once()
    (resent,) = setting.intents()
    assert (resent.status, resent.transaction_hash) == (IntentStatus.RESENT, mined.transaction_hash)
    setting.finish(processor)
    (final,) = setting.intents()
    assert (final.status, final.gas_used) == (IntentStatus.FINAL, mined.gas_used)
    assert setting.transactions(final) == stored
    assert effects(setting, TaskCreated) == 1


def test_a_reverted_transaction_keeps_its_place_in_the_lane_after_a_reorganisation(setting: Setting) -> None:
    node = NETWORKS[0].address
    setting.queue("admit:x", AdmitNode(node, node, 1))
    processor = setting.processor()
    processor.run_once()
    setting.chain._blocks[-1].state.nodes[node] = NodeOnDouble(node, 1)
    setting.settle(processor)
    del setting.chain._blocks[-1].state.nodes[node]
    # Asked for again, it rides in another slot: the first has no intent any more, and then loses its block.
    setting.queue("admit:x", AdmitNode(node, node, 1))
    processor.run_once()
    (again,) = setting.intents()
    assert (again.status, again.nonce) == (IntentStatus.SENT, 1)
    setting.chain.reorganise(setting.chain.head().number)
    setting.finish(processor)
    assert len(setting.chain.state.nodes) == 1
    assert setting.chain.next_nonce(LanesDouble.of(setting.chain).council.sender) == 2


def test_a_payment_that_reverted_is_asked_again_only_when_that_is_final(setting: Setting) -> None:
    setting.queue("create_task:x", CreateTask(CONFIG))
    processor = setting.processor()
    setting.settle(processor)
    setting.queue("fund:x", FundTask(1, 5))
    processor.run_once()
    setting.chain._blocks[-1].state.tasks[1].is_over = True
    setting.settle(processor)
    setting.chain._blocks[-1].state.tasks[1].is_over = False
    payment = setting.queue("fund:x", FundTask(1, 5))
    assert (payment.status, payment.attempts) == (IntentStatus.REFUSED, 1)
    setting.finish(processor)
    assert setting.queue("fund:x", FundTask(1, 5)).attempts == 2
    setting.finish(processor)
    assert effects(setting, TaskFunded) == 1


def test_a_restart_sends_the_same_bytes(setting: Setting) -> None:
    setting.queue("create_task:x", CreateTask(CONFIG))
    with pytest.raises(Killed):
        # Dies after the signed bytes are stored, before they are sent.
        setting.settle(setting.processor(Fuse(burns_at=4)))
    (stored,) = setting.intents()
    assert stored.status is IntentStatus.SIGNED
    bytes_before = setting.transactions(stored)
    setting.settle(setting.processor())
    (mined,) = setting.intents()
    assert setting.transactions(mined) == bytes_before
    assert mined.transaction_hash == stored.transaction_hash
    assert mined.gas_used > 0


def test_a_node_that_forgets_its_pool_gets_the_same_bytes_again(setting: Setting) -> None:
    setting.queue("create_task:x", CreateTask(CONFIG))
    processor = setting.processor()
    processor.run_once()
    setting.chain.forget_pool()
    setting.settle(processor)
    assert effects(setting, TaskCreated) == 1


def test_several_intents_go_into_one_block(setting: Setting) -> None:
    setting.queue("create_task:x", CreateTask(CONFIG))
    setting.queue("fund:x", FundTask(1, 5))
    for network in NETWORKS:
        setting.queue(f"admit:{network.address}", AdmitNode(network.address, network.address, 1))
    setting.processor().run_once()
    setting.chain.mine()
    assert effects(setting, TaskFunded) == 1
    assert len(setting.chain.state.nodes) == len(NETWORKS)


def test_a_refused_call_is_recorded_with_its_reason_and_uses_no_nonce(setting: Setting) -> None:
    setting.queue("fund:x", FundTask(7, 5))
    setting.queue("create_task:x", CreateTask(CONFIG))
    setting.settle(setting.processor())
    refused, mined = setting.intents()
    assert (refused.status, refused.error, refused.nonce) == (IntentStatus.REFUSED, "TaskUnknown", None)
    assert (mined.status, mined.nonce) == (IntentStatus.MINED, 0)
    with setting.records.read() as unit:
        (event,) = unit.stream.newest(1)
    assert event.announcement.kind == "intent.refused"
    assert event.announcement.facts["reason"] == "TaskUnknown"


def test_a_call_that_reverts_in_its_block_is_refused_and_its_gas_counted(setting: Setting) -> None:
    node = NETWORKS[0].address
    setting.queue("admit:x", AdmitNode(node, node, 1))
    processor = setting.processor()
    processor.run_once()
    # Somebody else is first, in the same block.
    setting.chain._blocks[-1].state.nodes[node] = NodeOnDouble(node, 1)
    setting.settle(processor)
    (intent,) = setting.intents()
    assert (intent.status, intent.error) == (IntentStatus.REFUSED, "reverted in its block")
    assert intent.gas_used > 0


def test_a_refused_intent_may_be_asked_for_again(setting: Setting) -> None:
    setting.queue("fund:x", FundTask(1, 5))
    processor = setting.processor()
    setting.settle(processor)
    setting.queue("create_task:x", CreateTask(CONFIG))
    setting.settle(processor)
    setting.queue("fund:x", FundTask(1, 5))
    setting.settle(processor)
    assert effects(setting, TaskFunded) == 1
    assert setting.intents()[0].attempts == 2


def test_the_same_key_with_another_call_is_a_conflict_and_the_same_call_is_not(setting: Setting) -> None:
    first = setting.queue("fund:x", FundTask(1, 5))
    assert setting.queue("fund:x", FundTask(1, 5)).id == first.id
    with pytest.raises(Conflict):
        setting.queue("fund:x", FundTask(1, 6))


def test_a_nonce_taken_by_another_program_is_replaced(setting: Setting) -> None:
    setting.queue("create_task:x", CreateTask(CONFIG))
    processor = setting.processor()
    processor.run_once()
    setting.chain.forget_pool()
    setting.chain.use_nonce(LanesDouble.of(setting.chain).council.sender)
    setting.settle(processor)
    (intent,) = setting.intents()
    assert (intent.status, intent.nonce) == (IntentStatus.MINED, 1)
    assert effects(setting, TaskCreated) == 1


def test_two_workers_at_once_do_not_double_an_effect(setting: Setting) -> None:
    queue_two(setting)
    first, second = setting.processor(), setting.processor()
    with setting.records.read() as unit:
        seen = unit.outbox.queued()
    first.run_once()
    for intent in seen:
        # The second worker had read the intents before the first one signed them.
        with pytest.raises(Conflict):
            second._start(intent)
    setting.settle(second)
    assert effects(setting, TaskCreated) == 2


def test_a_node_that_is_down_delays_and_loses_nothing(setting: Setting) -> None:
    queue_two(setting)
    processor = setting.processor()
    setting.chain.broken = True
    with pytest.raises(ChainError):
        processor.run_once()
    setting.chain.broken = False
    setting.settle(processor)
    assert effects(setting, TaskCreated) == 2
