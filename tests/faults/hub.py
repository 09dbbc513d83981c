"""A hub on a real chain whose worker lives and dies as a test wants, and the nodes that play a round with it.

One ``Scene`` is a chain and a database at a certain moment; every case of a fault starts from a copy of it.
The API answers within the test's process; the worker is a process. Blocks are sealed by the test.
"""

import multiprocessing
import os
import shutil
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import httpx
from eth_account import Account
from fastapi.testclient import TestClient
from sqlalchemy import make_url

from contracts.abi import ContractName
from contracts.digests import sha256_digest
from contracts.verify.views import view_call
from deploy.local.chain_setup import set_up_demo_accounts
from orchestrator.adapters.chain.deploy import deploy
from orchestrator.adapters.database import open_records
from orchestrator.adapters.database.migrate import migrate
from orchestrator.adapters.database.models import PROJECTION_TABLES
from orchestrator.app import create_app_from_environment
from orchestrator.composition import SystemClock
from orchestrator.domain.ports import RecordsUnavailable
from orchestrator.services.tokens import TokenService
from orchestrator.settings import Settings, load_settings
from orchestrator.worker import build_worker
from tests.chain.anvil import Anvil, running_anvil
from tests.faults.mortal import Death, run_worker
from tests.integration.databases import all_rows, new_database
from tests.integration.orchestrator_rig import (
    BY_ADDRESS,
    GENESIS,
    NETWORKS,
    POOL,
    REPORT,
    STAKE,
    Network,
    adapter,
    task_spec,
    terms_of,
)
from tests.integration.postgresql import PostgresqlServer

TASK = 1
ROUND = f"/v1/tasks/{TASK}/rounds/1"
PHASES = ("requested", "training", "committing", "revealing", "attesting")
CLOSED = ("final", "rejected", "aborted")
PHASE_S = 20_000
"""Longer than any reorganisation or jump of a clock in a test takes the chain."""
CASE_DEADLINE_S = 60.0
DEEPEST_REORGANISATION = 14
"""Deeper than any in a test, and than what the hub takes for final."""
FOREVER_UNIX_S = 1 << 40
_TICK_S = 0.02
PATIENCE_S = 1.0
"""After how long a node asks again, where it may."""
_PROJECTION = [table.__tablename__ for table in PROJECTION_TABLES]
_RETRY = (409, 503, 507)
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["tests.faults.mortal", "orchestrator.adapters.chain.connection"])


class Later(Exception):
    """The hub cannot take something now."""


cases: Counter[str] = Counter()
"""How many cases of each fault this session tried."""


def eventually(look: Callable[[], Any], deadline_s: float = CASE_DEADLINE_S) -> Any:
    """What ``look`` finds, before a deadline."""
    give_up_s = time.monotonic() + deadline_s
    while not (found := look()):
        assert time.monotonic() < give_up_s, "it did not happen in time"
        time.sleep(_TICK_S)
    return found


@dataclass
class Chain:
    """Anvil with a lasting connection; with its own sealing off, a block is made when ``seal`` says so."""

    anvil: Anvil
    _client: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=10))

    def rpc(self, method: str, *parameters: object) -> Any:
        """One JSON-RPC call."""
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(parameters)}
        answer = self._client.post(self.anvil.rpc_url, json=body).json()
        assert "error" not in answer, answer
        return answer["result"]

    def head(self) -> int:
        """The newest block's number."""
        return int(self.rpc("eth_blockNumber"), 16)

    def seal(self, blocks: int = 1) -> None:
        """Make blocks of what is waiting."""
        self.rpc("anvil_mine", hex(blocks))

    def waiting(self) -> int:
        """How many transactions wait for a block."""
        status = self.rpc("txpool_status")
        return int(status["pending"], 16) + int(status["queued"], 16)

    def reorganise(self, depth: int) -> None:
        """Replace the newest blocks with empty ones."""
        self.rpc("anvil_reorg", depth, [])

    def view(
        self, kind: type, contract: ContractName, address: str, function: str, *arguments: object
    ) -> Any:
        """What a contract's view answers."""
        call = view_call(contract, address, function, *arguments)
        answer = self.rpc("eth_call", {"to": address, "data": "0x" + call.data.hex()}, "latest")
        return call.read(kind, bytes.fromhex(answer[2:]))

    def transactions(self, first_block: int) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """Every transaction from a block on, with its receipt."""
        found = []
        for number in range(first_block, self.head() + 1):
            block = self.rpc("eth_getBlockByNumber", hex(number), True)
            receipts = {
                each["transactionHash"]: each for each in self.rpc("eth_getBlockReceipts", hex(number))
            }
            found += [(each, receipts[each["hash"]]) for each in block["transactions"]]
        return found


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
class Hub:
    """API, worker process and nodes over one database and the chain."""

    chain: Chain
    environment: dict[str, str]
    folder: Path
    token: str
    patience_s: float | None = None
    """After how long a node repeats a message that is not on chain; None: it trusts the hub, and never."""
    clock_offset_s: Any = field(default_factory=lambda: _PROCESSES.Value("q", 0))
    worker: Any = None
    deaths: int = 0
    """How many workers were killed."""
    silent_in: str | None = None
    """A phase in which the nodes send nothing."""
    next_death: Death | None = None
    """When the worker that follows a killed one dies."""
    _sent_s: dict[tuple[str, ...], float] = field(default_factory=dict)
    _open: ExitStack = field(default_factory=ExitStack)

    def __post_init__(self) -> None:
        with mock.patch.dict(os.environ, self.environment):
            self.settings: Settings = load_settings()
            app = create_app_from_environment()
        self.api = self._open.enter_context(TestClient(app, raise_server_exceptions=False))
        self.api.headers["Authorization"] = f"Bearer {self.token}"
        self.domain = self.settings.deployment().rounds_domain
        self.records = open_records(self.settings.database_url)
        self._open.callback(self.records.close)

    # --- processes

    def start_worker(self, death: Death | None = None) -> None:
        """Start a worker, which may be told when to die."""
        self.worker = _PROCESSES.Process(
            target=run_worker, args=(self.settings, death, self.folder, self.clock_offset_s), daemon=True
        )
        self.worker.start()

    def worker_died(self) -> bool:
        """Whether the worker was killed; any other end is an error."""
        if self.worker.exitcode in (None, 0):
            return False
        assert self.worker.exitcode == -signal.SIGKILL, (self.folder / "worker.log").read_text()
        return True

    def kill_worker(self) -> None:
        """Kill the worker now."""
        self.worker.kill()
        self.worker.join()

    def stop_worker(self) -> None:
        """Stop the worker in order; one that was to die may do so at its last commit."""
        self.worker.terminate()
        self.worker.join(CASE_DEADLINE_S)
        if self.worker_died():
            self.deaths += 1
            return
        assert self.worker.exitcode == 0, (self.folder / "worker.log").read_text()

    def commits(self) -> int:
        """How many commits workers of this hub made."""
        journal = self.folder / "commits"
        return len(journal.read_text().splitlines()) if journal.exists() else 0

    def close(self) -> None:
        """End everything."""
        if self.worker is not None and self.worker.exitcode is None:
            self.kill_worker()
        self._open.close()

    @property
    def sent(self) -> int:
        """How many messages of nodes the hub has taken."""
        return len(self._sent_s)

    # --- the API

    def get(self, path: str) -> Any:
        """A resource."""
        response = self.api.get(path)
        assert response.is_success, response.text
        return response.json()

    def post(self, path: str, body: dict[str, Any]) -> None:
        """Post what must be taken."""
        response = self.api.post(path, json=body)
        assert response.is_success, response.text

    def offer(self, path: str, body: dict[str, Any]) -> bool:
        """Post what may have to wait; whether it was taken."""
        response = self.api.post(path, json=body)
        assert response.is_success or response.status_code in _RETRY, response.text
        return response.is_success

    def put(self, data: bytes) -> str:
        """Store an artifact; its digest. Raises Later."""
        digest = sha256_digest(data)
        response = self.api.put(f"/v1/artifacts/{digest}", content=data)
        if response.status_code in _RETRY:
            raise Later(response.text)
        assert response.is_success, response.text
        return digest

    def round(self) -> dict[str, Any] | None:
        """The first round, once it is requested. Raises Later."""
        response = self.api.get(ROUND)
        if response.status_code == 404:
            return None
        if response.status_code in _RETRY:
            raise Later(response.text)
        assert response.is_success, response.text
        state: dict[str, Any] = response.json()
        return state

    def phase(self) -> str:
        """The first round's phase; empty when the hub cannot say."""
        try:
            state = self.round()
        except Later:
            return ""
        return "requested" if state is None else str(state["phase"])

    # --- the nodes

    def act(self) -> None:
        """Every node sends what it owes now, if the hub can take it."""
        with suppress(Later):
            self._act()

    def _act(self) -> None:
        state = self.round()
        phase = "requested" if state is None else state["phase"]
        if phase == self.silent_in:
            return
        if state is None or phase == "requested":
            for network in NETWORKS:
                self._approve(network)
        elif phase == "training":
            self._send_all(state, "proposers", "proposals", self._proposal)
        elif phase == "committing":
            self._send_all(state, "voters", "commits", lambda each, now: each.commit(self.domain, now))
        elif phase == "revealing":
            self._send_all(state, "voters", "reveals", lambda each, now: each.reveal(now))
        elif phase == "attesting":
            self._send_all(state, "voters", "attestations", self._attestation)

    def _approve(self, network: Network) -> None:
        key = ("approvals", network.name)
        if key not in self._sent_s:
            deployment = self.settings.deployment()
            body = network.approval(deployment, TASK, task_spec().digest, FOREVER_UNIX_S)
            if self.offer(f"/v1/tasks/{TASK}/approvals", body):
                self._sent_s[key] = time.monotonic()

    def _proposal(self, network: Network, state: dict[str, Any]) -> dict[str, Any]:
        self.put(network.adapter(1))
        return network.proposal(self.domain, state)

    def _attestation(self, network: Network, state: dict[str, Any]) -> dict[str, Any]:
        return network.attestation(self.domain, state, self.put(aggregate_of(state)))

    def _send_all(
        self,
        state: dict[str, Any],
        role: str,
        kind: str,
        body_of: Callable[[Network, dict[str, Any]], dict[str, Any]],
    ) -> None:
        for node in state[role]:
            key, now_s = (kind, state["context"], node), time.monotonic()
            sent_s = self._sent_s.get(key)
            if sent_s is not None and (self.patience_s is None or now_s < sent_s + self.patience_s):
                continue
            if self.offer(f"{ROUND}/{kind}", body_of(BY_ADDRESS[node], state)):
                self._sent_s[key] = now_s

    # --- a whole round

    def tick(self) -> None:
        """The nodes act, and what waits for a block gets one, once the worker has read the one before."""
        self.act()
        if (self.chain.waiting() or self._waits_for_its_seed()) and self.is_up_to_date():
            self.chain.seal()

    def _waits_for_its_seed(self) -> bool:
        """Whether a round is requested that cannot be drawn before there are more blocks."""
        with suppress(Later):
            state = self.round()
            if state is not None and state["phase"] == "requested":
                return not self.chain.view(bool, "Rounds", self.settings.deployment().rounds, "isDue", TASK)
        return False

    def play(self, until: Callable[[], Any], deadline_s: float = CASE_DEADLINE_S) -> None:
        """Play until something is so; a worker that was killed is followed by another."""

        def look() -> Any:
            if self.worker_died():
                self.deaths += 1
                self.start_worker(self.next_death)
            self.tick()
            return until()

        eventually(look, deadline_s)

    def play_to_the_end(self) -> None:
        """Play until the round is closed, all is deep in the chain, and the hub has read it."""
        self.play(lambda: self.phase() in CLOSED)
        self.chain.seal(DEEPEST_REORGANISATION)
        self.play(lambda: not self.chain.waiting() and self.is_up_to_date() and self.has_nothing_left())
        self.stop_worker()

    def has_nothing_left(self) -> bool:
        """Whether everything that was recorded for the chain has come to its end."""
        with suppress(RecordsUnavailable), self.records.read() as unit:
            return unit.outbox.count_unsettled() == 0
        return False

    def is_up_to_date(self) -> bool:
        """Whether the projection is at the chain's head."""
        try:
            with self.records.read() as unit:
                last = unit.projection.last_block()
        except RecordsUnavailable:
            return False
        return last is not None and last.number == self.chain.head()


def aggregate_of(state: dict[str, Any]) -> bytes:
    """The aggregate's file: the mean of what was accepted."""
    accepted = [each["node"] for each in state["proposals"] if each["standing"] == "accepted"]
    return adapter(sum(BY_ADDRESS[node].value_in(1) for node in accepted) / len(accepted))


@dataclass
class Scene:
    """A chain and a database at one moment; each case plays on a copy."""

    chain: Chain
    databases: Databases
    database_url: str
    environment: dict[str, str]
    folder: Path
    token: str
    snapshot: str
    first_block: int
    """The block after the one at which the nodes were ready."""
    phase: str = PHASES[0]
    _copies: int = 0

    @contextmanager
    def case(
        self, name: str, *, patience_s: float | None = None, rpc_url: str | None = None
    ) -> Iterator[Hub]:
        """A hub at that moment, without a worker; counted under the fault's name.

        ``rpc_url`` takes the place of the chain's for the hub.
        """
        cases[name] += 1
        self._copies += 1
        folder = self.folder / f"case-{self._copies}"
        folder.mkdir()
        self._rewind()
        url = self.databases.copy(self.database_url, folder)
        environment = self.environment | {"COLLEGIUM_DATABASE_URL": url}
        if rpc_url is not None:
            environment["COLLEGIUM_RPC_URL"] = rpc_url
        hub = Hub(self.chain, environment, folder, self.token, patience_s)
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

    def _rewind(self) -> None:
        self.chain.rpc("anvil_dropAllTransactions")
        assert self.chain.rpc("evm_revert", self.snapshot)
        # Going back uses a snapshot up.
        self.snapshot = self.chain.rpc("evm_snapshot")

    @contextmanager
    def at(self, phase: str) -> Iterator["Scene"]:
        """The same scene when the round has reached a phase."""
        self._copies += 1
        folder = self.folder / f"{phase}-{self._copies}"
        folder.mkdir()
        self._rewind()
        url = self.databases.copy(self.database_url, folder)
        environment = self.environment | {"COLLEGIUM_DATABASE_URL": url}
        hub = Hub(self.chain, environment, folder, self.token)
        hub.silent_in = phase
        if phase != PHASES[0]:
            hub.start_worker()
            hub.play(lambda: hub.phase() == phase)
            eventually(hub.is_up_to_date)
            hub.stop_worker()
        hub.close()
        snapshot = self.chain.rpc("evm_snapshot")
        scene = Scene(
            *(self.chain, self.databases, url, environment, folder, self.token, snapshot, self.first_block),
            phase,
        )
        try:
            yield scene
        finally:
            self.databases.drop(url)

    def require_whole(self, hub: Hub) -> None:
        """After any fault: the round is final, nothing is lost or doubled, the projection is the chain's."""
        state = hub.get(ROUND)
        assert state["phase"] == "final"
        assert len(state["proposals"]) == len(state["proposers"]) == 3
        assert [vote["revealed"] for vote in state["votes"]] == [True] * 4
        assert state["aggregate_digest"] == sha256_digest(aggregate_of(state))
        assert "unexpected" not in (hub.folder / "worker.log").read_text()
        self._require_single_effects(hub)
        self._require_rebuilt_projection(hub)

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

    def _require_rebuilt_projection(self, hub: Hub) -> None:
        folder = hub.folder / "rebuilt"
        folder.mkdir()
        url = new_database(folder)
        fresh = build_worker(hub.settings.model_copy(update={"database_url": url}))
        assert fresh.lease is not None
        assert fresh.lease.hold()
        fresh.indexer.run_once()
        found, rebuilt = all_rows(hub.settings.database_url), all_rows(url)
        for table in _PROJECTION:
            assert found[table] == rebuilt[table], table


@contextmanager
def opened_scene(folder: Path, server: PostgresqlServer | None) -> Iterator[Scene]:
    """A hub with nodes that are admitted and staked, and a task that is paid and that nobody approved yet."""
    with running_anvil(folder / "anvil.log", "--order", "fifo") as anvil:
        chain = Chain(anvil)
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
        hub = Hub(chain, environment, folder, token)
        hub.start_worker()
        _make_ready(hub, anvil, council_key)
        hub.stop_worker()
        hub.close()
        snapshot = chain.rpc("evm_snapshot")
        yield Scene(chain, databases, url, environment, folder, token, snapshot, chain.head() + 1)


def _make_ready(hub: Hub, anvil: Anvil, council_key: str) -> None:
    for group, network in enumerate(NETWORKS, start=1):
        body = {"node": network.address, "signer": network.address, "group": group, "name": network.name}
        hub.post("/v1/nodes", body)
    eventually(lambda: len(hub.get("/v1/nodes")["items"]) == len(NETWORKS))
    set_up_demo_accounts(
        anvil.rpc_url,
        hub.settings.deployment(),
        council_key=council_key,
        nodes=[network.address for network in NETWORKS],
        stake=STAKE,
        pool=POOL,
    )
    spec = task_spec()
    for data in (spec.canonical_bytes(), GENESIS, REPORT):
        hub.put(data)
    lengths = {f"{phase}_s": PHASE_S for phase in PHASES[1:]}
    config = terms_of(spec, rounds=1, **lengths)
    hub.post(
        "/v1/tasks", {"spec_digest": spec.digest, "name": spec.name, "config": config, "pool": str(POOL)}
    )
    eventually(lambda: [task["pool"] for task in hub.get("/v1/tasks")["items"]] == [str(POOL)])
    # What stands so far is deeper than any reorganisation that follows.
    hub.chain.seal(DEEPEST_REORGANISATION)
    eventually(hub.is_up_to_date)
    hub.chain.rpc("evm_setAutomine", False)


def _write_key(path: Path, anvil: Anvil) -> str:
    key = "0x" + bytes(Account.create().key).hex()
    path.touch(mode=0o600)
    path.write_text(key)
    anvil.give_gas(str(Account.from_key(key).address))
    return key
