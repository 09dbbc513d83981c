"""Whole rounds over real Flower daemons and a real chain; inner tier and orchestrator are doubles."""

import json
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from contracts.aggregation import Contribution, aggregate
from contracts.aggregation.spec import Mean
from contracts.manifest import adapter_digest
from contracts.phase import Phase
from orchestrator.domain.chain import RequestRound
from tests.chain.anvil import running_anvil
from tests.chain.world import GENESIS, MANIFEST, World
from tests.integration.flower_rig import FlowerRig, until
from tests.integration.hub_double import TOKEN_TEXT, HubDouble

NODES = 2
ROUND_TIMEOUT_S = 240.0


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
    folder = tmp_path_factory.mktemp("flower")
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
            }
            with FlowerRig.running(folder, environment) as rig:
                consortium = Consortium(world, hub, rig, folder)
                for node in world.nodes:
                    write_node(consortium, node, deployment_file)
                    consortium.start_node(node)
                yield consortium


def write_node(consortium: Consortium, node: str, deployment_file: Path) -> None:
    folder = consortium.node_folder(node)
    folder.mkdir(parents=True)
    key_file = folder / "node.key"
    key_file.touch(mode=0o600)
    key_file.write_text(consortium.world.nodes[node].key)
    consortium.configure(node)
    config: dict[str, object] = {
        "address": node,
        "key_file": "node.key",
        "rpc_url": consortium.world.anvil.rpc_url,
        "deployment_file": str(deployment_file),
        "state_folder": "state",
        "network_file": "network.json",
        "inner_command": [sys.executable, str(Path(__file__).with_name("inner_double.py"))],
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
