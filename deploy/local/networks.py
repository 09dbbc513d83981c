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
    for hospital in _hospitals():
        _write_policy(_policy_file(layout, name, hospital), _policy(layout, name, hospital))
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
    return {
        "name": name,
        "sites": [
            {
                "name": hospital,
                "data_folder": str(layout.data / name / hospital),
                "policy_file": str(_policy_file(layout, name, hospital)),
                "state_folder": str(_policy_file(layout, name, hospital).with_name("state")),
            }
            for hospital in _hospitals()
        ],
        "model_cache": str(model_cache),
        # Several networks compute side by side on this machine, so each hospital takes one core.
        "threads_per_site": 1,
        "environment": "simulator",
    }


def _hospitals() -> list[str]:
    return [f"hospital-{number}" for number in range(1, HOSPITALS_PER_NETWORK + 1)]


def _policy_file(layout: Layout, network: str, hospital: str) -> Path:
    return layout.network(network) / hospital / "policy.json"


def _write_policy(file: Path, policy: dict[str, object]) -> None:
    """Where others can write a policy, or beside it, it counts as none; whatever the user's umask is."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_json(file, policy)
    file.chmod(0o600)


def _policy(layout: Layout, network: str, hospital: str) -> dict[str, object]:
    """What a hospital of the demo permits: any task on its own records, without noise; ``docs/policy.md``."""
    nothing_but = str((layout.data / network / hospital).resolve())
    return {
        "schema": "collegium.policy/1",
        "site": hospital,
        "tasks": "any",
        "base_models": "any",
        "data_sets": [{"folder": nothing_but, "uses": ["train", "evaluate"]}],
        "work": {
            "most_steps_per_round": 10_000,
            "most_epochs_per_round": None,
            "most_steps_per_day": None,
            "most_steps_per_task": None,
        },
        "resources": {"most_memory_bytes": None, "gpu_memory_share": 1.0},
        "hours": None,
        "least_records": 1,
        "privacy": None,
        "logs_may_leave": True,
        "kill_switch_file": "STOP",
    }
