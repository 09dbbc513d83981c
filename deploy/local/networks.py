"""The hospital networks of a local run: their own files, their keys, their nodes."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.local.commands import Commands
from deploy.local.federations import ADMIN, server_certificate
from deploy.local.flower_key import make_flower_key
from deploy.local.hospitals import HOSPITALS, THREADS_PER_HOSPITAL, policy_file
from deploy.local.hosts import Host, Hosts
from deploy.local.layout import Layout, write_json
from deploy.local.profile import Inner
from deploy.local.superlink_tls import SuperLinkTls
from deploy.local.system import BIN, HubAddresses
from tier_local.policy import read_policy

INNER_COMMAND = (sys.executable, "-m", "tier_local")
POISONED_INNER_COMMAND = (sys.executable, "-m", "deploy.local.poison")
COMMAND_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class NetworkNode:
    """One network as the consortium knows it: its name and its node's address."""

    name: str
    address: str
    flower_key: Path
    """The public key that its SuperNode is known by."""
    certificate: Path | None
    """Of its federation's server, where it is deployed."""
    poisoned: bool


def prepare_network(
    commands: Commands,
    layout: Layout,
    hub: HubAddresses,
    host: Host,
    name: str,
    *,
    model_cache: Path,
    inner: Inner,
    poisoned: bool,
) -> NetworkNode:
    """Write a network's own file over its hospitals, and make its node's keys and settings."""
    network_file = layout.network(name) / "network.json"
    write_json(network_file, _network(layout, name, model_cache, inner))
    flower_key_file = layout.network(name) / "flower"
    flower_key = make_flower_key(flower_key_file)
    inner_command = POISONED_INNER_COMMAND if poisoned else INNER_COMMAND
    envelope = commands.run_json(
        f"node-init-{name}",
        [
            *(BIN / "collegium", "node", "init", "--json"),
            *("--folder", layout.network(name)),
            *("--rpc-url", hub.rpc_url, "--deployment", layout.deployment),
            *("--network", network_file, "--signer-socket", layout.signer_socket(name)),
            *("--superlink-certificates", SuperLinkTls(layout.superlink_tls).root_certificate),
            *("--flower-key", flower_key_file),
            *("--inner-command", " ".join(inner_command)),
        ],
        timeout_s=COMMAND_TIMEOUT_S,
        host=host,
    )
    return NetworkNode(
        name=name,
        address=envelope["data"]["address"],
        flower_key=flower_key,
        certificate=server_certificate(layout, name) if inner is Inner.DEPLOYED else None,
        poisoned=poisoned,
    )


def approve_task(
    commands: Commands,
    layout: Layout,
    hub: HubAddresses,
    hosts: Hosts,
    nodes: Sequence[NetworkNode],
    task: int,
) -> None:
    """Each network's node signs its approval of the task and hands it to the orchestrator."""
    for node in nodes:
        commands.run(
            f"node-approve-{node.name}",
            [
                *(BIN / "collegium", "node", "approve"),
                *("--config", layout.network(node.name) / "node.json", "--task", str(task)),
                *("--orchestrator-url", hub.orchestrator_url),
            ],
            timeout_s=COMMAND_TIMEOUT_S,
            host=hosts.network(node.name),
        )


def _network(layout: Layout, name: str, model_cache: Path, inner: Inner) -> dict[str, object]:
    if inner is Inner.DEPLOYED:
        return {
            "name": name,
            "environment": "production",
            "admin_kit": str(layout.federation(name) / ADMIN),
            "sites": [
                {
                    "name": hospital,
                    "policy_digest": read_policy(policy_file(layout, name, hospital)).digest,
                }
                for hospital in HOSPITALS
            ],
        }
    return {
        "name": name,
        "environment": "simulator",
        "model_cache": str(model_cache),
        "threads_per_site": THREADS_PER_HOSPITAL,
        "sites": [
            {
                "name": hospital,
                "data_folder": str(layout.data / name / hospital),
                "policy_file": str(policy_file(layout, name, hospital)),
                "state_folder": str(policy_file(layout, name, hospital).with_name("state")),
            }
            for hospital in HOSPITALS
        ],
    }
