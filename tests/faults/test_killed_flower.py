"""Conductor, SuperLink and SuperNode are killed in each phase of a round over real Flower daemons.

API and worker are processes, the worker starts the conductors; the training alone is a double.
"""

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.composition import SystemClock
from orchestrator.services.tokens import TokenService
from tests.faults.hub import PHASES, Hub, eventually
from tests.faults.scene import Scene, opened_scene
from tests.integration.flower_rig import SUPERLINK, FlowerRig
from tests.integration.orchestrator_rig import NETWORKS, Network
from tier_global.bundle import APP_FOLDER, installed_bundle

NODES = NETWORKS[:2]
TERMS = {"proposers": 2, "voters": 2, "min_proposals": 2, "min_reveals": 2, "min_scorers": 1}
ROUND_DEADLINE_S = 600.0
JOB_S = 1.0
"""How long a node trains or evaluates."""
TICK_S = 0.2
"""A round here is made of processes that take seconds to start: whoever looks more often slows it down."""
INNER_DOUBLE = Path(__file__).parents[1] / "integration" / "inner_double.py"
CONNECTION = "collegium"


@dataclass
class Consortium:
    """A hub, Flower's daemons and the nodes of one case."""

    hub: Hub
    rig: FlowerRig

    def start_node(self, network: Network) -> None:
        """Start a network's node."""
        self.rig.start_node(network.name, self.folder_of(network) / "node.json")

    def folder_of(self, network: Network) -> Path:
        """What a network's node has on disk."""
        return self.rig.folder / "nodes" / network.name

    def jobs(self, network: Network) -> list[str]:
        """The inner jobs that a node has run, oldest first."""
        file = self.folder_of(network) / "network.json.jobs"
        return [json.loads(line)["job"] for line in file.read_text().splitlines()] if file.exists() else []

    def revive(self) -> None:
        """Start again what has ended, as those who run it would."""
        for network in NODES:
            if self.rig.has_ended(network.name):
                self.rig.kill(network.name)
                self.start_node(network)

    def play(self, until: Callable[[], object]) -> None:
        """Play until something is so."""

        def look() -> object:
            self.revive()
            return until()

        self.hub.play(look, ROUND_DEADLINE_S)

    def require_conductor(self) -> None:
        """Wait until a conductor runs, while the chain stands still."""
        eventually(self.rig.conductor_pids, ROUND_DEADLINE_S, TICK_S)


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Two networks, and a task that both propose and vote in."""
    with opened_scene(tmp_path_factory.mktemp("faults-flower"), None, networks=NODES, **TERMS) as scene:
        yield scene


@contextmanager
def consortium(scene: Scene, name: str) -> Iterator[Consortium]:
    """A case with everything running."""
    settings = {
        "COLLEGIUM_FLOWER_APP_FOLDER": str(APP_FOLDER),
        "COLLEGIUM_FLOWER_HOME": str(scene.folder / "flower"),
        "COLLEGIUM_FLOWER_CONNECTION": CONNECTION,
        # Each look is a command of two seconds of CPU.
        "COLLEGIUM_FLOWER_FOLLOW_EVERY_S": "5",
        "COLLEGIUM_POLL_S": str(TICK_S),
    }
    with scene.case(name, **settings) as hub:
        hub.plays_nodes = False
        hub.tick_s = TICK_S
        hub.start_api()
        with FlowerRig.running(hub.folder / "rig", conductor_environment(hub)) as rig:
            write_connection(scene.folder / "flower", rig)
            everything = Consortium(hub, rig)
            for network in NODES:
                write_node(everything, network)
                everything.start_node(network)
            hub.start_worker()
            yield everything


def conductor_environment(hub: Hub) -> dict[str, str]:
    """What a conductor needs to know."""
    (hub.folder / "rig").mkdir()
    token_file = hub.folder / "conductor-token"
    token_file.touch(mode=0o600)
    token_file.write_text(TokenService(hub.records, SystemClock()).issue("conductor", "conductor"))
    return {
        "COLLEGIUM_ORCHESTRATOR_URL": str(hub.api.base_url),
        "COLLEGIUM_CONDUCTOR_TOKEN_FILE": str(token_file),
        "COLLEGIUM_DEPLOYMENT_FILE": str(hub.settings.deployment_file),
        "COLLEGIUM_CONDUCTOR_JOURNAL": str(hub.folder / "journal.jsonl"),
    }


def write_connection(home: Path, rig: FlowerRig) -> None:
    """Tell ``flwr run`` where the SuperLink is."""
    home.mkdir(exist_ok=True)
    (home / "config.toml").write_text(
        f'[superlink.{CONNECTION}]\naddress = "127.0.0.1:{rig.port}"\ninsecure = true\n'
    )


def write_node(everything: Consortium, network: Network) -> None:
    """A node's key and settings."""
    folder = everything.folder_of(network)
    folder.mkdir(parents=True)
    key_file = folder / "node.key"
    key_file.touch(mode=0o600)
    key_file.write_text("0x" + network.key.hex())
    (folder / "network.json").write_text(json.dumps({"name": network.name, "seconds": JOB_S}))
    config = {
        "address": network.address,
        "key_file": "node.key",
        "rpc_url": everything.hub.chain.anvil.rpc_url,
        "deployment_file": str(everything.hub.settings.deployment_file),
        "state_folder": "state",
        "network_file": "network.json",
        "inner_command": [sys.executable, str(INNER_DOUBLE)],
        "allowed_bundles": [installed_bundle()],
    }
    (folder / "node.json").write_text(json.dumps(config))


# --- who dies


def kill_conductor(everything: Consortium) -> None:
    everything.require_conductor()
    for pid in everything.rig.conductor_pids():
        os.kill(pid, signal.SIGKILL)


def kill_superlink(everything: Consortium) -> None:
    everything.rig.kill(SUPERLINK)
    everything.rig.start_superlink()


def kill_supernode(everything: Consortium) -> None:
    everything.rig.kill(NODES[0].name)
    everything.start_node(NODES[0])


VICTIMS = {"conductor": kill_conductor, "SuperLink": kill_superlink, "SuperNode": kill_supernode}
JOB_OF_PHASE = {"training": "train", "committing": "evaluate"}


@pytest.mark.timeout(900)
@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("victim", VICTIMS)
def test_a_daemon_killed_in_each_phase(opened: Scene, victim: str, phase: str) -> None:
    with consortium(opened, f"kill -9 of the {victim}, {phase}") as everything:
        hub = everything.hub
        everything.play(lambda: hub.round() is not None and hub.phase() == phase)
        if job := JOB_OF_PHASE.get(phase):
            # In the middle of the work; the chain stands still meanwhile.
            eventually(lambda: job in everything.jobs(NODES[0]), ROUND_DEADLINE_S, TICK_S)
        VICTIMS[victim](everything)
        everything.play(lambda: hub.phase() == "final")
        hub.play_to_the_end()
        assert hub.deaths == hub.api_deaths == 0
        opened.require_whole(hub)
        for network in NODES:
            # A node whose work was killed with it does it again; nobody does what it has an answer for.
            again = int(victim == "SuperNode" and network == NODES[0])
            jobs = everything.jobs(network)
            assert 1 <= jobs.count("train") <= 1 + again
            assert 1 <= jobs.count("evaluate") <= 2 + again
