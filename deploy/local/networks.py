"""The hospital networks of a local run: their data, their keys, their nodes."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.local.commands import Commands
from deploy.local.layout import Layout, write_json
from deploy.local.profile import HOSPITALS_PER_NETWORK
from deploy.local.system import BIN, Ports

INNER_COMMAND = (sys.executable, "-m", "tier_local")
POISONED_INNER_COMMAND = (sys.executable, "-m", "deploy.local.poison")
COMMAND_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class NetworkNode:
    """One network as the consortium knows it: its name and its node's address."""

    name: str
    address: str
    poisoned: bool


def prepare_network(
    commands: Commands, layout: Layout, ports: Ports, name: str, *, model_cache: Path, poisoned: bool
) -> NetworkNode:
    """Write a network's own file over its hospitals' data, and make its node's key and settings."""
    network_file = layout.network(name) / "network.json"
    write_json(network_file, _network(layout, name, model_cache))
    inner_command = POISONED_INNER_COMMAND if poisoned else INNER_COMMAND
    envelope = commands.run_json(
        f"node-init-{name}",
        [
            *(BIN / "collegium", "node", "init", "--json"),
            *("--folder", layout.network(name)),
            *("--rpc-url", ports.rpc_url, "--deployment", layout.deployment),
            *("--network", network_file),
            *("--inner-command", " ".join(inner_command)),
        ],
        timeout_s=COMMAND_TIMEOUT_S,
    )
    return NetworkNode(name=name, address=envelope["data"]["address"], poisoned=poisoned)


def approve_task(
    commands: Commands, layout: Layout, ports: Ports, nodes: Sequence[NetworkNode], task: int
) -> None:
    """Each network's node signs its approval of the task and hands it to the orchestrator."""
    for node in nodes:
        commands.run(
            f"node-approve-{node.name}",
            [
                *(BIN / "collegium", "node", "approve"),
                *("--config", layout.network(node.name) / "node.json", "--task", str(task)),
                *("--orchestrator-url", ports.orchestrator_url),
            ],
            timeout_s=COMMAND_TIMEOUT_S,
        )


def _network(layout: Layout, name: str, model_cache: Path) -> dict[str, object]:
    hospitals = [f"hospital-{number}" for number in range(1, HOSPITALS_PER_NETWORK + 1)]
    return {
        "name": name,
        "sites": [
            {"name": hospital, "data_folder": str(layout.data / name / hospital)} for hospital in hospitals
        ],
        "model_cache": str(model_cache),
        # Several networks compute side by side on this machine, so each hospital takes one core.
        "threads_per_site": 1,
        "environment": "simulator",
    }
