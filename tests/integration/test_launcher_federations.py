"""The launcher's deployed federations with real processes, of one network."""

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from deploy.local import toy_data
from deploy.local.commands import Commands
from deploy.local.federations import start_federations
from deploy.local.hospitals import HOSPITALS, write_policies
from deploy.local.hosts import Hosts
from deploy.local.layout import Layout
from deploy.local.supervisor import DaemonDied, Supervisor
from deploy.local.system import common_environment

NETWORK = "east"


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path / "run")
    layout.make()
    toy_data.build(1, layout.data, [NETWORK], len(HOSPITALS))
    write_policies(layout, NETWORK)
    return layout


@pytest.fixture
def supervisor(layout: Layout) -> Iterator[Supervisor]:
    supervisor = Supervisor(layout.logs, common_environment())
    yield supervisor
    supervisor.stop()


def processes_of(kit: Path) -> list[psutil.Process]:
    """All processes that name a kit in their command line."""
    found = []
    for process in psutil.process_iter():
        try:
            if str(kit) in process.cmdline():
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def test_a_federation_is_connected_and_the_death_of_a_hospital_is_noticed(
    layout: Layout, supervisor: Supervisor
) -> None:
    commands = Commands(layout.logs, common_environment())
    start_federations(supervisor, commands, layout, Hosts(), [NETWORK], layout.folder / "models")
    assert list(supervisor.processes()) == ["east-server", *(f"east-{name}" for name in HOSPITALS)]
    supervisor.check()

    hospital = layout.federation(NETWORK) / HOSPITALS[-1]
    started = supervisor.processes()[f"east-{HOSPITALS[-1]}"]
    (nvflare,) = [process for process in processes_of(hospital) if process.pid != started]
    nvflare.kill()
    with pytest.raises(
        DaemonDied,
        match=rf"east-{HOSPITALS[-1]} ended with exit code 1; (.|\n)*NVFlare ended with exit code -9",
    ):
        supervisor.wait_for(lambda: False, "the hospital's end", 60)

    supervisor.stop()
    assert processes_of(layout.federation(NETWORK) / "server") == []
