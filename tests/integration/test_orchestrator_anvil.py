"""The control plane as processes over a real chain: two rounds, with messages signed by test keys.

One node's signing key is a contract wallet (ERC-1271), whose owner that key belongs to.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from eth_account import Account

from contracts.deployment import Deployment
from contracts.digests import sha256_digest
from deploy.local.chain_setup import set_up_demo_accounts
from deploy.local.ports import free_ports
from tests.chain.anvil import Anvil, running_anvil
from tests.chain.wallets import HOSTILE, deploy_wallet
from tests.integration.orchestrator_rig import (
    BY_ADDRESS,
    GENESIS,
    NETWORKS,
    POOL,
    REPORT,
    STAKE,
    TERMS,
    Network,
    adapter,
    task_spec,
)

COLLEGIUM = Path(sys.executable).with_name("collegium")
DEADLINE_S = 90.0


@dataclass
class Hub:
    """Running processes of the control plane, and an admin's session with them."""

    folder: Path
    environment: dict[str, str]
    session: httpx.Client
    deployment: Deployment
    chain: Anvil
    worker: subprocess.Popen[bytes]
    wallet: str
    """The signing key of the last network."""

    def command(self, *arguments: str) -> Any:
        """What a command answers."""
        return run_command(self.environment, *arguments)

    def get(self, path: str) -> Any:
        """A resource."""
        response = self.session.get(path)
        assert response.is_success, response.text
        return response.json()

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """The answer to a post."""
        response = self.session.post(path, json=body)
        assert response.is_success, response.text
        return response.json()

    def put(self, data: bytes) -> str:
        """Store an artifact; its digest."""
        digest = sha256_digest(data)
        response = self.session.put(f"/v1/artifacts/{digest}", content=data)
        assert response.is_success, response.text
        return digest

    def round_in(self, task: int, number: int, *phases: str) -> Any:
        """A round once it is in one of the phases."""
        path = f"/v1/tasks/{task}/rounds/{number}"

        def look() -> Any:
            response = self.session.get(path)
            state = response.json() if response.is_success else {}
            return state if state.get("phase") in phases else None

        return eventually(look)

    def admit(self, node: str, signer: str, group: int, name: str) -> None:
        """Order a node's admission."""
        self.post("/v1/nodes", {"node": node, "signer": signer, "group": group, "name": name})

    def kill_worker(self) -> None:
        """Kill the worker without notice and start another."""
        self.worker.kill()
        self.worker.wait()
        self.worker = start(self.environment, self.folder, "worker")


def eventually(look: Callable[[], Any]) -> Any:
    """What ``look`` finds, before a deadline."""
    deadline_s = time.monotonic() + DEADLINE_S
    while not (found := look()):
        assert time.monotonic() < deadline_s, "it did not happen in time"
        time.sleep(0.1)
    return found


def run_command(environment: dict[str, str], *arguments: str) -> Any:
    done = subprocess.run(
        [COLLEGIUM, *arguments, "--json"],
        env=environment,
        capture_output=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)["data"]


def start(environment: dict[str, str], folder: Path, name: str) -> subprocess.Popen[bytes]:
    log = (folder / f"{name}.log").open("ab")
    return subprocess.Popen([COLLEGIUM, name], env=environment, stdout=log, stderr=log)


def write_key(path: Path, chain: Anvil) -> str:
    key = "0x" + bytes(Account.create().key).hex()
    path.touch(mode=0o600)
    path.write_text(key)
    chain.give_gas(Account.from_key(key).address)
    return key


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with running_anvil(tmp_path / "anvil.log", "--block-time", "1") as chain:
        port = free_ports(1)[0]
        environment = os.environ | {
            "COLLEGIUM_MODE": "development",
            "COLLEGIUM_DATABASE_URL": f"sqlite:///{tmp_path}/hub.sqlite3",
            "COLLEGIUM_ARTIFACT_FOLDER": str(tmp_path / "artifacts"),
            "COLLEGIUM_RPC_URL": chain.rpc_url,
            "COLLEGIUM_DEPLOYMENT_FILE": str(tmp_path / "deployment.json"),
            "COLLEGIUM_RELAYER_KEY_FILE": str(tmp_path / "relayer"),
            "COLLEGIUM_COUNCIL_KEY_FILE": str(tmp_path / "council"),
            "COLLEGIUM_TOKEN_FOLDER": str(tmp_path / "tokens"),
            "COLLEGIUM_PORT": str(port),
            "COLLEGIUM_URL": f"http://127.0.0.1:{port}",
            "COLLEGIUM_TOKEN_FILE": str(tmp_path / "tokens" / "admin"),
        }
        write_key(tmp_path / "relayer", chain)
        council_key = write_key(tmp_path / "council", chain)
        run_command(environment, "deploy-contracts", "--out", str(tmp_path / "deployment.json"))
        run_command(environment, "migrate")
        run_command(environment, "tokens", "bootstrap")
        server = start(environment, tmp_path, "serve")
        worker = start(environment, tmp_path, "worker")
        token = (tmp_path / "tokens" / "admin").read_text().strip()
        deployment = Deployment.parse((tmp_path / "deployment.json").read_bytes())
        session = httpx.Client(
            base_url=environment["COLLEGIUM_URL"], headers={"Authorization": f"Bearer {token}"}, timeout=30
        )
        wallet = deploy_wallet(chain, NETWORKS[-1].address)
        hub = Hub(tmp_path, environment, session, deployment, chain, worker, wallet)
        try:
            eventually(lambda: _is_ready(session))
            for group, network in enumerate(NETWORKS, start=1):
                signer = wallet if network is NETWORKS[-1] else network.address
                hub.admit(network.address, signer, group, network.name)
            eventually(lambda: len(hub.get("/v1/nodes")["items"]) == len(NETWORKS))
            set_up_demo_accounts(
                chain.rpc_url,
                deployment,
                council_key=council_key,
                nodes=[network.address for network in NETWORKS],
                stake=STAKE,
                pool=POOL,
            )
            yield hub
        finally:
            session.close()
            for process in (hub.worker, server):
                process.send_signal(signal.SIGTERM)
            codes = [process.wait(20) for process in (hub.worker, server)]
        # uvicorn ends in order and then repeats the signal to itself.
        assert codes == [0, -signal.SIGTERM]


def _is_ready(session: httpx.Client) -> bool:
    try:
        return session.get("/readyz").is_success
    except httpx.TransportError:
        return False


def play_round(hub: Hub, task: int, number: int, *, kill: bool = False) -> Any:
    """Every drawn node sends what it should; the round as it is when closed."""
    path = f"/v1/tasks/{task}/rounds/{number}"
    state = hub.round_in(task, number, "training")
    proposers: list[Network] = [BY_ADDRESS[node] for node in state["proposers"]]
    for network in proposers:
        hub.put(network.adapter(number))
        hub.post(f"{path}/proposals", network.proposal(hub.deployment.rounds_domain, state))
        if kill:
            hub.kill_worker()
    state = hub.round_in(task, number, "committing")
    voters: list[Network] = [BY_ADDRESS[node] for node in state["voters"]]
    for network in voters:
        hub.post(f"{path}/commits", network.commit(hub.deployment.rounds_domain, state))
    hub.round_in(task, number, "revealing")
    for network in voters:
        hub.post(f"{path}/reveals", network.reveal(state))
    state = hub.round_in(task, number, "attesting")
    values = [
        BY_ADDRESS[proposal["node"]].value_in(number)
        for proposal in state["proposals"]
        if proposal["standing"] == "accepted"
    ]
    digest = hub.put(adapter(sum(values) / len(values)))
    for network in voters:
        hub.post(f"{path}/attestations", network.attestation(hub.deployment.rounds_domain, state, digest))
    closed = hub.round_in(task, number, "final", "rejected", "aborted")
    assert closed["aggregate_digest"] == digest
    return closed


def refused_wallets(hub: Hub, task: int, spec_digest: str) -> list[str]:
    """What the hub answers when contracts that misbehave are to speak for nodes, one for each."""
    answers = []
    for index, answer in enumerate(HOSTILE):
        network = Network(f"hostile {index}", 9.0)
        signer = deploy_wallet(hub.chain, network.address, answer)
        hub.admit(network.address, signer, 10 + index, network.name)
        where = f"/v1/nodes/{network.address}"
        eventually(lambda where=where: hub.session.get(where).is_success)
        body = network.approval(hub.deployment, task, spec_digest, int(time.time()) + 600)
        refusal = hub.session.post(f"/v1/tasks/{task}/approvals", json=body)
        assert refusal.status_code == 422, refusal.text
        answers.append(refusal.json()["code"])
    return answers


def test_a_task_of_two_rounds(hub: Hub, tmp_path: Path) -> None:
    spec = task_spec()
    (tmp_path / "spec.json").write_bytes(spec.canonical_bytes())
    (tmp_path / "genesis.safetensors").write_bytes(GENESIS)
    (tmp_path / "terms.json").write_text(json.dumps(TERMS))
    created = hub.command(
        *("task", "create", "--spec", str(tmp_path / "spec.json")),
        *("--genesis", str(tmp_path / "genesis.safetensors")),
        *("--config", str(tmp_path / "terms.json"), "--pool", str(POOL)),
    )
    task = created["task"]
    hub.put(REPORT)
    for network in NETWORKS:
        body = network.approval(hub.deployment, task, spec.digest, int(time.time()) + 600)
        hub.post(f"/v1/tasks/{task}/approvals", body)
    assert refused_wallets(hub, task, spec.digest) == ["bad_signature"] * len(HOSTILE)
    first = play_round(hub, task, 1)
    hub.chain.ask("anvil_reorg", 3, [])
    first = hub.round_in(task, 1, "final")
    second = play_round(hub, task, 2, kill=True)
    first = hub.round_in(task, 1, "final")

    assert [first["phase"], second["phase"]] == ["final", "final"]
    assert hub.get(f"/v1/nodes/{NETWORKS[-1].address}")["signer"] == hub.wallet
    assert NETWORKS[-1].address in {attestation["node"] for attestation in second["attestations"]}
    assert second["parent_digest"] == first["aggregate_digest"]
    kinds = {"request_round", "advance", "proposal", "commit", "reveal", "attestation"}
    assert set(first["gas"]) == kinds
    assert min(first["gas"].values()) > 0
    earned = {node["node"]: int(node["earned"]) for node in hub.get("/v1/nodes")["items"]}
    paid = sum(int(reward["amount"]) for state in (first, second) for reward in state["rewards"])
    assert sum(earned.values()) == paid > 0
    finished = hub.get(f"/v1/tasks/{task}")
    assert finished["status"] == "finished"
    assert int(finished["pool"]) + paid == POOL
    assert hub.command("rounds", "watch", "--task", str(task))["rounds"][1]["phase"] == "final"
