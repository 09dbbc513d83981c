"""Whole rounds over real Flower daemons and a real chain; inner tier and orchestrator are doubles."""

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from contracts.aggregation import Contribution, aggregate
from contracts.aggregation.spec import Mean
from contracts.manifest import adapter_digest
from contracts.phase import Phase
from orchestrator.adapters.flower import FlowerCommandNodes
from orchestrator.domain.chain import RequestRound
from tests.chain.anvil import running_anvil
from tests.chain.world import GENESIS, MANIFEST, World
from tests.integration.certificates import self_signed
from tests.integration.flower_rig import FlowerRig, until
from tests.integration.hub_double import TOKEN_TEXT, HubDouble
from tier_global.bundle import installed_bundle
from tier_global.node_config import NodeConfig
from tier_global.node_status import read_status

NODES = 2
ROUND_TIMEOUT_S = 240.0
ANSWER_TIMEOUT_S = 120.0

HOSTILE_TOML = """
[project]
name = "collegium-round"
version = "1.0.0"
license = "Apache-2.0"

[tool.flwr.app]
publisher = "collegium"

[tool.flwr.app.components]
serverapp = "attack:server"
clientapp = "tier_global.client_app:app"

[tool.flwr.app.config]
task = 0
round = 0
nodes = {nodes}
"""
# A node that was killed counts as one more until a minute has passed.
HOSTILE_SERVER = """
import time

from flwr.app import Message, RecordDict
from flwr.serverapp import ServerApp

server = ServerApp()


@server.main()
def main(grid, context):
    give_up_s = time.monotonic() + 100
    while len(nodes := list(grid.get_node_ids())) > context.run_config["nodes"]:
        assert time.monotonic() < give_up_s, nodes
        time.sleep(0.5)
    orders = [Message(RecordDict(), dst_node_id=node, message_type="query") for node in nodes]
    for reply in grid.send_and_receive(orders, timeout=100):
        print("REPLY:", reply.error.reason if reply.has_error() else "obeyed", flush=True)
"""
HOSTILE_CLIENT = """
import os
from pathlib import Path

from flwr.app import Message, RecordDict
from flwr.clientapp import ClientApp

Path(os.environ["FLWR_HOME"], "was-here").touch()
app = ClientApp()


@app.query()
def obey(message, context):
    return Message(RecordDict(), reply_to=message)
"""


@dataclass
class Consortium:
    """Two networks' nodes on Flower, a chain, and the double of the orchestrator."""

    world: World
    hub: HubDouble
    rig: FlowerRig
    folder: Path

    def node_folder(self, node: str) -> Path:
        return self.folder / "nodes" / node

    def jobs(self, node: str) -> list[str]:
        """The inner jobs that a node has run, oldest first."""
        file = self.node_folder(node) / "network.json.jobs"
        return [json.loads(line)["job"] for line in file.read_text().splitlines()] if file.exists() else []

    def configure(self, node: str, **network: object) -> None:
        """Write a node's network file, which tells the inner double what to do."""
        (self.node_folder(node) / "network.json").write_text(json.dumps({"name": node, **network}))

    def start_node(self, node: str) -> None:
        self.rig.start_node(node, self.node_folder(node) / "node.json")

    def open_round(self) -> int:
        """Create a task of which all nodes approve, and request its first round; the task's number."""
        with self.hub.alone():
            return self._open_round()

    def _open_round(self) -> int:
        task = self.world.create_task(
            proposers=NODES,
            voters=NODES,
            min_proposals=1,
            min_scorers=1,
            training_s=300,
            committing_s=300,
            revealing_s=300,
            attesting_s=300,
        )
        self.world.send(RequestRound(task))
        self.hub.follow(task)
        return task

    def await_phase(self, task: int, phase: Phase) -> None:
        until(lambda: self.world.phase(task, 1) >= phase, ROUND_TIMEOUT_S, f"phase {phase.label}")


@pytest.fixture(scope="module")
def consortium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Consortium]:
    with consortium_in(tmp_path_factory.mktemp("flower")) as consortium:
        for node in consortium.world.nodes:
            write_node(consortium, node)
            consortium.start_node(node)
        yield consortium


@contextmanager
def consortium_in(folder: Path, tls: tuple[Path, Path] | None = None) -> Iterator[Consortium]:
    """A chain, the double of the orchestrator and a SuperLink; no node runs yet."""
    with running_anvil(folder / "anvil.log") as anvil:
        world = World.build(anvil, folder, groups=range(1, NODES + 1))
        deployment_file = folder / "deployment.json"
        deployment_file.write_bytes(world.deployment.to_json())
        token_file = folder / "token"
        token_file.touch(mode=0o600)
        token_file.write_text(TOKEN_TEXT)
        hub = HubDouble(world)
        with hub.serving() as url:
            environment = {
                "COLLEGIUM_ORCHESTRATOR_URL": url,
                "COLLEGIUM_CONDUCTOR_TOKEN_FILE": str(token_file),
                "COLLEGIUM_DEPLOYMENT_FILE": str(deployment_file),
                "COLLEGIUM_CONDUCTOR_JOURNAL": str(folder / "journal.jsonl"),
                "COLLEGIUM_REGISTERED_NODES_ONLY": str(int(tls is not None)),
            }
            with FlowerRig.running(folder, environment, tls) as rig:
                yield Consortium(world, hub, rig, folder)


def write_node(consortium: Consortium, node: str, name: str = "", **settings: object) -> None:
    """Write what a node has on disk, under a name of its own if it has one."""
    folder = consortium.node_folder(name or node)
    folder.mkdir(parents=True)
    key_file = folder / "node.key"
    key_file.touch(mode=0o600)
    key_file.write_text(consortium.world.nodes[node].key)
    consortium.configure(name or node)
    config: dict[str, object] = {
        "address": node,
        "key_file": "node.key",
        "rpc_url": consortium.world.anvil.rpc_url,
        "deployment_file": str(consortium.folder / "deployment.json"),
        "state_folder": "state",
        "network_file": "network.json",
        "inner_command": [sys.executable, str(Path(__file__).with_name("inner_double.py"))],
        "allowed_bundles": [installed_bundle()],
        **settings,
    }
    (folder / "node.json").write_text(json.dumps(config))


def test_a_round_runs_to_its_end(consortium: Consortium) -> None:
    task = consortium.open_round()

    run_id = consortium.rig.submit(task, 1)
    consortium.await_phase(task, Phase.FINAL)

    view = consortium.world.view(task, 1)
    assert Phase(view.phase) is Phase.FINAL, consortium.rig.run_log(run_id)
    assert len(view.proposals) == NODES
    assert all(vote.revealed for vote in view.votes)
    assert "0x" + view.aggregateDigest.hex() == adapter_digest(expected_aggregate(consortium.world, task))
    assert consortium.world.artifact_path("0x" + view.aggregateDigest.hex()).exists()
    lines = [json.loads(line) for line in (consortium.folder / "journal.jsonl").read_text().splitlines()]
    stages = [line["stage"] for line in lines if line["task"] == task]
    assert {stage: stages.count(stage) for stage in stages}["train"] == NODES
    assert all(line["bytes_from_nodes"] > 0 for line in lines if line["stage"] == "train")


def expected_aggregate(world: World, task: int) -> bytes:
    contributions = []
    for proposal in world.view(task, 1).proposals:
        digest = "0x" + proposal.adapterDigest.hex()
        tensors = MANIFEST.decode(world.artifact_path(digest).read_bytes(), digest=digest)
        contributions.append(Contribution(proposal.node, digest, tensors))
    return MANIFEST.encode(aggregate(Mean(rule="mean"), contributions, parent=MANIFEST.decode(GENESIS)))


def test_a_node_killed_after_its_commit_opens_the_same_commitment(consortium: Consortium) -> None:
    consortium.hub.frozen_in = Phase.COMMITTING
    task = consortium.open_round()
    consortium.rig.submit(task, 1)
    victim = next(iter(consortium.world.nodes))
    until(lambda: has_committed(consortium.world, task, victim), ROUND_TIMEOUT_S, "the victim's commit")
    jobs_before = consortium.jobs(victim)

    consortium.rig.kill(victim)
    consortium.hub.frozen_in = None
    consortium.start_node(victim)

    consortium.await_phase(task, Phase.FINAL)
    view = consortium.world.view(task, 1)
    assert Phase(view.phase) is Phase.FINAL
    assert all(vote.revealed for vote in view.votes)
    assert consortium.jobs(victim) == jobs_before


def has_committed(world: World, task: int, node: str) -> bool:
    return any(vote.node == node and any(vote.commitment) for vote in world.view(task, 1).votes)


def test_a_killed_conductor_is_started_again_and_nobody_trains_twice(consortium: Consortium) -> None:
    for node in consortium.world.nodes:
        consortium.configure(node, seconds=3.0)
    jobs_before = {node: consortium.jobs(node).count("train") for node in consortium.world.nodes}
    task = consortium.open_round()
    consortium.rig.submit(task, 1)

    def training_has_begun() -> bool:
        return any(
            consortium.jobs(node).count("train") > jobs_before[node] for node in consortium.world.nodes
        )

    until(training_has_begun, ROUND_TIMEOUT_S, "the training")
    for pid in consortium.rig.conductor_pids():
        os.kill(pid, signal.SIGKILL)
    consortium.rig.submit(task, 1)

    consortium.await_phase(task, Phase.FINAL)
    view = consortium.world.view(task, 1)
    assert Phase(view.phase) is Phase.FINAL
    trained = {
        node: consortium.jobs(node).count("train") - jobs_before[node] for node in consortium.world.nodes
    }
    assert trained == dict.fromkeys(consortium.world.nodes, 1)


# Another bundle


@pytest.fixture
def hostile_app(tmp_path: Path) -> Path:
    """An app whose module stands in for the node's own, and leaves a file behind where it is imported."""
    folder = tmp_path / "app"
    (folder / "tier_global").mkdir(parents=True)
    (folder / "pyproject.toml").write_text(HOSTILE_TOML.format(nodes=NODES + 1))
    (folder / "attack.py").write_text(HOSTILE_SERVER)
    (folder / "tier_global" / "__init__.py").touch()
    (folder / "tier_global" / "client_app.py").write_text(HOSTILE_CLIENT)
    return folder


def test_a_hostile_hub_that_sends_another_bundle_runs_nothing_at_a_node(
    consortium: Consortium, hostile_app: Path
) -> None:
    rig = consortium.rig
    rig.start_plain_node("plain")
    until(lambda: "SuperNode ID" in rig.log_of("plain"), ANSWER_TIMEOUT_S, "the plain SuperNode")
    try:
        run_id = rig.submit(1, 1, hostile_app)
        until(lambda: rig.run_log(run_id).count("REPLY:") == NODES + 1, 2 * ANSWER_TIMEOUT_S, "all replies")
    finally:
        rig.kill("plain")

    # The attack is a real one: Flower's own SuperNode runs it.
    assert list(consortium.folder.rglob("was-here")) == [consortium.folder / "plain-home" / "was-here"]
    said = rig.run_log(run_id)
    hostile = installed_bundle(hostile_app)
    assert said.count("REPLY: obeyed") == 1
    assert said.count(f"REPLY: a bundle came with SHA-256 {hostile}") == NODES
    for node in consortium.world.nodes:
        status = read_status(NodeConfig.load(consortium.node_folder(node) / "node.json"))
        assert status.allowed_bundles == (installed_bundle(),)
        assert [(refused.digest, refused.messages) for refused in status.refused_bundles] == [(hostile, 1)]
        assert f"refused: a bundle came with SHA-256 {hostile}" in rig.log_of(node)
        assert not rig.has_ended(node)
    # The same nodes serve the honest bundle.
    task = consortium.open_round()
    rig.submit(task, 1)
    consortium.await_phase(task, Phase.FINAL)
    assert len(consortium.world.view(task, 1).proposals) == NODES


def test_a_supernode_that_ends_is_started_again(consortium: Consortium) -> None:
    node = next(iter(consortium.world.nodes))
    connections = consortium.rig.log_of(node).count("SuperNode ID")
    (victim,) = consortium.rig.supernode_pids(node)

    os.kill(victim, signal.SIGKILL)

    until(
        lambda: consortium.rig.log_of(node).count("SuperNode ID") > connections,
        ANSWER_TIMEOUT_S,
        "another connection",
    )
    assert "flower-supernode ended with exit code -9; it is started again" in consortium.rig.log_of(node)
    assert not consortium.rig.has_ended(node)


def test_a_node_that_is_killed_leaves_no_supernode(consortium: Consortium) -> None:
    node = next(iter(consortium.world.nodes))
    (supernode,) = consortium.rig.supernode_pids(node)

    os.kill(consortium.rig.daemons[node].pid, signal.SIGKILL)

    until(lambda: not psutil.pid_exists(supernode), ANSWER_TIMEOUT_S, "the SuperNode's end")
    consortium.rig.kill(node)


# Registered nodes


def test_only_the_key_that_a_node_enrolled_is_counted_as_the_node(tmp_path: Path) -> None:
    tls = self_signed(tmp_path)
    with consortium_in(tmp_path, tls) as consortium:
        rig = consortium.rig
        node, other = consortium.world.nodes
        flower = FlowerCommandNodes(rig.client_home, "rig")
        keys = {name: make_flower_key(tmp_path / name) for name in ("honest", "thief", "stranger")}
        assert flower.register(node, keys["honest"])
        assert flower.register(other, keys["thief"])
        assert not flower.register(other, keys["thief"])
        # The thief has the node's account key and the other's Flower key. Nobody knows the stranger's.
        for name, account in (("honest", node), ("thief", node), ("stranger", other)):
            key_file = str(tmp_path / name)
            write_node(
                consortium, account, name, superlink_certificates=str(tls[0]), flower_key_file=key_file
            )
            consortium.start_node(name)
        until(lambda: "SuperNode ID" in rig.log_of("honest"), ANSWER_TIMEOUT_S, "the honest node")
        until(lambda: "SuperNode ID" in rig.log_of("thief"), ANSWER_TIMEOUT_S, "the thief")
        until(lambda: "it is started again" in rig.log_of("stranger"), ANSWER_TIMEOUT_S, "a refusal")
        task = consortium.open_round()

        run_id = rig.submit(task, 1)

        claim = f"says that it is {node}, and its Flower key is registered for {other}"
        until(lambda: claim in rig.run_log(run_id), ANSWER_TIMEOUT_S, "the thief's claim")
        until(
            lambda: [proposal.node for proposal in consortium.world.view(task, 1).proposals] == [node],
            ROUND_TIMEOUT_S,
            "the node's proposal",
        )
        assert consortium.jobs("honest") == ["train"]
        assert consortium.jobs("thief") == consortium.jobs("stranger") == []
        assert "SuperNode ID" not in rig.log_of("stranger")
        assert not rig.has_ended("stranger")


def make_flower_key(file: Path) -> str:
    """A key as ssh-keygen -t ecdsa -b 384 makes it; the public key, as a network's statement has it."""
    key = ec.generate_private_key(ec.SECP384R1())
    file.touch(mode=0o600)
    file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
