"""Clocks of the hub that jump, at each phase, and stay wrong: deadlines are the chain's."""

import pytest

from orchestrator.composition import SystemClock
from tests.faults.conftest import ON_SQLITE
from tests.faults.mortal import move_clock
from tests.faults.scene import Scene

HOUR_S, DAY_S = 3_600, 86_400


@ON_SQLITE
@pytest.mark.parametrize("jump_s", [-3_650 * DAY_S, -HOUR_S, HOUR_S, 60 * DAY_S])
def test_a_clock_that_jumps(scene: Scene, jump_s: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with scene.case(f"clock that jumps, {scene.phase}") as hub:
        # So that the API's clock, in this process, is put right at the end.
        monkeypatch.setattr(SystemClock, "now_unix_s", SystemClock.now_unix_s)
        move_clock(hub.clock_offset_s)
        hub.start_worker()
        hub.tick()
        hub.clock_offset_s.value = jump_s
        hub.play_to_the_end()
        scene.require_whole(hub)
