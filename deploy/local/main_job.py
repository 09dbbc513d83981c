"""The main job of a local run, from an empty folder to the report; reads top to bottom."""

import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from contracts.accounts import Account
from contracts.deployment import Deployment
from contracts.task import TaskSpec
from deploy.local import icd10, toy_data
from deploy.local.baselines import train_alone
from deploy.local.chain_setup import set_up_demo_accounts
from deploy.local.commands import Commands
from deploy.local.enrolment import enrol_networks
from deploy.local.federations import start_federations
from deploy.local.hospitals import HOSPITALS, write_policies
from deploy.local.hosts import Hosts
from deploy.local.hub import Hub
from deploy.local.layout import Layout, write_json, write_secret
from deploy.local.networks import NetworkNode, approve_task, prepare_network
from deploy.local.profile import HOSPITALS_PER_NETWORK, NETWORK_NAMES, POISONED_NETWORK, Inner, Profile
from deploy.local.report import AccuracyReport, AuditReport, RunReport, accuracy_report, round_report
from deploy.local.superlink_tls import SuperLinkTls
from deploy.local.supervisor import LauncherError, Supervisor
from deploy.local.system import (
    BIN,
    HubAddresses,
    common_environment,
    give_gas,
    orchestrator_environment,
    start_chain,
    start_orchestrator,
    start_signers,
    start_superlink,
    start_supernodes,
)
from deploy.local.test_set import Accuracy, TestSet
from deploy.local.watch import RoundWatcher

COMMAND_TIMEOUT_S = 120.0
GENESIS_TIMEOUT_S = 600.0


@dataclass(frozen=True)
class Options:
    """What the person who starts a run chooses."""

    seed: int
    inner: Inner
    poisoned: bool
    baselines: bool
    model_cache: Path


@dataclass
class Stopwatch:
    """Seconds of each named part of the run."""

    seconds: dict[str, float] = field(default_factory=dict)

    def time(self, part: str, work: Callable[[], Any]) -> Any:
        """Do the work and note how long it took."""
        start_s = time.monotonic()
        try:
            return work()
        finally:
            self.seconds[part] = round(time.monotonic() - start_s, 2)


class MainJob:
    """One run of the whole of Collegium on this machine."""

    def __init__(
        self, profile: Profile, layout: Layout, options: Options, console: Console, hosts: Hosts | None = None
    ) -> None:
        """``hosts`` says who runs where; all on this machine, unless it is given."""
        self._profile = profile
        self._layout = layout
        self._options = options
        self._console = console
        self._hosts = hosts or Hosts()
        self.addresses = HubAddresses.free(self._hosts.hub)
        environment = common_environment()
        self._commands = Commands(layout.logs, environment)
        self._supervisor = Supervisor(layout.logs, environment)
        self._hub = Hub(self.addresses.orchestrator_url, layout.tokens / "admin")
        self._test_set = TestSet(self._commands, layout, options.model_cache)
        self._stopwatch = Stopwatch()

    def run(self) -> RunReport:
        """Do everything; the daemons are still up afterwards.

        Raises:
            LauncherError: something failed; the message says what.
        """
        start_s = time.monotonic()
        self._console.print("preparing hospital data and the first adapter")
        spec = self._stopwatch.time("prepare", self._prepare)
        if self._options.inner is Inner.DEPLOYED:
            self._console.print(
                f"starting {len(NETWORK_NAMES)} federations, each of a server and {len(HOSPITALS)} hospitals"
            )
            self._stopwatch.time("federations", self._start_federations)
        self._console.print("starting the chain, the orchestrator, Flower and four networks' nodes")
        nodes = self._stopwatch.time("start", self._start)
        self.say_where_the_dashboard_is()
        task = self._stopwatch.time("task", lambda: self._create_task(nodes))
        base = self._test_set.measure_round(self._hub, task, 0, spec.genesis_digest)
        rounds, accuracies = self._stopwatch.time("rounds", lambda: self._follow_rounds(task))
        self._console.print("measuring the test set, verifying every round, exporting the adapter")
        alone = self._stopwatch.time("baselines", lambda: self._train_alone(nodes, rounds))
        fault, audit = self._stopwatch.time("verify", lambda: self._verify(task))
        self._stopwatch.time("export", lambda: self._export(rounds[-1]))
        accuracy = self._stopwatch.time(
            "test_set",
            lambda: accuracy_report(
                base.result(), {number: each.result() for number, each in accuracies.items()}, alone
            ),
        )
        report = self._report(nodes, rounds, accuracy, fault, audit, time.monotonic() - start_s)
        write_json(self._layout.report, report.to_json())
        return report

    def stay(self) -> None:
        """Keep everything up until it is stopped from outside, or a daemon dies."""
        while True:
            self.check()
            time.sleep(1.0)

    def check(self) -> None:
        """Raise ``DaemonDied`` if a daemon has ended."""
        self._supervisor.check()

    def stop(self) -> None:
        """Stop every daemon."""
        self._test_set.close()
        self._supervisor.stop()

    # --- the steps, in their order ---------------------------------------------------------------

    def _prepare(self) -> TaskSpec:
        build = icd10.build if self._profile.name == "demo" else toy_data.build
        build(self._options.seed, self._layout.data, NETWORK_NAMES, HOSPITALS_PER_NETWORK)
        self._commands.run(
            "genesis",
            [
                *(sys.executable, "-m", "tier_local", "genesis", "--draft", self._profile.draft),
                *("--model-cache", self._options.model_cache, "--out", self._layout.task),
            ],
            timeout_s=GENESIS_TIMEOUT_S,
        )
        for name in NETWORK_NAMES:
            write_policies(self._layout, name)
        return TaskSpec.parse(self._layout.spec.read_bytes())

    def _start_federations(self) -> None:
        start_federations(
            self._supervisor,
            self._commands,
            self._layout,
            self._hosts,
            NETWORK_NAMES,
            self._options.model_cache,
        )

    def _start(self) -> list[NetworkNode]:
        layout, addresses, commands = self._layout, self.addresses, self._commands
        SuperLinkTls(layout.superlink_tls).make(addresses.host.address)
        start_chain(self._supervisor, layout, addresses)
        accounts = self._make_accounts()
        self._collegium("migrate")
        self._collegium("deploy-contracts", "--out", str(layout.deployment))
        nodes = [
            prepare_network(
                commands,
                layout,
                addresses,
                self._hosts.network(name),
                name,
                model_cache=self._options.model_cache,
                inner=self._options.inner,
                poisoned=self._options.poisoned and name == POISONED_NETWORK,
            )
            for name in NETWORK_NAMES
        ]
        self._collegium("tokens", "bootstrap")
        start_orchestrator(self._supervisor, layout, addresses, self._hub)
        enrol_networks(self._supervisor, commands, layout, addresses, self._hosts, self._hub, nodes)
        set_up_demo_accounts(
            addresses.rpc_url,
            Deployment.parse(layout.deployment.read_bytes()),
            council_key=accounts["council"],
            nodes=[node.address for node in nodes],
            stake=self._profile.stake,
            pool=self._profile.pool,
        )
        start_superlink(self._supervisor, layout, addresses)
        self._collegium("enrolment", "register-flower-keys")
        start_signers(self._supervisor, layout, NETWORK_NAMES, self._hosts)
        start_supernodes(self._supervisor, layout, addresses, NETWORK_NAMES, self._hosts)
        return nodes

    def _make_accounts(self) -> dict[str, str]:
        """Keys of the council and the relayer, with some of the local chain's own currency for gas."""
        keys = {}
        for name in ("council", "relayer"):
            account = Account.create()
            keys[name] = "0x" + bytes(account.key).hex()
            write_secret(self._layout.keys / name, keys[name])
            give_gas(self.addresses.rpc_url, str(account.address))
        return keys

    def _create_task(self, nodes: list[NetworkNode]) -> int:
        terms = self._layout.task / "terms.json"
        write_json(terms, dict(self._profile.task_config))
        created = self._collegium(
            *("task", "create", "--spec", str(self._layout.spec), "--genesis", str(self._layout.genesis)),
            *("--config", str(terms), "--pool", str(self._profile.pool)),
        )
        task = int(created["task"])
        approve_task(self._commands, self._layout, self.addresses, self._hosts, nodes, task)
        return task

    def _follow_rounds(self, task: int) -> tuple[list[Mapping[str, Any]], dict[int, "Future[Accuracy]"]]:
        watcher = RoundWatcher(self._hub, self._layout, self._supervisor, self._console)
        closed: list[Mapping[str, Any]] = []
        accuracies: dict[int, Future[Accuracy]] = {}
        for number in range(1, self._profile.task_config["rounds"] + 1):
            resource = watcher.follow(task, number, self._profile.wait_for_round_s)
            closed.append(resource)
            parent = resource["aggregate_digest"] or resource["parent_digest"]
            accuracies[number] = self._test_set.measure_round(self._hub, task, number, parent)
        return closed, accuracies

    def _train_alone(
        self, nodes: list[NetworkNode], rounds: list[Mapping[str, Any]]
    ) -> Mapping[str, Accuracy] | None:
        if not self._options.baselines:
            return None
        proposers = [proposal["node"] for resource in rounds for proposal in resource["proposals"]]
        inner_rounds = {node.name: proposers.count(node.address) for node in nodes}
        return train_alone(self._commands, self._layout, self._test_set, inner_rounds)

    def _verify_command(self, task: int) -> list[str]:
        return [
            *("verify", "--task", str(task), "--rpc-url", self.addresses.rpc_url),
            *("--deployment", str(self._layout.deployment), "--artifacts", str(self._layout.artifacts)),
        ]

    def _verify(self, task: int) -> tuple[str | None, AuditReport | None]:
        """What is wrong with the task's rounds or the hub's audit log, if anything, and what the log holds.

        The rounds are recomputed, and the log's hashes; its epochs are held against the chain.
        """
        try:
            self._collegium(*self._verify_command(task))
            audit = AuditReport.model_validate(self._collegium("audit", "verify", "--from-database"))
        except LauncherError as error:
            return str(error), None
        return None, audit

    def _export(self, last_round: Mapping[str, Any]) -> None:
        adapter = self._layout.task / "final.safetensors"
        self._hub.download(last_round["aggregate_digest"] or last_round["parent_digest"], adapter)
        self._commands.run(
            "export",
            [
                *(sys.executable, "-m", "tier_local", "export", "--spec", self._layout.spec),
                *("--adapter", adapter, "--model-cache", self._options.model_cache),
                *("--out", self._layout.result),
            ],
            timeout_s=COMMAND_TIMEOUT_S,
        )

    def _report(
        self,
        nodes: list[NetworkNode],
        rounds: list[Mapping[str, Any]],
        accuracy: AccuracyReport,
        fault: str | None,
        audit: AuditReport | None,
        seconds_total: float,
    ) -> RunReport:
        network_of_node = {node.address: node.name for node in nodes}
        poisoned = next((node for node in nodes if node.poisoned), None)
        rewards = {node.address: 0 for node in nodes}
        for resource in rounds:
            for reward in resource["rewards"]:
                rewards[reward["node"]] += int(reward["amount"])
        return RunReport(
            profile=self._profile.name,
            seed=self._options.seed,
            inner=self._options.inner,
            poisoned_network=poisoned.name if poisoned else None,
            accuracy=accuracy,
            rounds=tuple(
                round_report(
                    resource,
                    network_of_node,
                    poisoned.address if poisoned else None,
                    self._layout.conductor_journal,
                )
                for resource in rounds
            ),
            rewards=rewards,
            networks=network_of_node,
            verified=fault is None,
            fault=fault,
            audit=audit,
            adapter_folder=str(self._layout.result),
            seconds=self._stopwatch.seconds,
            seconds_total=round(seconds_total, 2),
        )

    # --- small helps --------------------------------------------------------------------------------

    def _collegium(self, *arguments: str, secret_output: bool = False) -> Any:
        """What a ``collegium`` command answers under ``data``, run with the orchestrator's settings."""
        envelope = self._commands.run_json(
            "collegium-" + arguments[0],
            [BIN / "collegium", *arguments, "--json"],
            timeout_s=COMMAND_TIMEOUT_S,
            environment=orchestrator_environment(self._layout, self.addresses),
            host=self._hosts.hub,
            secret_output=secret_output,
        )
        return envelope["data"]

    def say_what_to_do_next(self, report: RunReport) -> None:
        """Where the adapter and the report lie, and how to verify."""
        verdict = "every round was recomputed and is right" if report.verified else f"WRONG: {report.fault}"
        self._console.print(f"verified: {verdict}")
        if report.audit is not None:
            self._console.print(
                f"audit log: {report.audit.rows} rows as written, {report.audit.anchored_rows} of them as "
                f"anchored on chain in {report.audit.epochs} epochs"
            )
        self._console.print(f"adapter (PEFT): {report.adapter_folder}")
        self._console.print(f"report: {self._layout.report}")
        self._console.print(
            f"verify again while the chain runs (KEEP=1): {Path(sys.executable).with_name('collegium')} "
            + " ".join(self._verify_command(1)),
            soft_wrap=True,
        )

    def say_where_the_dashboard_is(self) -> None:
        """A link that signs in once, within some minutes."""
        token_file = self._layout.tokens / "auditor"
        # Whoever has the link can sign in.
        link = self._collegium("dashboard-link", "--token-file", str(token_file), secret_output=True)["url"]
        self._console.print(f"dashboard: {link}", soft_wrap=True)
        self._console.print(
            f"  (it signs in once; later: {self.addresses.orchestrator_url} with the token in {token_file})",
            soft_wrap=True,
        )
