"""Reorganisations of depth 1 to 10 at each phase, with the phase's messages in the blocks that are lost."""

import pytest

from tests.faults.conftest import ON_SQLITE
from tests.faults.hub import DEEPEST_REORGANISATION, PATIENCE_S, PHASES, REBROADCAST_S, eventually
from tests.faults.scene import Scene


@ON_SQLITE
@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("depth", range(1, 11))
def test_a_reorganisation(opened: Scene, depth: int, phase: str) -> None:
    # From the beginning each time: a reorganisation past the moment to which a scene goes back ends it.
    with opened.case(f"reorganisation, {phase}", patience_s=PATIENCE_S) as hub:
        opened.chain.seal(DEEPEST_REORGANISATION)
        hub.start_worker()
        eventually(hub.is_up_to_date)
        hub.play(lambda: hub.phase() == phase)
        eventually(lambda: hub.act() or opened.chain.waiting())
        opened.chain.seal()
        opened.chain.reorganise(depth)
        hub.pass_time(REBROADCAST_S)
        hub.play_to_the_end()
        opened.require_whole(hub)
