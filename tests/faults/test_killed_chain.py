"""The chain's node is killed in each phase and started again from what it had saved.

What waited for a block is gone then, and what was not saved yet: blocks that the hub has read.
"""

from collections.abc import Iterator

import pytest

from tests.faults.chain import MortalChain, mortal_chain
from tests.faults.hub import PATIENCE_S, PHASES, REBROADCAST_S, Hub, eventually
from tests.faults.scene import Scene, opened_scene

TRIES_AGAIN = "trying again"
LOST_BLOCKS = (1, 2, 3)


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Nodes and task are ready, on a chain that can be killed."""
    with opened_scene(tmp_path_factory.mktemp("faults-chain"), None, mortal_chain) as scene:
        yield scene


@pytest.fixture(scope="module", params=PHASES)
def scene(request: pytest.FixtureRequest, opened: Scene) -> Iterator[Scene]:
    """The round is in a phase, and nobody has sent anything in it yet."""
    with opened.at(request.param) as scene:
        yield scene


def chain_of(scene: Scene) -> MortalChain:
    assert isinstance(scene.chain, MortalChain)
    return scene.chain


def finish(scene: Scene, hub: Hub) -> None:
    """Play on, after the time in which the hub sends nothing again."""
    hub.pass_time(REBROADCAST_S)
    hub.play_to_the_end()
    assert hub.deaths == 0
    scene.require_whole(hub)


def test_what_waited_for_a_block_is_gone(scene: Scene) -> None:
    chain = chain_of(scene)
    with scene.case(f"kill -9 of the chain, transactions wait, {scene.phase}") as hub:
        hub.start_worker()
        eventually(lambda: hub.act() or chain.waiting())
        state = chain.save(hub.folder)
        chain.kill()
        chain.start(state)
        assert not chain.waiting()
        finish(scene, hub)


@pytest.mark.parametrize("blocks", LOST_BLOCKS)
def test_blocks_are_lost(scene: Scene, blocks: int) -> None:
    chain = chain_of(scene)
    name = f"kill -9 of the chain, {blocks} blocks lost, {scene.phase}"
    with scene.case(name, patience_s=PATIENCE_S) as hub:
        hub.start_worker()
        state = chain.save(hub.folder)
        eventually(lambda: hub.act() or chain.waiting())
        for _ in range(blocks):
            eventually(hub.is_up_to_date)
            hub.act()
            chain.seal()
        eventually(hub.is_up_to_date)
        chain.kill()
        chain.start(state)
        finish(scene, hub)


def test_nobody_answers_for_a_while(scene: Scene) -> None:
    chain = chain_of(scene)
    with scene.case(f"kill -9 of the chain, gone for a while, {scene.phase}") as hub:
        hub.start_worker()
        eventually(hub.is_up_to_date)
        state = chain.save(hub.folder)
        chain.kill()
        eventually(lambda: TRIES_AGAIN in (hub.folder / "worker.log").read_text())
        # The API goes on without the chain.
        hub.act()
        assert hub.sent
        commits = hub.commits()
        eventually(lambda: (hub.folder / "worker.log").read_text().count(TRIES_AGAIN) >= 3)
        assert hub.commits() == commits
        chain.start(state)
        finish(scene, hub)
