"""The daemons of a local run: what each is started with, and how one knows that it is ready."""

import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from deploy.local.hosts import LOOPBACK_ADDRESS, THIS_MACHINE, Host, Hosts
from deploy.local.hub import Hub
from deploy.local.layout import Layout
from deploy.local.ports import free_ports
from deploy.local.superlink_tls import SuperLinkTls
from deploy.local.supervisor import LauncherError, Supervisor

BIN = Path(sys.executable).parent
EVM_BIN = Path(__file__).parents[2] / "contracts" / "evm" / "node_modules" / ".bin"
APP_FOLDER = Path(__file__).parents[2] / "tier_global" / "app"
READY_TIMEOUT_S = 120.0
RPC_TIMEOUT_S = 5.0
SECONDS_PER_BLOCK = 1
AUDIT_EPOCH_ROWS = 16
GAS_ALLOWANCE_WEI = 1_000 * 10**18


@dataclass(frozen=True)
class HubAddresses:
    """Where the chain and the hub's services are."""

    host: Host
    chain_port: int
    orchestrator_port: int
    superlink_port: int

    @classmethod
    def free(cls, host: Host = THIS_MACHINE) -> "HubAddresses":
        """On ports that nothing listens at now."""
        return cls(host, *free_ports(3))

    @property
    def rpc_url(self) -> str:
        return f"http://{self.host.address}:{self.chain_port}"

    @property
    def orchestrator_url(self) -> str:
        return f"http://{self.host.address}:{self.orchestrator_port}"

    @property
    def superlink(self) -> str:
        return f"{self.host.address}:{self.superlink_port}"


def start_chain(supervisor: Supervisor, layout: Layout, hub: HubAddresses) -> None:
    """Anvil with a block a second, its state saved every second."""
    # An Anvil that was killed leaves them.
    shutil.rmtree(layout.chain_history, ignore_errors=True)
    supervisor.start(
        "chain",
        [
            EVM_BIN / "anvil",
            *("--host", hub.host.address, "--port", str(hub.chain_port)),
            *("--block-time", str(SECONDS_PER_BLOCK)),
            *("--state", layout.chain_state, "--state-interval", "1"),
            *("--cache-path", layout.chain_history),
            *("--accounts", "1"),
        ],
        host=hub.host,
        ready=lambda: _answers_rpc(hub.rpc_url),
        timeout_s=READY_TIMEOUT_S,
    )


def start_orchestrator(supervisor: Supervisor, layout: Layout, hub: HubAddresses, session: Hub) -> None:
    """The API with the dashboard, and the worker; database and contracts must be there."""
    environment = orchestrator_environment(layout, hub)
    supervisor.start(
        "orchestrator",
        [BIN / "collegium", "serve"],
        environment=environment,
        host=hub.host,
        ready=lambda: hub.host.accepts_connections(hub.orchestrator_port),
        timeout_s=READY_TIMEOUT_S,
    )
    supervisor.launch("worker", [BIN / "collegium", "worker"], environment=environment, host=hub.host)
    supervisor.wait_for(session.is_ready, "the orchestrator to be ready", READY_TIMEOUT_S)


def start_superlink(supervisor: Supervisor, layout: Layout, hub: HubAddresses) -> None:
    """Flower's relay, which lets in registered keys only; each round's conductor is its child.

    The conductor inherits this environment.
    """
    tls = SuperLinkTls(layout.superlink_tls)
    write_flower_connection(layout, hub)
    supervisor.start(
        "superlink",
        [
            BIN / "flower-superlink",
            "--disable-runtime-dependency-installation",
            *("--ssl-certfile", tls.certificate, "--ssl-keyfile", tls.key),
            *("--ssl-ca-certfile", tls.root_certificate, "--enable-supernode-auth"),
            *("--host", hub.host.address, "--port", str(hub.superlink_port)),
        ],
        environment={
            "FLWR_HOME": str(layout.flower / "superlink"),
            "COLLEGIUM_ORCHESTRATOR_URL": hub.orchestrator_url,
            "COLLEGIUM_CONDUCTOR_TOKEN_FILE": str(layout.tokens / "conductor"),
            "COLLEGIUM_DEPLOYMENT_FILE": str(layout.deployment),
            "COLLEGIUM_REGISTERED_NODES_ONLY": "1",
            "COLLEGIUM_CONDUCTOR_JOURNAL": str(layout.conductor_journal),
        },
        host=hub.host,
        ready=lambda: hub.host.accepts_connections(hub.superlink_port),
        timeout_s=READY_TIMEOUT_S,
    )


def start_signers(supervisor: Supervisor, layout: Layout, network_names: Sequence[str], hosts: Hosts) -> None:
    """For each network the process that holds its node's signing key."""
    for name in network_names:
        supervisor.launch(
            f"signer-{name}",
            [BIN / "collegium", "node", "signer", "--config", layout.network(name) / "node.json"],
            host=hosts.network(name),
        )
    supervisor.wait_for(
        lambda: all(layout.signer_socket(name).is_socket() for name in network_names),
        "the signers to be ready",
        READY_TIMEOUT_S,
    )


def start_supernodes(
    supervisor: Supervisor, layout: Layout, hub: HubAddresses, network_names: Sequence[str], hosts: Hosts
) -> None:
    """One SuperNode for each network, each with its own folder, key and port."""
    node_ports = free_ports(len(network_names))
    for name, port in zip(network_names, node_ports, strict=True):
        supervisor.launch(
            f"supernode-{name}",
            [
                *(BIN / "collegium", "node", "start"),
                *("--config", layout.network(name) / "node.json"),
                *("--superlink", hub.superlink, "--port", str(port)),
            ],
            host=hosts.network(name),
        )
    supervisor.wait_for(
        # The API of a SuperNode is for its own host alone.
        lambda: all(
            hosts.network(name).accepts_connections(port, LOOPBACK_ADDRESS)
            for name, port in zip(network_names, node_ports, strict=True)
        ),
        "the SuperNodes to be ready",
        READY_TIMEOUT_S,
    )


def common_environment() -> dict[str, str]:
    """What every process of a local run inherits: nothing phones home, nothing asks a model hub."""
    return dict(os.environ) | {
        "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}",
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.2",
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }


def write_flower_connection(layout: Layout, hub: HubAddresses) -> None:
    """Tell ``flwr run`` where the SuperLink is."""
    folder = layout.flower / "client"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.toml").write_text(
        "[superlink]\n"
        'default = "collegium"\n\n'
        "[superlink.collegium]\n"
        f'address = "{hub.superlink}"\n'
        f'root-certificates = "{SuperLinkTls(layout.superlink_tls).root_certificate}"\n'
    )


def orchestrator_environment(layout: Layout, hub: HubAddresses) -> dict[str, str]:
    """The settings of the orchestrator's processes and commands."""
    return {
        # Everything is on this machine, over plain http.
        "COLLEGIUM_MODE": "development",
        "COLLEGIUM_DATABASE_URL": f"sqlite:///{layout.database}",
        "COLLEGIUM_ARTIFACT_FOLDER": str(layout.artifacts),
        "COLLEGIUM_RPC_URL": hub.rpc_url,
        "COLLEGIUM_DEPLOYMENT_FILE": str(layout.deployment),
        "COLLEGIUM_RELAYER_KEY_FILE": str(layout.keys / "relayer"),
        "COLLEGIUM_COUNCIL_KEY_FILE": str(layout.keys / "council"),
        "COLLEGIUM_TOKEN_FOLDER": str(layout.tokens),
        "COLLEGIUM_FLOWER_APP_FOLDER": str(APP_FOLDER),
        "COLLEGIUM_FLOWER_HOME": str(layout.flower / "client"),
        "COLLEGIUM_FLOWER_CONNECTION": "collegium",
        # A run is short: its audit log is anchored on chain while it lasts.
        "COLLEGIUM_AUDIT_EPOCH_MINUTES": "1",
        "COLLEGIUM_AUDIT_EPOCH_ROWS": str(AUDIT_EPOCH_ROWS),
        "COLLEGIUM_HOST": hub.host.address,
        "COLLEGIUM_PORT": str(hub.orchestrator_port),
        "COLLEGIUM_URL": hub.orchestrator_url,
        "COLLEGIUM_TOKEN_FILE": str(layout.tokens / "admin"),
    }


def give_gas(rpc_url: str, address: str) -> None:
    """Give an account of the local chain some of its currency (a method of Anvil's)."""
    _rpc(rpc_url, "anvil_setBalance", [address, hex(GAS_ALLOWANCE_WEI)])


def _answers_rpc(rpc_url: str) -> bool:
    try:
        _rpc(rpc_url, "eth_chainId", [])
    except LauncherError:
        return False
    return True


def _rpc(rpc_url: str, method: str, parameters: list[str]) -> object:
    request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}
    try:
        answer = httpx.post(rpc_url, json=request, timeout=RPC_TIMEOUT_S).raise_for_status().json()
    except httpx.HTTPError as error:
        raise LauncherError(f"the chain does not answer {method}: {error}") from error
    if "error" in answer:
        raise LauncherError(f"the chain refuses {method}: {answer['error']}")
    result: object = answer["result"]
    return result
