"""Several workers on one database: one acts, and one that lost the lease does nothing more."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from contracts.events import TaskCreated
from orchestrator.domain.lease import Lease, claimed
from orchestrator.domain.outbox import IntentStatus
from orchestrator.services.lease import LeaseLost
from orchestrator.worker import Worker
from tests.integration.databases import Databases
from tests.integration.orchestrator_double_rig import LEASE_S, Rig


@pytest.fixture
def rig(tmp_path: Path, databases: Databases) -> Iterator[Rig]:
    rig = Rig(tmp_path, databases.new(tmp_path))
    yield rig
    rig.close()


@pytest.fixture
def workers(rig: Rig) -> Iterator[tuple[Worker, Worker]]:
    pair = rig.new_worker_among_others("first"), rig.new_worker_among_others("second")
    yield pair
    for worker in pair:
        assert worker.conductors is not None
        worker.conductors.close()


def test_only_the_holder_acts_and_the_other_takes_over_when_it_is_silent(
    rig: Rig, workers: tuple[Worker, Worker]
) -> None:
    first, second = workers
    rig.order_task()
    first.run_once()
    assert rig.chain.pool_size == 1
    rig.chain.forget_pool()
    rig.clock.unix_s += LEASE_S - 1
    second.run_once()
    assert rig.chain.pool_size == 0, "the first one's lease has not run out"
    rig.clock.unix_s += 1
    second.run_once()
    assert rig.chain.pool_size == 1
    rig.chain.mine()
    rig.turn_until(lambda: rig.chain.state.tasks)
    assert sum(isinstance(event, TaskCreated) for event in rig.chain.all_events) == 1


def test_a_worker_that_slept_through_its_lease_writes_and_sends_nothing(
    rig: Rig, workers: tuple[Worker, Worker]
) -> None:
    first, second = workers
    rig.order_task()
    first.run_once()
    rig.chain.forget_pool()
    rig.clock.unix_s += LEASE_S
    second.run_once()
    rig.chain.forget_pool()
    rig.chain.mine()
    # It wakes up in the middle of a turn, behind the question whether it holds the lease.
    for act in (first.indexer.run_once, first.outbox.run_once):
        with pytest.raises(LeaseLost):
            act()
    assert rig.chain.pool_size == 0
    first.run_once()
    assert rig.chain.pool_size == 0
    rig.clock.unix_s += 5
    second.run_once()
    assert rig.chain.pool_size == 1


def test_two_workers_in_turns_put_every_intent_on_chain_once(
    rig: Rig, workers: tuple[Worker, Worker]
) -> None:
    rig.order_task()
    for turn in range(12):
        # Whoever is silent for long loses the lease: here they lose it to one another all the time.
        rig.clock.unix_s += LEASE_S
        workers[turn % 2].run_once()
        workers[turn % 2].run_once()
        rig.chain.mine()
    assert sum(isinstance(event, TaskCreated) for event in rig.chain.all_events) == 1
    with rig.records.read() as unit:
        statuses = {intent.status for intent in unit.outbox.settled_from_block(0)}
    assert statuses == {IntentStatus.FINAL}


def test_a_worker_that_is_started_again_need_not_wait_for_itself(rig: Rig) -> None:
    first = rig.new_worker_among_others("hub")
    first.run_once()
    again = rig.new_worker_among_others("hub")
    assert again.lease is not None
    assert first.lease is not None
    assert again.lease.hold()
    with pytest.raises(LeaseLost), rig.records.read() as unit:
        first.lease.require(unit)
    assert not first.lease.hold(), "the one that was there before waits like any other"
    for worker in (first, again):
        assert worker.conductors is not None
        worker.conductors.close()


def test_a_worker_that_stops_lets_the_next_begin_at_once(rig: Rig, workers: tuple[Worker, Worker]) -> None:
    first, second = workers
    assert first.lease is not None
    assert second.lease is not None
    assert first.lease.hold()
    assert not second.lease.hold()
    first.lease.release()
    assert second.lease.hold()
    first.lease.release()
    with rig.records.read() as unit:
        second.lease.require(unit)


@pytest.mark.parametrize(
    ("known", "fence", "wanted"),
    [
        (None, None, Lease("a", 1, 115)),
        (Lease("a", 4, 200), 4, Lease("a", 4, 115)),
        (Lease("a", 4, 50), 4, Lease("a", 4, 115)),
        (Lease("b", 4, 101), None, None),
        (Lease("b", 4, 101), 3, None),
        (Lease("b", 4, 100), 3, Lease("a", 5, 115)),
        (Lease("a", 4, 200), None, Lease("a", 5, 115)),
        (Lease("a", 4, 200), 3, None),
    ],
)
def test_who_gets_the_lease(known: Lease | None, fence: int | None, wanted: Lease | None) -> None:
    assert claimed(known, "a", fence, now_unix_s=100, duration_s=15) == wanted
