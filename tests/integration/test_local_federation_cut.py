"""A network whose server and hospitals are hosts of their own, and cables that are cut in mid-round.

Whoever is cut off gets no answer and no error, for as long as it lasts; nobody is started again.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest

from tests.integration.federation import SITES, Federation, provision
from tests.integration.flower_rig import until
from tests.integration.local_world import make_world, start
from tests.integration.network_hosts import NetworkHosts
from tier_local.report import Stage

pytestmark = [pytest.mark.usefixtures("namespaces"), pytest.mark.timeout(600)]

NETWORK = "network"
STEPS = 300
"""So many that a training which has begun is not over when its cable is cut."""
ANSWER_S = 60
DEADLINE_S = 200.0


@dataclass(frozen=True)
class Scene:
    """A federation, and the hosts on which it runs."""

    hosts: NetworkHosts
    federation: Federation
    folder: Path

    def begin_round(self, name: str) -> "Round":
        """Ask for a round, at the network's host; it needs one hospital, and waits a while for the other."""
        network = self.federation.network_file(f"{name}.json", least_sites=1, answer_seconds=ANSWER_S)
        out = self.folder / name
        arguments = self.federation.world.job("train", out, "--purpose", name)
        arguments[arguments.index("--network") + 1] = str(network)
        with self.hosts[NETWORK].entered():
            return Round(start(arguments), out)


@dataclass(frozen=True)
class Round:
    """An inner round that was asked for."""

    process: "Popen[str]"
    folder: Path

    def report(self) -> dict[str, Any]:
        """The report, when the round has ended well."""
        _, said = self.process.communicate(timeout=DEADLINE_S)
        assert self.process.returncode == 0, said
        report: dict[str, Any] = json.loads((self.folder / "report.json").read_bytes())
        return report


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("hosts")
    world = make_world(folder).with_steps(STEPS)
    with NetworkHosts.made(NETWORK, *SITES) as hosts:
        federation = provision(world, server_host=hosts[NETWORK].address)
        try:
            with hosts[NETWORK].entered():
                federation.start("server")
                until(federation.server_listens, DEADLINE_S, "the server")
            for site in SITES:
                with hosts[site].entered():
                    federation.start(site)
            with hosts[NETWORK].entered():
                until(lambda: federation.connected_sites() == list(SITES), DEADLINE_S, "both sites")
            yield Scene(hosts, federation, folder)
            assert all(process.poll() is None for process in federation.processes.values())
        finally:
            federation.stop()


def is_training(scene: Scene, site: str) -> bool:
    progress = scene.federation.progress_of(site)
    return progress is not None and progress.stage is Stage.TRAINING and 0 < progress.done < progress.total


def test_a_hospital_that_is_cut_off_in_mid_round_is_left_out_and_comes_back(scene: Scene) -> None:
    without = scene.begin_round("without")
    until(lambda: is_training(scene, "hospital-2"), DEADLINE_S, "hospital-2 to train")
    scene.hosts.cut("hospital-2")
    report = without.report()
    assert (report["sites"], report["sites_left_out"]) == (1, {"hospital-2": "no answer"})

    scene.hosts.heal("hospital-2")
    until(lambda: scene.hosts.has_caught_up("hospital-2"), DEADLINE_S, "TCP to find the way again")
    report = scene.begin_round("with").report()
    assert (report["sites"], report["sites_left_out"]) == (2, {})
