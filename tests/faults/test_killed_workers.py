"""kill -9 of the worker at every transaction that it commits in a round, on either side of the commit."""

from typing import Literal

import pytest

from tests.faults.hub import CLOSED
from tests.faults.mortal import Death
from tests.faults.scene import Scene

LIVES_DEADLINE_S = 900.0
MOST_RUNS = 3
"""For a commit that a run did not get to."""


@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    "opened", [pytest.param("sqlite", marks=pytest.mark.quick), "postgresql"], indirect=True
)
def test_a_worker_whose_every_life_ends_at_its_first_commit(opened: Scene) -> None:
    with opened.case("kill -9 in each life, after its first commit") as hub:
        hub.next_death = Death(1, "after")
        hub.start_worker(hub.next_death)
        hub.play(lambda: hub.phase() in CLOSED, LIVES_DEADLINE_S)
        assert hub.deaths >= 50
        hub.next_death = None
        hub.play_to_the_end()
        opened.require_whole(hub)


@pytest.fixture(scope="session")
def commits(scene: Scene) -> int:
    """How many commits a worker makes from here to the next phase when nobody disturbs it."""
    with scene.case("undisturbed") as hub:
        hub.start_worker()
        hub.play(lambda: hub.phase() not in ("", scene.phase))
        found = hub.commits()
        hub.play_to_the_end()
        scene.require_whole(hub)
    return found


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("side", ["before", "after"])
def test_a_worker_killed_at_any_commit(scene: Scene, commits: int, side: Literal["before", "after"]) -> None:
    assert commits >= 4
    died_at = [number for number in range(1, commits + 1) if _dies_at(number, side, scene)]
    assert len(died_at) >= commits // 2


def _dies_at(number: int, side: Literal["before", "after"], scene: Scene) -> bool:
    """Kill the worker at this commit; whether a run got so far.

    What comes together shares a commit, so a run may take fewer of them than the undisturbed one took.
    """
    for _ in range(MOST_RUNS):
        with scene.case(f"kill -9 {side} a commit, {scene.phase}") as hub:
            hub.start_worker(Death(number, side))
            hub.play_to_the_end()
            assert hub.deaths == 1 or hub.commits() < number
            scene.require_whole(hub)
            if hub.deaths:
                return True
    return False
