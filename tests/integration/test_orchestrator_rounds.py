"""A task from order to finish over the API, a real database and a chain in memory."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.domain import chain
from orchestrator.services.conductors import LOST_AFTER_S
from tests.integration.databases import Databases
from tests.integration.orchestrator_double_rig import Rig
from tests.integration.orchestrator_rig import NETWORKS, POOL


@pytest.fixture
def rig(tmp_path: Path, databases: Databases) -> Iterator[Rig]:
    rig = Rig(tmp_path, databases.new(tmp_path))
    yield rig
    rig.close()


def test_a_task_runs_through_all_its_rounds(rig: Rig) -> None:
    task = rig.start_task()
    first, second = rig.play_round(1), rig.play_round(2)

    assert second["parent_digest"] == first["aggregate_digest"]
    finished = rig.get(f"/v1/tasks/{task}")
    assert finished["status"] == "finished"
    earned = sum(int(node["earned"]) for node in rig.get("/v1/nodes")["items"])
    assert earned + int(finished["pool"]) == POOL
    assert [vote["revealed"] for vote in second["votes"]] == [True] * 4
    assert all(proposal["standing"] == "accepted" for proposal in second["proposals"])
    assert set(first["seconds"]) == {"requested", "training", "committing", "revealing", "attesting"}
    assert first["gas"] == {
        "advance": 5 * 21_000,
        "attestation": 4 * 21_000,
        "commit": 4 * 21_000,
        "proposal": 3 * 21_000,
        "request_round": 21_000,
        "reveal": 4 * 21_000,
    }


def test_a_round_waits_for_enough_approved_and_staked_nodes(rig: Rig) -> None:
    rig.order_task()
    rig.turn_until(lambda: rig.chain.state.tasks)
    for _ in range(5):
        rig.turn()
    assert rig.get("/v1/tasks/1")["rounds_requested"] == 0
    assert rig.get("/v1/tasks/1")["pool"] == str(POOL)
    with rig.records.read() as unit:
        assert unit.outbox.refused(10) == []


def test_silent_proposers_are_waited_for_until_the_deadline_and_the_next_round_begins(rig: Rig) -> None:
    rig.start_task()
    rig.round_in("training")
    rig.chain.mine(seconds=200)
    rig.clock.unix_s += 200
    assert rig.round_in("aborted")["aggregate_digest"] is None
    assert rig.round_in("training", 2)["parent_digest"] == rig.get("/v1/tasks/1")["config"]["genesis_digest"]


def test_a_conductor_is_started_once_for_a_round_and_again_when_it_ended(rig: Rig) -> None:
    rig.start_task()
    rig.round_in("training")
    rig.turn_until(lambda: rig.flower.submitted)
    for _ in range(15):
        rig.turn()
    assert rig.flower.submitted == [(1, 1)]

    rig.flower.statuses["1"] = "failed"
    rig.turn_until(lambda: len(rig.flower.submitted) == 2)
    assert rig.flower.submitted == [(1, 1), (1, 1)]


def test_a_conductor_that_cannot_be_started_is_tried_again_ever_more_slowly(rig: Rig) -> None:
    rig.flower.is_down = True
    rig.start_task()
    rig.round_in("training")
    for _ in range(20):
        rig.turn()
    with rig.records.read() as unit:
        tries = unit.flower_runs.of_round(1, 1)
    assert 2 <= len(tries) <= 6
    assert {run.status for run in tries} <= {"failed", "submitting"}
    rig.flower.is_down = False
    rig.turn_until(lambda: rig.flower.submitted)


def test_a_worker_that_was_killed_while_it_submitted_submits_again(rig: Rig) -> None:
    rig.start_task()
    with rig.records.write() as unit:
        unit.flower_runs.add(1, 1, rig.clock.unix_s)
    rig.round_in("training")
    rig.turn_until(lambda: rig.flower.submitted == [(1, 1)])
    with rig.records.read() as unit:
        assert unit.flower_runs.of_round(1, 1)[0].status == "lost"


def test_a_conductor_whose_superlink_forgot_it_is_followed_by_another(rig: Rig) -> None:
    rig.start_task()
    rig.round_in("training")
    rig.turn_until(lambda: rig.flower.submitted)
    # A SuperLink that was killed and keeps nothing on disk.
    del rig.flower.statuses["1"]
    rig.turn_until(lambda: len(rig.flower.submitted) == 2)
    with rig.records.read() as unit:
        assert unit.flower_runs.of_round(1, 1)[0].status == "lost"


def test_two_workers_do_not_call_each_others_submissions_lost(rig: Rig) -> None:
    other = rig.new_worker().conductors
    assert other is not None
    with rig.records.write() as unit:
        unit.flower_runs.add(1, 1, rig.clock.unix_s)
    rig.clock.unix_s += LOST_AFTER_S - 1
    other.follow()
    with rig.records.read() as unit:
        assert unit.flower_runs.of_round(1, 1)[0].status == "submitting"
    rig.clock.unix_s += 1
    other.follow()
    with rig.records.read() as unit:
        assert unit.flower_runs.of_round(1, 1)[0].status == "lost"
    other.close()


def test_a_task_made_by_others_gets_no_pool_from_this_hub(rig: Rig) -> None:
    rig.admit_networks()
    rig.order_task()
    rig.turn_until(lambda: rig.chain.state.tasks and rig.chain.state.tasks[1].pool)
    config = rig.chain.state.tasks[1].config
    lane = rig.lanes.council
    lane.broadcast(lane.sign(chain.CreateTask(config), lane.next_nonce()))
    for _ in range(10):
        rig.turn()
    assert rig.get("/v1/tasks/1")["pool"] == str(POOL)
    assert rig.get("/v1/tasks/2")["pool"] == "0"
    assert len(rig.get("/v1/nodes")["items"]) == len(NETWORKS)
