"""Scenes: a chain and a database at a certain moment; every case of a fault starts from a copy of one."""

import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from eth_account import Account
from sqlalchemy import make_url

from contracts.digests import sha256_digest
from contracts.task import TaskSpec
from contracts.verify.views import view_call
from deploy.local.chain_setup import set_up_demo_accounts
from orchestrator.adapters.chain.deploy import deploy
from orchestrator.adapters.database import open_records
from orchestrator.adapters.database.migrate import migrate
from orchestrator.adapters.database.models import PROJECTION_TABLES
from orchestrator.composition import SystemClock
from orchestrator.services.tokens import TokenService
from orchestrator.worker import build_worker
from tests.chain.anvil import Anvil
from tests.faults.chain import Chain, snapshot_chain
from tests.faults.hub import DEEPEST_REORGANISATION, PHASES, ROUND, TASK, Hub, aggregate_of, eventually
from tests.integration.databases import all_rows, new_database
from tests.integration.orchestrator_rig import (
    GENESIS,
    NETWORKS,
    POOL,
    REPORT,
    STAKE,
    TERMS,
    Network,
    task_spec,
    terms_of,
)
from tests.integration.postgresql import PostgresqlServer

PHASE_S = 20_000
"""Longer than any reorganisation or jump of a clock in a test takes the chain."""
_PROJECTION = [table.__tablename__ for table in PROJECTION_TABLES]

cases: Counter[str] = Counter()
"""How many cases of each fault this session tried."""


class Databases:
    """SQLite files or PostgreSQL databases that are copied from one another."""

    def __init__(self, server: PostgresqlServer | None) -> None:
        self._server = server

    def new(self, folder: Path) -> str:
        """A migrated database's URL."""
        url = f"sqlite:///{folder}/hub.sqlite3"
        if self._server is not None:
            url = self._server.url(self._server.create_database())
        migrate(url)
        return url

    def copy(self, url: str, folder: Path) -> str:
        """A copy, for a database that nobody writes to now."""
        source = make_url(url).database
        assert source is not None
        if self._server is None:
            with (
                closing(sqlite3.connect(source)) as old,
                closing(sqlite3.connect(folder / "hub.sqlite3")) as new,
            ):
                old.backup(new)
            return f"sqlite:///{folder}/hub.sqlite3"
        self._server.execute(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{source}'"
        )
        return self._server.url(self._server.create_database(source))

    def drop(self, url: str) -> None:
        """Remove a database."""
        if self._server is not None:
            name = make_url(url).database
            assert name is not None
            self._server.drop_database(name)


@dataclass
class Scene:
    """A chain and a database at one moment; each case plays on a copy."""

    chain: Chain
    databases: Databases
    database_url: str
    environment: dict[str, str]
    folder: Path
    token: str
    mark: str
    first_block: int
    """The block after the one at which the nodes were ready."""
    phase: str = PHASES[0]
    networks: Sequence[Network] = NETWORKS
    proposers: int = TERMS["proposers"]
    _copies: int = 0

    @contextmanager
    def case(
        self,
        name: str,
        *,
        patience_s: float | None = None,
        rpc_url: str | None = None,
        second_rpc_url: str | None = None,
        **environment: str,
    ) -> Iterator[Hub]:
        """A hub at that moment, without a worker; counted under the fault's name.

        ``rpc_url`` takes the place of the chain's for the hub; ``environment`` has more of its settings.
        """
        cases[name] += 1
        self._copies += 1
        folder = self.folder / f"case-{self._copies}"
        folder.mkdir()
        self._rewind()
        url = self.databases.copy(self.database_url, folder)
        environment = self.environment | environment | {"COLLEGIUM_DATABASE_URL": url}
        if rpc_url is not None:
            environment["COLLEGIUM_RPC_URL"] = rpc_url
        if second_rpc_url is not None:
            environment["COLLEGIUM_SECOND_RPC_URL"] = second_rpc_url
        hub = Hub(self.chain, environment, folder, self.token, patience_s, networks=self.networks)
        try:
            yield hub
        except BaseException as error:
            error.add_note(f"{name}, case {self._copies}; its files are in {folder}")
            raise
        finally:
            hub.close()
            self.databases.drop(url)
        # Kept when a case fails, for whoever looks into it.
        shutil.rmtree(folder)

    def saved(self, folder: Path) -> Path:
        """The chain at that moment, as a file for another node."""
        self._rewind()
        return self.chain.save(folder)

    def _rewind(self) -> None:
        self.mark = self.chain.go_back(self.mark)

    @contextmanager
    def at(self, phase: str) -> Iterator["Scene"]:
        """The same scene when the round has reached a phase."""
        self._copies += 1
        folder = self.folder / f"{phase}-{self._copies}"
        folder.mkdir()
        self._rewind()
        url = self.databases.copy(self.database_url, folder)
        environment = self.environment | {"COLLEGIUM_DATABASE_URL": url}
        hub = Hub(self.chain, environment, folder, self.token, networks=self.networks)
        hub.silent_in = phase
        if phase != PHASES[0]:
            hub.start_worker()
            hub.play(lambda: hub.phase() == phase)
            eventually(hub.is_up_to_date)
            hub.stop_worker()
        hub.close()
        try:
            yield replace(
                self,
                database_url=url,
                environment=environment,
                folder=folder,
                mark=self.chain.mark(),
                phase=phase,
                _copies=0,
            )
        finally:
            self.databases.drop(url)

    def require_whole(self, hub: Hub) -> None:
        """After any fault: the round is final, nothing is lost or doubled, the projection is the chain's."""
        state = hub.get(ROUND)
        assert state["phase"] == "final"
        assert len(state["proposals"]) == len(state["proposers"]) == self.proposers
        assert [vote["revealed"] for vote in state["votes"]] == [True] * len(self.networks)
        assert state["aggregate_digest"] == sha256_digest(aggregate_of(hub, state))
        assert "unexpected error" not in (hub.folder / "worker.log").read_text()
        self._require_single_effects(hub)
        self.require_rebuilt_projection(hub)

    def _require_single_effects(self, hub: Hub) -> None:
        advance = "0x" + view_call("Rounds", hub.settings.deployment().rounds, "advance", TASK).data.hex()
        succeeded = Counter(
            transaction["input"]
            for transaction, receipt in self.chain.transactions(self.first_block)
            if receipt["status"] == "0x1"
        )
        # One out of each phase; what else is sent is different each time.
        assert succeeded.pop(advance) == len(PHASES)
        assert set(succeeded.values()) == {1}
        state, task = hub.get(ROUND), hub.get(f"/v1/tasks/{TASK}")
        tasks = hub.settings.deployment().tasks
        rewards = {reward["node"]: int(reward["amount"]) for reward in state["rewards"]}
        for node in hub.get("/v1/nodes")["items"]:
            on_chain = self.chain.view(int, "Tasks", tasks, "claimableOf", node["node"])
            assert int(node["earned"]) == rewards.get(node["node"], 0) == on_chain
        assert sum(rewards.values()) > 0
        assert sum(rewards.values()) + int(task["pool"]) == POOL

    def require_rebuilt_projection(self, hub: Hub) -> None:
        """The projection is that of a hub that reads the chain from its first block, table by table."""
        folder = hub.folder / "rebuilt"
        folder.mkdir()
        url = new_database(folder)
        # From the chain itself, whatever the hub was told.
        settings = {"database_url": url, "rpc_url": self.chain.anvil.rpc_url, "second_rpc_url": None}
        fresh = build_worker(hub.settings.model_copy(update=settings))
        assert fresh.lease is not None
        assert fresh.lease.hold()
        fresh.indexer.run_once()
        found, rebuilt = all_rows(hub.settings.database_url), all_rows(url)
        for table in _PROJECTION:
            assert found[table] == rebuilt[table], table


@contextmanager
def opened_scene(
    folder: Path,
    server: PostgresqlServer | None,
    running_chain: Callable[[Path], AbstractContextManager[Chain]] = snapshot_chain,
    networks: Sequence[Network] = NETWORKS,
    **terms: int,
) -> Iterator[Scene]:
    """A hub with nodes that are admitted and staked, and a task that is paid and that nobody approved yet.

    ``terms`` are the task's, where they are not the usual ones.
    """
    with running_chain(folder) as chain:
        anvil = chain.anvil
        council_key = _write_key(folder / "council", anvil)
        _write_key(folder / "relayer", anvil)
        deployment = deploy(anvil.rpc_url, council_key, str(Account.from_key(council_key).address))
        (folder / "deployment.json").write_bytes(deployment.to_json())
        databases = Databases(server)
        url = databases.new(folder)
        environment = {
            "COLLEGIUM_DATABASE_URL": url,
            "COLLEGIUM_ARTIFACT_FOLDER": str(folder / "artifacts"),
            "COLLEGIUM_RPC_URL": anvil.rpc_url,
            "COLLEGIUM_DEPLOYMENT_FILE": str(folder / "deployment.json"),
            "COLLEGIUM_RELAYER_KEY_FILE": str(folder / "relayer"),
            "COLLEGIUM_COUNCIL_KEY_FILE": str(folder / "council"),
            "COLLEGIUM_POLL_S": "0.01",
            "COLLEGIUM_CONFIRMATIONS": "12",
        }
        records = open_records(url)
        token = TokenService(records, SystemClock()).issue("admin", "admin")
        records.close()
        hub = Hub(chain, environment, folder, token, networks=networks)
        hub.start_worker()
        _make_ready(hub, anvil, council_key, terms)
        hub.stop_worker()
        hub.close()
        mark = chain.mark()
        yield Scene(
            *(chain, databases, url, environment, folder, token, mark, chain.head() + 1),
            networks=networks,
            proposers=terms.get("proposers", TERMS["proposers"]),
        )


def _make_ready(hub: Hub, anvil: Anvil, council_key: str, terms: Mapping[str, int]) -> None:
    for group, network in enumerate(hub.networks, start=1):
        body = {"node": network.address, "signer": network.address, "group": group, "name": network.name}
        hub.post("/v1/nodes", body)
    eventually(lambda: len(hub.get("/v1/nodes")["items"]) == len(hub.networks))
    set_up_demo_accounts(
        anvil.rpc_url,
        hub.settings.deployment(),
        council_key=council_key,
        nodes=[network.address for network in hub.networks],
        stake=STAKE,
        pool=POOL,
    )
    spec = task_spec()
    for data in (spec.canonical_bytes(), GENESIS, REPORT):
        hub.put(data)
    order_task(hub, spec, POOL, terms)
    eventually(lambda: [task["pool"] for task in hub.get("/v1/tasks")["items"]] == [str(POOL)])
    # What stands so far is deeper than any reorganisation that follows.
    hub.chain.seal(DEEPEST_REORGANISATION)
    eventually(hub.is_up_to_date)
    hub.chain.rpc("evm_setAutomine", False)


def order_task(hub: Hub, spec: TaskSpec, pool: int, terms: Mapping[str, int]) -> None:
    """The council orders a task of one round."""
    lengths = {f"{phase}_s": PHASE_S for phase in PHASES[1:]}
    config = terms_of(spec, rounds=1, **lengths, **terms)
    body = {"spec_digest": spec.digest, "name": spec.name, "config": config, "pool": str(pool)}
    hub.post("/v1/tasks", body)


def _write_key(path: Path, anvil: Anvil) -> str:
    key = "0x" + bytes(Account.create().key).hex()
    path.touch(mode=0o600)
    path.write_text(key)
    anvil.give_gas(str(Account.from_key(key).address))
    return key
