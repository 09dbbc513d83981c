"""The networks' NVFlare federations in a deployed run: provisioned, started and kept up as in hospitals.

Every participant has a kit: a network's server, its hospitals, and its node, which submits inner rounds as
the admin. Server and hospitals are processes of their own, ``collegium local start``, up across the rounds.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from deploy.local.commands import Commands
from deploy.local.hospitals import HOSPITALS, THREADS_PER_HOSPITAL, policy_file
from deploy.local.layout import Layout
from deploy.local.ports import accepts_connections, free_ports
from deploy.local.supervisor import LauncherError, Supervisor
from deploy.local.system import BIN, READY_TIMEOUT_S

SERVER = "server"
ADMIN = "admin"
"""Folders of kits, as ``collegium local provision`` names them; a hospital's has its own name."""

PROVISION_TIMEOUT_S = 300.0
STATUS_TIMEOUT_S = 60.0
LOOK_EVERY_S = 1.0
_PROVISIONED_SIDE_BY_SIDE = 2


def start_federations(
    supervisor: Supervisor,
    commands: Commands,
    layout: Layout,
    network_names: Sequence[str],
    model_cache: Path,
) -> None:
    """Make all kits, start every server and hospital, and wait until each hospital is connected.

    The hospitals' policies must be there.

    Raises:
        LauncherError: a command failed, a process ended, or not all were connected in time.
    """
    ports = dict(zip(network_names, free_ports(len(network_names)), strict=True))
    _provision_all(commands, layout, ports, model_cache)
    # Servers first: a hospital that finds none tries again only ten seconds later.
    for name in ports:
        _serve(supervisor, layout, name, SERVER)
    supervisor.wait_for(
        lambda: all(accepts_connections(port) for port in ports.values()),
        "the federations' servers to be ready",
        READY_TIMEOUT_S,
    )
    for name in ports:
        for hospital in HOSPITALS:
            _serve(supervisor, layout, name, hospital)
    for name in ports:
        _wait_for_hospitals(supervisor, commands, layout, name)


def _provision_all(commands: Commands, layout: Layout, ports: Mapping[str, int], model_cache: Path) -> None:
    with ThreadPoolExecutor(_PROVISIONED_SIDE_BY_SIDE) as executor:
        made = [
            executor.submit(_provision, commands, layout, name, port, model_cache)
            for name, port in ports.items()
        ]
    for each in made:
        each.result()


def _provision(commands: Commands, layout: Layout, name: str, port: int, model_cache: Path) -> None:
    sites: list[str] = []
    for hospital in HOSPITALS:
        sites += ["--site", f"{hospital}={layout.data / name / hospital}"]
        sites += ["--policy", f"{hospital}={policy_file(layout, name, hospital)}"]
    commands.run(
        f"provision-{name}",
        [
            *(BIN / "collegium", "local", "provision"),
            *("--folder", layout.federation(name), "--network", name),
            *sites,
            *("--model-cache", model_cache, "--threads", str(THREADS_PER_HOSPITAL)),
            *("--server-port", str(port)),
        ],
        timeout_s=PROVISION_TIMEOUT_S,
    )


def _serve(supervisor: Supervisor, layout: Layout, name: str, holder: str) -> None:
    kit = layout.federation(name) / holder
    supervisor.launch(f"{name}-{holder}", [BIN / "collegium", "local", "start", kit])


def _wait_for_hospitals(supervisor: Supervisor, commands: Commands, layout: Layout, name: str) -> None:
    supervisor.wait_for(
        lambda: _connected(commands, layout, name) == set(HOSPITALS),
        f"the hospitals of {name} to be connected with their server",
        READY_TIMEOUT_S,
        poll_s=LOOK_EVERY_S,
    )


def _connected(commands: Commands, layout: Layout, name: str) -> set[str]:
    """The hospitals that are connected with the network's server; none while it does not answer."""
    try:
        envelope = commands.run_json(
            f"{name}-status",
            [BIN / "collegium", "local", "status", layout.federation(name) / ADMIN, "--json"],
            timeout_s=STATUS_TIMEOUT_S,
        )
    except LauncherError:
        return set()
    return set(envelope["data"]["sites"])
