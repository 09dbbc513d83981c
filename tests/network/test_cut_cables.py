"""The whole of Collegium on hosts of their own, and cables that are cut while a task runs.

The hub, every network and every hospital is a host with an address; the launcher of `make demo` starts what
belongs on each, with federations that are deployed. In the training of a round a hospital is cut off until
its network has proposed without it; while adapters are scored the hub is cut off until every node has noticed
it. Nobody starts anything again, and the task ends right.
"""

import json
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from deploy.local.hospitals import HOSPITALS
from deploy.local.hosts import Host, Hosts
from deploy.local.hub import Hub
from deploy.local.layout import Layout, write_json
from deploy.local.main_job import MainJob, Options
from deploy.local.profile import NETWORK_NAMES, TINY, Inner
from deploy.local.report import RunReport
from deploy.local.supervisor import LauncherError
from deploy.local.system import BIN, common_environment, orchestrator_environment
from tests.integration import network_hosts
from tests.integration.flower_rig import until
from tests.integration.network_hosts import NetworkHosts
from tier_local.processes import MARK_VARIABLE, ProcessTree

pytestmark = [pytest.mark.usefixtures("namespaces"), pytest.mark.timeout(1500)]

HUB = "hub"
ANSWER_S = 90
"""How long a network waits for a hospital that need not answer."""
STEP_S = 400.0
END_S = 1_000.0
NOTICED = "Connection attempt failed"
RESTARTED = "it is started again"


@dataclass(frozen=True)
class Run:
    """A run of the launcher that goes on meanwhile."""

    hosts: NetworkHosts
    job: MainJob
    layout: Layout
    hub: Hub
    ended: "Future[RunReport]"

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait for a condition; a run that ends before says why."""

        def holds() -> object:
            if self.ended.done() and not condition():
                raise AssertionError(f"the run is over: {self.ended.result()}")
            return condition()

        until(holds, STEP_S, what)

    def round(self) -> dict[str, Any]:
        """The round as the hub shows it; empty before there is one."""
        if not self.layout.tokens.joinpath("admin").exists():
            return {}
        with self.hosts[HUB].entered(), suppress(LauncherError):
            return self.hub.find("/v1/tasks/1/rounds/1") or {}
        return {}

    def artifact(self, digest: str) -> Path:
        """Where the hub keeps an artifact."""
        name = digest.removeprefix("0x")
        return self.layout.artifacts / name[:2] / name

    def site_file(self, network: str, hospital: str, name: str) -> Path:
        """What a hospital writes about the job it is at."""
        return self.layout.federation(network) / hospital / name

    def is_measuring(self) -> bool:
        """Whether a hospital measures adapters on its records now."""
        files = (
            self.site_file(network, hospital, "progress.json")
            for network in NETWORK_NAMES
            for hospital in HOSPITALS
        )
        return any(json.loads(file.read_bytes())["stage"] == "measuring" for file in files if file.exists())

    def network_that_proposes_and_votes(self) -> str:
        """There is one: five roles for four networks."""
        drawn = self.round()
        both = set(drawn["proposers"]) & set(drawn["voters"])
        return next(name for name in NETWORK_NAMES if self.address_of(name) in both)

    def address_of(self, network: str) -> str:
        """The account of a network's node."""
        address: str = json.loads((self.layout.network(network) / "node.json").read_bytes())["address"]
        return address

    def proposal_of(self, network: str) -> Any:
        """What a network proposed; None before."""
        address = self.address_of(network)
        return next((each for each in self.round()["proposals"] if each["node"] == address), None)

    def collegium(self, *arguments: str) -> Any:
        """What a command of the hub's answers."""
        with self.hosts[HUB].entered():
            done = subprocess.run(
                [BIN / "collegium", *arguments, "--json"],
                env=common_environment() | orchestrator_environment(self.layout, self.job.addresses),
                capture_output=True,
                timeout=STEP_S,
                check=False,
            )
        assert done.returncode == 0, done.stdout
        return json.loads(done.stdout)["data"]

    def node_log(self, network: str) -> str:
        return (self.layout.logs / f"supernode-{network}.log").read_text(errors="replace")

    def let_the_slow_be_left_out(self) -> None:
        """As who runs a network would: a round needs one hospital, and waits a while for the other."""
        for name in NETWORK_NAMES:
            file = self.layout.network(name) / "network.json"
            self.until(file.exists, f"the file of {name}")
            write_json(file, json.loads(file.read_bytes()) | {"least_sites": 1, "answer_seconds": ANSWER_S})


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Everything is started, each party on its host; nothing of it is left."""
    layout = Layout(tmp_path / "run")
    layout.make()
    hospitals = {
        (name, hospital): host_of(name, hospital) for name in NETWORK_NAMES for hospital in HOSPITALS
    }
    with (
        NetworkHosts.made(HUB, *NETWORK_NAMES, *hospitals.values()) as hosts,
        ProcessTree.guard(grace_seconds=5.0) as tree,
        (tmp_path / "launcher.log").open("w") as log,
        ThreadPoolExecutor(1) as executor,
    ):
        monkeypatch.setenv(MARK_VARIABLE, tree.environment()[MARK_VARIABLE])
        # The launcher itself is at the hub.
        places = Hosts(
            hub=Host(hosts[HUB].address),
            networks={name: _host(hosts[name]) for name in NETWORK_NAMES},
            hospitals={names: _host(hosts[name]) for names, name in hospitals.items()},
        )
        options = Options(
            seed=1,
            inner=Inner.DEPLOYED,
            poisoned=False,
            baselines=False,
            model_cache=tmp_path / "models",
        )
        job = MainJob(TINY, layout, options, Console(file=log), places)
        try:
            ended = executor.submit(_on, hosts[HUB], job.run)
            yield Run(hosts, job, layout, Hub(job.addresses.orchestrator_url, layout.tokens / "admin"), ended)
        finally:
            job.stop()


def test_a_task_ends_right_though_cables_are_cut(run: Run) -> None:
    hosts = run.hosts
    run.let_the_slow_be_left_out()
    run.until(lambda: run.round().get("phase") == "training", "the training")
    network, hospital = run.network_that_proposes_and_votes(), HOSPITALS[-1]
    host = host_of(network, hospital)

    run.until(run.site_file(network, hospital, "process").exists, f"{host} to be at work")
    hosts.cut(host)
    run.until(lambda: run.proposal_of(network) is not None, f"{network} to propose without {host}")
    report = json.loads(run.artifact(run.proposal_of(network)["report_digest"]).read_bytes())
    assert (report["sites"], report["sites_left_out"]) == (len(HOSPITALS) - 1, {hospital: "no answer"})
    hosts.heal(host)

    run.until(run.is_measuring, "a hospital to measure")
    assert run.round()["phase"] == "committing"
    complaints = {name: run.node_log(name).count(NOTICED) for name in NETWORK_NAMES}
    hosts.cut(HUB)
    for name, before in complaints.items():
        run.until(
            lambda name=name, before=before: run.node_log(name).count(NOTICED) > before, f"{name} to notice"
        )
    hosts.heal(HUB)

    ended = run.ended.result(END_S)
    assert ended.verified, ended.fault
    (closed,) = ended.rounds
    assert closed.phase == "final"
    assert 0 < sum(ended.rewards.values()) <= TINY.pool
    assert run.collegium("projection", "check")["block"] > 0
    run.until(lambda: hosts.has_caught_up(host), f"{host} to have caught up")
    run.job.check()
    assert not any(RESTARTED in run.node_log(name) for name in NETWORK_NAMES)


def host_of(network: str, hospital: str) -> str:
    return f"{network}-{hospital}"


def _host(host: network_hosts.Host) -> Host:
    """A host as the launcher knows it."""
    return Host(host.address, ("nsenter", f"--net={host.namespace_file}", "--"))


def _on(host: network_hosts.Host, work: Callable[[], RunReport]) -> RunReport:
    with host.entered():
        return work()
