"""The worker's loop: it outlives a chain that is down and a locked database, and stops when asked."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.domain.chain import Block
from orchestrator.services.arrivals import Arrivals
from orchestrator.worker import Worker
from tests.integration.databases import Databases
from tests.integration.orchestrator_double_rig import Rig
from tests.integration.orchestrator_rig import NETWORKS, POOL

DEADLINE_S = 60.0


@pytest.fixture
def rig(tmp_path: Path, databases: Databases) -> Iterator[Rig]:
    rig = Rig(tmp_path, databases.new(tmp_path))
    yield rig
    rig.close()


class Running:
    """A worker in a thread."""

    def __init__(self, worker: Worker) -> None:
        self.stop = threading.Event()
        self.thread = threading.Thread(target=worker.run, args=[self.stop])

    def __enter__(self) -> "Running":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.thread.join(DEADLINE_S)
        assert not self.thread.is_alive()


def eventually(look: Callable[[], object]) -> None:
    deadline_s = time.monotonic() + DEADLINE_S
    while not look():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def indexed(rig: Rig) -> int | None:
    with rig.records.read() as unit:
        last = unit.projection.last_block()
    return None if last is None else last.number


def test_it_follows_the_chain_until_it_is_stopped(rig: Rig) -> None:
    with Running(rig.new_worker()):
        rig.chain.mine()
        eventually(lambda: indexed(rig) == 1)
        rig.order_admission(0)
        eventually(lambda: rig.chain.pool_size == 1)
        rig.chain.mine()
        eventually(lambda: len(rig.get("/v1/nodes")["items"]) == 1)


def test_it_outlives_a_chain_that_is_down(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    rig.chain.mine()
    rig.chain.broken = True
    with Running(rig.new_worker()):
        eventually(lambda: "the node is down" in caplog.text)
        assert indexed(rig) is None
        rig.chain.broken = False
        eventually(lambda: indexed(rig) == 1)


def test_it_outlives_what_nobody_foresaw(
    rig: Rig, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.chain.mine()
    honest = rig.chain.head

    def broken() -> None:
        raise ZeroDivisionError("surprise")

    monkeypatch.setattr(rig.chain, "head", broken)
    with Running(rig.new_worker()):
        eventually(lambda: "surprise" in caplog.text)
        monkeypatch.setattr(rig.chain, "head", honest)
        eventually(lambda: indexed(rig) == 1)


@pytest.mark.parametrize("outsider", [{"rounds_requested": 1, "rounds_closed": 1}, {"pool": 1}])
def test_a_task_is_funded_whatever_an_outsider_did_before(rig: Rig, outsider: dict[str, int]) -> None:
    rig.order_task()
    rig.worker.run_once()
    rig.chain.mine()
    rig.worker.indexer.run_once()
    with rig.records.write() as unit:
        (task,) = unit.projection.tasks()
        unit.projection.save_task(replace(task, **outsider))  # type: ignore[arg-type]
    rig.worker.run_once()
    rig.chain.mine()
    assert rig.chain.state.tasks[1].pool == POOL
    for _ in range(3):
        rig.turn()
    assert rig.chain.state.tasks[1].pool == POOL


def test_a_task_that_no_round_could_pay_from_is_not_funded(rig: Rig) -> None:
    rig.order_task()
    rig.worker.run_once()
    rig.chain.mine()
    rig.worker.indexer.run_once()
    with rig.records.write() as unit:
        (task,) = unit.projection.tasks()
        every = task.config.rounds
        unit.projection.save_task(replace(task, rounds_requested=every, rounds_closed=every))
    for _ in range(3):
        rig.worker.run_once()
        rig.chain.mine()
    assert rig.chain.state.tasks[1].pool == 0
    expected = "funding: the last round of task 1 has been requested, so no round would pay the money"
    assert rig.get("/v1/tasks/1")["error"] == expected


def test_it_waits_for_a_database_that_is_locked(rig: Rig) -> None:
    rig.chain.mine()
    worker = rig.new_worker()
    asked, head = threading.Event(), rig.chain.head

    def noticed() -> Block:
        asked.set()
        return head()

    rig.chain.head = noticed  # type: ignore[method-assign]
    held = ExitStack()
    # The database is locked from the first statement on.
    held.enter_context(rig.records.write()).projection.last_block()
    with Running(worker):
        assert asked.wait(DEADLINE_S)
        assert indexed(rig) is None
        held.close()
        eventually(lambda: indexed(rig) == 1)


class Waits(threading.Event):
    """Ends a worker after some waits, and remembers how long each was meant to be."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.lengths_s: list[float | None] = []
        self._most = most

    def wait(self, timeout: float | None = None) -> bool:
        """Wait not at all."""
        self.lengths_s.append(timeout)
        if len(self.lengths_s) == self._most:
            self.set()
        return self.is_set()


def test_it_hurries_after_what_moves_a_round_and_else_lets_messages_gather(rig: Rig) -> None:
    worker = rig.new_worker()
    assert not worker.run_once()
    rig.start_task()
    hurried = []
    for _ in range(10):
        hurried.append(worker.run_once())
        rig.chain.mine()
    # A round was requested and drawn; nobody proposes, so that nothing else of the hub's own is due.
    assert any(hurried)
    assert not any(hurried[-3:])


@pytest.mark.parametrize(("hurries", "pause_s"), [(True, 0.01), (False, 7.0)])
def test_it_pauses_unless_it_hurries(rig: Rig, hurries: bool, pause_s: float) -> None:
    class Moved(Worker):
        def run_once(self) -> bool:
            """What the test says."""
            return hurries

    worker, stop = rig.new_worker(), Waits(3)
    worker.poll_s = 7.0
    worker.__class__ = Moved
    worker.run(stop)
    assert stop.lengths_s == [pause_s] * 3


class Stillness(threading.Event):
    """A stop that never comes; every wait is over at once, after something else was done."""

    def __init__(self, meanwhile: Sequence[Callable[[], object]]) -> None:
        super().__init__()
        self._meanwhile = list(meanwhile)
        self.waits = 0

    def wait(self, timeout: float | None = None) -> bool:
        """Wait not at all."""
        self.waits += 1
        if self._meanwhile:
            self._meanwhile.pop(0)()
        return False


@pytest.fixture
def still(rig: Rig) -> Callable[..., int]:
    """How often a pause waited while this and that was written."""

    def pauses(*meanwhile: Callable[[], object], longest_s: float = DEADLINE_S) -> int:
        stop = Stillness(meanwhile)
        Arrivals(rig.records).wait(stop, longest_s)
        return stop.waits

    return pauses


def test_a_pause_ends_when_calls_are_queued_and_nobody_writes_any_more(
    rig: Rig, still: Callable[..., int]
) -> None:
    def nothing() -> None:
        """Nobody writes."""

    def name() -> None:
        with rig.records.write() as unit:
            unit.names.set_name(NETWORKS[0].address, str(time.monotonic()))

    if rig.records.version() is None:
        # Where the records cannot tell, the pause is one wait of its whole length.
        assert still(longest_s=0.01) >= 1
        return
    # What is not for the chain ends no pause: it is looked at, and waited on.
    assert still(name, nothing, lambda: rig.order_admission(0)) == 4
    # What was queued before counts too, and writing on puts the end off.
    assert still() == 1
    assert still(name, name, nothing) == 3


def test_a_pause_has_an_end(rig: Rig, still: Callable[..., int]) -> None:
    assert still(longest_s=0.01) >= 1
    assert still(longest_s=0.0) == 0
