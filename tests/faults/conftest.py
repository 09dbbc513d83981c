"""One chain for each kind of database, and scenes of it at each phase of a round."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache

import pytest

from tests.faults.hub import PHASES
from tests.faults.scene import Scene, cases, opened_scene

ON_SQLITE = pytest.mark.parametrize("opened", ["sqlite"], indirect=True)


@pytest.fixture(scope="session")
def opened_on(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], Scene]]:
    """The beginning on a kind of database; each is made once, however the tests take turns with them."""
    with ExitStack() as scenes:

        @cache
        def opened_on(kind: str) -> Scene:
            server = request.getfixturevalue("postgresql") if kind == "postgresql" else None
            return scenes.enter_context(opened_scene(tmp_path_factory.mktemp(f"faults-{kind}"), server))

        yield opened_on


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def opened(request: pytest.FixtureRequest, opened_on: Callable[[str], Scene]) -> Scene:
    """Nodes and task are ready; nobody approved the task yet."""
    return opened_on(request.param)


@pytest.fixture(scope="session", params=PHASES)
def scene(request: pytest.FixtureRequest, opened: Scene) -> Iterator[Scene]:
    """The round is in a phase, and nobody has sent anything in it yet."""
    with opened.at(request.param) as scene:
        yield scene


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many cases were tried; a test tries as many as a round has steps."""
    terminalreporter.section("faults")
    for name, count in sorted(cases.items()):
        terminalreporter.write_line(f"{count:5} {name}")
    terminalreporter.write_line(f"{cases.total():5} cases")
