"""The networks' NVFlare federations in a deployed run: provisioned, started and kept up as in hospitals.

Every participant has a kit: a network's server, its hospitals, and its node, which submits inner rounds as
the admin. Server and hospitals are processes of their own, ``collegium local start``, up across the rounds.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from deploy.local.commands import Commands
from deploy.local.hospitals import HOSPITALS, THREADS_PER_HOSPITAL, policy_file
from deploy.local.hosts import Host, Hosts
from deploy.local.layout import Layout
from deploy.local.ports import free_ports
from deploy.local.supervisor import LauncherError, Supervisor
from deploy.local.system import BIN, READY_TIMEOUT_S
from tier_local.kit import Kit, Role

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
    hosts: Hosts,
    network_names: Sequence[str],
    model_cache: Path,
) -> None:
    """Make all kits, start every server and hospital, and wait until each hospital is connected.

    The hospitals' policies must be there.

    Raises:
        LauncherError: a command failed, a process ended, or not all were connected in time.
    """
    ports = dict(zip(network_names, free_ports(len(network_names)), strict=True))
    _provision_all(commands, layout, hosts, ports, model_cache)
    # Servers first: a hospital that finds none tries again only ten seconds later.
    for name in ports:
        _serve(supervisor, layout, name, SERVER, hosts.network(name))
    supervisor.wait_for(
        lambda: all(hosts.network(name).accepts_connections(port) for name, port in ports.items()),
        "the federations' servers to be ready",
        READY_TIMEOUT_S,
    )
    for name in ports:
        for hospital in HOSPITALS:
            _serve(supervisor, layout, name, hospital, hosts.hospital(name, hospital))
    for name in ports:
        _wait_for_hospitals(supervisor, commands, layout, name, hosts.network(name))


def server_certificate(layout: Layout, name: str) -> Path:
    """The certificate by which a network's server is known."""
    return Kit(layout.federation(name) / SERVER, Role.SERVER, name).certificate_file


def _provision_all(
    commands: Commands, layout: Layout, hosts: Hosts, ports: Mapping[str, int], model_cache: Path
) -> None:
    with ThreadPoolExecutor(_PROVISIONED_SIDE_BY_SIDE) as executor:
        made = [
            executor.submit(
                _provision, commands, layout, name, hosts.network(name).address, port, model_cache
            )
            for name, port in ports.items()
        ]
    for each in made:
        each.result()


def _provision(
    commands: Commands, layout: Layout, name: str, server_host: str, port: int, model_cache: Path
) -> None:
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
            *("--server-host", server_host, "--server-port", str(port)),
        ],
        timeout_s=PROVISION_TIMEOUT_S,
    )


def _serve(supervisor: Supervisor, layout: Layout, name: str, holder: str, host: Host) -> None:
    kit = layout.federation(name) / holder
    supervisor.launch(f"{name}-{holder}", [BIN / "collegium", "local", "start", kit], host=host)


def _wait_for_hospitals(
    supervisor: Supervisor, commands: Commands, layout: Layout, name: str, host: Host
) -> None:
    supervisor.wait_for(
        lambda: _connected(commands, layout, name, host) == set(HOSPITALS),
        f"the hospitals of {name} to be connected with their server",
        READY_TIMEOUT_S,
        poll_s=LOOK_EVERY_S,
    )


def _connected(commands: Commands, layout: Layout, name: str, host: Host) -> set[str]:
    """The hospitals that are connected with the network's server; none while it does not answer."""
    try:
        envelope = commands.run_json(
            f"{name}-status",
            [BIN / "collegium", "local", "status", layout.federation(name) / ADMIN, "--json"],
            timeout_s=STATUS_TIMEOUT_S,
            host=host,
        )
    except LauncherError:
        return set()
    return set(envelope["data"]["sites"])
