"""One Anvil for the session; worlds on it are cheap, because each deploys its own contracts."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.chain.anvil import Anvil, running_anvil
from tests.chain.stage import Stage
from tests.chain.story import Story, tell
from tests.chain.world import Script, World


@pytest.fixture(scope="session")
def anvil(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Anvil]:
    """A chain that mines every transaction at once."""
    with running_anvil(tmp_path_factory.mktemp("anvil") / "anvil.log") as running:
        yield running


@pytest.fixture
def make_world(anvil: Anvil, tmp_path: Path) -> Callable[..., World]:
    """Makes a world on the session's chain; takes the keyword arguments of ``World.build``."""

    def make(**arguments: Any) -> World:
        return World.build(anvil, tmp_path, **arguments)

    return make


@pytest.fixture(scope="session")
def played(anvil: Anvil, tmp_path_factory: pytest.TempPathFactory) -> World:
    """A world whose task 1 has three rounds played: final, rejected, aborted. Only to be read."""
    world = World.build(anvil, tmp_path_factory.mktemp("played"))
    task = world.create_task()
    world.play_round(task)
    everybody = frozenset(world.nodes)
    world.play_round(task, Script(silent_attesters=everybody))
    world.play_round(task, Script(silent_voters=everybody))
    return world


@pytest.fixture(scope="session")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """A chain of its own on which the story was told. Only to be read."""
    folder = tmp_path_factory.mktemp("story")
    with running_anvil(folder / "anvil.log") as running:
        yield tell(Stage(running, folder / "artifacts"))


@pytest.fixture
def make_stage(anvil: Anvil, tmp_path: Path) -> Callable[[], Stage]:
    """Makes a stage on the session's chain."""
    return lambda: Stage(anvil, tmp_path / "artifacts")
