"""The control plane in one process over a real database and a chain in memory."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.testclient import TestClient

from contracts.deployment import Deployment
from contracts.digests import sha256_digest
from orchestrator.adapters.artifacts import FolderArtifactStore
from orchestrator.app import create_app
from orchestrator.composition import WebhookOutlet, build_deliveries
from orchestrator.domain.chain import ChainError
from orchestrator.domain.outbox import OutboxRules
from orchestrator.domain.ports import FlowerError, FlowerRunNotFound, FlowerRuns, Lanes, Records, RunStatus
from orchestrator.domain.signatures import SignatureClaim
from orchestrator.options import AppOptions
from orchestrator.services.anchoring import AuditAnchoring
from orchestrator.services.conductors import Conductors
from orchestrator.services.indexer import Indexer
from orchestrator.services.lease import (
    LeasedLanes,
    LeasedReceivers,
    LeasedRecords,
    LeasedRuns,
    WorkerLease,
)
from orchestrator.services.outbox import OutboxProcessor
from orchestrator.services.reconciler import Reconciler
from orchestrator.services.throttle import Limits
from orchestrator.services.tokens import BOOTSTRAP_ROLES, TokenService
from orchestrator.worker import Worker
from orchestrator.worker_metrics import WorkerMetrics
from tests.chain.wallets import account_that_signed
from tests.integration.databases import new_database, open_quick_records
from tests.integration.orchestrator_chain_double import FIRST_BLOCK_UNIX_S, ChainDouble, LanesDouble
from tests.integration.orchestrator_rig import (
    BY_ADDRESS,
    GENESIS,
    NETWORKS,
    POOL,
    REPORT,
    STAKE,
    adapter,
    task_spec,
    terms_of,
)

DEPLOYMENT = Deployment(
    chain_id=31337,
    registry="0x" + "13" * 20,
    tasks="0x" + "12" * 20,
    rounds="0x" + "11" * 20,
    lens="0x" + "14" * 20,
    anchors="0x" + "16" * 20,
    token="0x" + "15" * 20,
    block=1,
)
DOMAIN = DEPLOYMENT.rounds_domain
ARTIFACT_LIMIT_BYTES = 1 << 16
NO_LIMITS = Limits(
    requests=None,
    attempts="1000000/second",
    wrong_credentials="1000000/second",
    contract_signatures="1000000/second",
)
"""A test asks as often as it likes, all from one address."""
TURNS = 60
LEASE_S = 15
RULES = OutboxRules(confirmations=3)


@dataclass
class ClockDouble:
    """Time that a test moves."""

    unix_s: int = FIRST_BLOCK_UNIX_S

    def now_unix_s(self) -> int:
        """That time."""
        return self.unix_s


@dataclass
class FlowerDouble:
    """``FlowerRuns`` that remembers what it was asked for."""

    submitted: list[tuple[int, int]] = field(default_factory=list)
    statuses: dict[str, RunStatus] = field(default_factory=dict)
    is_down: bool = False

    def submit(self, task: int, round_number: int) -> str:
        """Start a run."""
        if self.is_down:
            raise FlowerError("the SuperLink is down")
        self.submitted.append((task, round_number))
        run_id = str(len(self.submitted))
        self.statuses[run_id] = "running"
        return run_id

    def status(self, run_id: str) -> RunStatus:
        """Where a run stands."""
        if run_id not in self.statuses:
            raise FlowerRunNotFound(f"run {run_id} is not known")
        return self.statuses[run_id]


@dataclass
class ContractSignersDouble:
    """``ContractSigners`` whose contracts are wallets with one owner each, whose key signs for them."""

    owners: dict[str, str] = field(default_factory=dict)
    """Owner by wallet."""
    questions: int = 0
    is_down: bool = False

    def have_signed(self, claim: SignatureClaim) -> bool:
        """Whether the account's key, or that of the wallet's owner, signed."""
        self.questions += 1
        if self.is_down:
            raise ChainError("the chain is down")
        signer = account_that_signed(claim.digest, claim.signature)
        return signer is not None and signer in (claim.account, self.owners.get(claim.account))


class Rig:
    """Everything together; on a new SQLite database when none is given."""

    def __init__(
        self,
        folder: Path,
        database_url: str | None = None,
        prepare: Callable[[FastAPI], None] = lambda _: None,
        outlet: WebhookOutlet | None = None,
        limits: Limits = NO_LIMITS,
    ) -> None:
        self.outlet = outlet or WebhookOutlet()
        self.database_url = database_url or new_database(folder)
        self.clock = ClockDouble()
        self.chain = ChainDouble()
        self.lanes = LanesDouble.of(self.chain)
        self.records = open_quick_records(self.database_url)
        self.artifacts = FolderArtifactStore(folder / "artifacts", ARTIFACT_LIMIT_BYTES)
        tokens = TokenService(self.records, self.clock)
        self.signers = ContractSignersDouble()
        self.app = create_app(
            self.records,
            self.artifacts,
            DEPLOYMENT,
            self.clock,
            self.outlet,
            AppOptions(limits=limits),
            self.signers,
        )
        prepare(self.app)
        self._open = ExitStack()
        self.clients: dict[str, TestClient] = {
            role: self._client(tokens.issue(role, role)) for role in BOOTSTRAP_ROLES
        }
        self.anonymous = self._client("none")
        del self.anonymous.headers["Authorization"]
        self.flower = FlowerDouble()
        self.anchoring = AuditAnchoring(self.records, self.clock, epoch_s=1 << 40, epoch_rows=1 << 20)
        self.worker = self.new_worker()

    @property
    def admin(self) -> TestClient:
        """A session that may all."""
        return self.clients["admin"]

    @property
    def conductor(self) -> TestClient:
        """The conductor's session."""
        return self.clients["conductor"]

    @property
    def auditor(self) -> TestClient:
        """A session that only reads."""
        return self.clients["auditor"]

    def operator(self, node: str) -> TestClient:
        """The session of a node's operator."""
        if node not in self.clients:
            token = TokenService(self.records, self.clock).issue("operator", "operator", node=node)
            self.clients[node] = self._client(token)
        return self.clients[node]

    def new_worker(self, lanes: Lanes | None = None) -> Worker:
        """A worker that has just been started, alone as far as it knows."""
        return self._worker(self.records, lanes or self.lanes, self.flower, None, self.outlet)

    def new_worker_among_others(self, name: str) -> Worker:
        """A worker that has just been started and acts only while it has the lease."""
        lease = WorkerLease(self.records, self.clock, name, LEASE_S)
        records, lanes = LeasedRecords(self.records, lease), LeasedLanes(self.lanes, lease)
        outlet = replace(self.outlet, receivers=LeasedReceivers(self.outlet.receivers, lease))
        return self._worker(records, lanes, LeasedRuns(self.flower, lease), lease, outlet)

    def _worker(
        self,
        records: Records,
        lanes: Lanes,
        flower: FlowerRuns,
        lease: WorkerLease | None,
        outlet: WebhookOutlet,
    ) -> Worker:
        return Worker(
            lease=lease,
            indexer=Indexer(records, self.chain, self.clock, 1, RULES.confirmations),
            reconciler=Reconciler(records, self.chain, self.clock, conducts=True),
            outbox=OutboxProcessor(records, lanes, self.chain, self.clock, RULES),
            conductors=Conductors(records, flower, self.clock, follow_every_s=10),
            anchoring=self.anchoring,
            poll_s=0.01,
            metrics=WorkerMetrics(self.records, self.chain),
            webhooks=build_deliveries(records, outlet, self.clock),
        )

    def close(self) -> None:
        """Let go of the database and the thread."""
        assert self.worker.conductors is not None
        self.worker.conductors.close()
        if self.worker.webhooks is not None:
            self.worker.webhooks.close()
        self._open.close()
        self.records.close()

    def turn(self) -> None:
        """The worker works, a block is made, the worker reads it."""
        self.worker.run_once()
        self.chain.mine()
        self.clock.unix_s = max(self.clock.unix_s, self.chain.head().timestamp_unix_s)
        self.worker.run_once()

    def turn_until(self, look: Callable[[], Any]) -> Any:
        """Turn until something is found."""
        for _ in range(TURNS):
            if found := look():
                return found
            self.turn()
        raise AssertionError("it did not happen")

    def get(self, path: str) -> Any:
        """A resource."""
        response = self.admin.get(path)
        assert response.is_success, response.text
        return response.json()

    def put(self, data: bytes) -> str:
        """Store an artifact; its digest."""
        digest = sha256_digest(data)
        response = self.conductor.put(f"/v1/artifacts/{digest}", content=data)
        assert response.is_success, response.text
        return digest

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """The answer to a post."""
        response = self.admin.post(path, json=body)
        assert response.is_success, response.text
        return response.json()

    def order_admission(self, index: int) -> None:
        """Order the admission of a network."""
        network = NETWORKS[index]
        body = {"node": network.address, "signer": network.address, "group": index + 1, "name": network.name}
        self.post("/v1/nodes", body)

    def admit_networks(self) -> None:
        """Admit and stake every network."""
        for index in range(len(NETWORKS)):
            self.order_admission(index)
        self.turn_until(lambda: len(self.chain.state.nodes) == len(NETWORKS))
        for network in NETWORKS:
            self.chain.stake(network.address, STAKE)

    def order_task(self, **changes: int) -> dict[str, Any]:
        """Upload a task's artifacts and order it."""
        spec = task_spec()
        self.put(spec.canonical_bytes())
        self.put(GENESIS)
        body = {
            "spec_digest": spec.digest,
            "name": spec.name,
            "config": terms_of(spec, **changes),
            "pool": str(POOL),
        }
        answer: dict[str, Any] = self.post("/v1/tasks", body)
        return answer

    def start_task(self, **changes: int) -> int:
        """A task on chain that every network approves."""
        self.admit_networks()
        self.order_task(**changes)
        self.turn_until(lambda: self.chain.state.tasks)
        self.worker.run_once()
        for network in NETWORKS:
            body = network.approval(DEPLOYMENT, 1, task_spec().digest, self.clock.unix_s + 10_000)
            self.post("/v1/tasks/1/approvals", body)
        self.put(REPORT)
        return 1

    def round_in(self, phase: str, number: int = 1) -> Any:
        """A round of task 1 once it is in a phase."""

        def look() -> Any:
            response = self.admin.get(f"/v1/tasks/1/rounds/{number}")
            return response.json() if response.is_success and response.json()["phase"] == phase else None

        return self.turn_until(look)

    def propose_all(self, number: int = 1) -> Any:
        """Every drawn proposer proposes; the round when it was training."""
        state = self.round_in("training", number)
        for node in state["proposers"]:
            self.put(BY_ADDRESS[node].adapter(number))
            self.post(f"/v1/tasks/1/rounds/{number}/proposals", BY_ADDRESS[node].proposal(DOMAIN, state))
        return state

    def commit_all(self, number: int = 1) -> Any:
        """Every drawn voter commits; the round when it was committing."""
        state = self.round_in("committing", number)
        for node in state["voters"]:
            self.post(f"/v1/tasks/1/rounds/{number}/commits", BY_ADDRESS[node].commit(DOMAIN, state))
        return state

    def reveal_all(self, number: int = 1) -> Any:
        """Every drawn voter reveals; the round when it was revealing."""
        state = self.round_in("revealing", number)
        for node in state["voters"]:
            self.post(f"/v1/tasks/1/rounds/{number}/reveals", BY_ADDRESS[node].reveal(state))
        return state

    def attest_all(self, number: int = 1) -> Any:
        """Every drawn voter attests; the round when it was attesting."""
        state = self.round_in("attesting", number)
        digest = self.put(adapter(9.0 + number))
        for node in state["voters"]:
            body = BY_ADDRESS[node].attestation(DOMAIN, state, digest)
            self.post(f"/v1/tasks/1/rounds/{number}/attestations", body)
        return state

    def play_round(self, number: int = 1) -> Any:
        """A whole round; as it is when closed."""
        self.propose_all(number)
        self.commit_all(number)
        self.reveal_all(number)
        self.attest_all(number)
        return self.round_in("final", number)

    def _client(self, token: str) -> TestClient:
        client = self._open.enter_context(TestClient(self.app, raise_server_exceptions=False))
        client.headers["Authorization"] = f"Bearer {token}"
        return client
