"""A hub on a real chain whose worker lives and dies as a test wants, and the nodes that play a round with it.

The worker is a process; the API is one where a test wants it to die, and answers within the test's process
otherwise. Blocks are sealed by the test.
"""

import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import httpx
from fastapi.testclient import TestClient

from contracts.aggregation import Contribution, aggregate
from contracts.digests import sha256_digest
from orchestrator.adapters.database import open_records
from orchestrator.app import create_app_from_environment
from orchestrator.domain.chain import Block
from orchestrator.domain.idempotency import RUNNING_S
from orchestrator.domain.ports import RecordsUnavailable
from orchestrator.settings import Settings, load_settings
from tests.faults.chain import Chain
from tests.faults.mortal import Death, run_worker, serve_api
from tests.integration.flower_rig import free_port
from tests.integration.orchestrator_rig import (
    BY_ADDRESS,
    MANIFEST,
    NETWORKS,
    Network,
    task_spec,
)

TASK = 1
ROUND = f"/v1/tasks/{TASK}/rounds/1"
PHASES = ("requested", "training", "committing", "revealing", "attesting")
CLOSED = ("final", "rejected", "aborted")
CASE_DEADLINE_S = 60.0
DEEPEST_REORGANISATION = 14
"""Deeper than any in a test, and than what the hub takes for final."""
FOREVER_UNIX_S = 1 << 40
TICK_S = 0.02
PATIENCE_S = 1.0
"""After how long a node asks again, where it may."""
REBROADCAST_S = 5
"""How long the hub leaves to the chain what it has sent."""
_RETRY = (409, 503, 507)
_PROCESSES = multiprocessing.get_context("forkserver")
# All that a child would import, pytest too: a child imports its parent's main module.
_PROCESSES.set_forkserver_preload(
    [
        "pytest",
        "tests.faults.mortal",
        "orchestrator.adapters.chain.lane",
        "orchestrator.adapters.chain.reader",
        "orchestrator.adapters.chain.witness",
        "orchestrator.adapters.flower",
        "psycopg",
        "sqlalchemy.dialects.postgresql.psycopg",
        "sqlalchemy.dialects.sqlite",
    ]
)


class Later(Exception):
    """The hub cannot take something now."""


def eventually(look: Callable[[], Any], deadline_s: float = CASE_DEADLINE_S, every_s: float = TICK_S) -> Any:
    """What ``look`` finds, before a deadline."""
    give_up_s = time.monotonic() + deadline_s
    while not (found := look()):
        assert time.monotonic() < give_up_s, "it did not happen in time"
        time.sleep(every_s)
    return found


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
    networks: Sequence[Network] = NETWORKS
    plays_nodes: bool = True
    """Whether the test sends what nodes would in a round; otherwise it sends their approvals alone."""
    next_death: Death | None = None
    """When the worker that follows a killed one dies."""
    tick_s: float = TICK_S
    """How long the test waits between two looks; each costs a core a hundredth of a second."""
    rpc_timeout_s: float | None = None
    """How long the worker waits for an answer of the chain; None: as long as in life."""
    api_process: Any = None
    api_deaths: int = 0
    """How many processes of the API were killed."""
    next_api_death: Callable[[], Death | None] = lambda: None
    """When the process of the API that follows a killed one dies."""
    _api_clock_offset_s: Any = field(default_factory=lambda: _PROCESSES.Value("q", 0))
    _api: httpx.Client | None = None
    _round_at: Block | None = None
    _round: dict[str, Any] | None = None
    _artifacts: dict[str, bytes] = field(default_factory=dict)
    _sent_s: dict[tuple[str, ...], float] = field(default_factory=dict)
    _open: ExitStack = field(default_factory=ExitStack)

    def __post_init__(self) -> None:
        with mock.patch.dict(os.environ, self.environment):
            self.settings: Settings = load_settings()
        self.domain = self.settings.deployment().rounds_domain
        self.records = open_records(self.settings.database_url)
        self._open.callback(self.records.close)

    @property
    def api(self) -> httpx.Client:
        """The API to ask: within this process, unless ``start_api`` was called before."""
        if self._api is None:
            with mock.patch.dict(os.environ, self.environment):
                app = create_app_from_environment()
            client = TestClient(app, raise_server_exceptions=False)
            self._use_api(self._open.enter_context(client))
        assert self._api is not None
        return self._api

    def _use_api(self, client: httpx.Client) -> None:
        client.headers["Authorization"] = f"Bearer {self.token}"
        self._api = client

    # --- processes

    def start_worker(self, death: Death | None = None) -> None:
        """Start a worker, which may be told when to die."""
        self.worker = _PROCESSES.Process(
            target=run_worker,
            args=(self.settings, death, self.folder, self.clock_offset_s, self.rpc_timeout_s),
            daemon=True,
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
        return len(self.journal("commits"))

    def journal(self, name: str) -> list[str]:
        """The steps that processes of this hub made: ``commits``, ``api-commits``, ``api-file``."""
        journal = self.folder / name
        return journal.read_text().splitlines() if journal.exists() else []

    def start_api(self, death: Death | None = None) -> None:
        """Answer in a process of its own, which may be told when to die; returns when it answers."""
        if self._api is None:
            port = free_port()
            client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=CASE_DEADLINE_S)
            self._use_api(self._open.enter_context(client))
        assert self._api is not None
        port = self._api.base_url.port
        self.api_process = _PROCESSES.Process(
            target=serve_api,
            args=(self.environment, death, self.folder, self._api_clock_offset_s, port),
            daemon=True,
        )
        self.api_process.start()
        eventually(self._api_answers)

    def revive_api(self) -> bool:
        """Start the API again if it was killed; whether it was."""
        if self.api_process is None or self.api_process.is_alive():
            return False
        assert self.api_process.exitcode == -signal.SIGKILL, (self.folder / "api.log").read_text()
        self.api_deaths += 1
        # The claims that the dead process left behind are not waited for.
        self._api_clock_offset_s.value += RUNNING_S
        self.start_api(self.next_api_death())
        return True

    def kill_api(self) -> None:
        """Kill the process of the API now."""
        self.api_process.kill()
        self.api_process.join()

    def _api_answers(self) -> bool:
        assert self.api_process.is_alive(), (self.folder / "api.log").read_text()
        try:
            return self.api.get("/v1/tasks").is_success
        except httpx.TransportError:
            return False

    def close(self) -> None:
        """End everything."""
        for process in (self.worker, self.api_process):
            if process is not None and process.exitcode is None:
                process.kill()
                process.join()
        self._open.close()

    @property
    def sent(self) -> int:
        """How many messages of nodes the hub has taken."""
        return len(self._sent_s)

    # --- the API

    def ask(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        """A request. Raises Later when it was not answered, or cannot be now."""
        try:
            response = self.api.request(method, path, **arguments)
        except httpx.TransportError as error:
            raise Later(f"{method} {path}: {error}") from error
        if response.status_code in _RETRY:
            raise Later(response.text)
        return response

    def get(self, path: str) -> Any:
        """A resource."""
        response = self.api.get(path)
        assert response.is_success, response.text
        return response.json()

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """Post what must be taken; the answer. Repeated under the same key where the API may die."""
        headers = {}
        if self.api_process is not None:
            headers["Idempotency-Key"] = sha256_digest(json.dumps([path, body]).encode())
        response = self.ask("POST", path, json=body, headers=headers)
        assert response.is_success, response.text
        return response.json()

    def offer(self, path: str, body: dict[str, Any]) -> bool:
        """Post what may have to wait; whether it was taken."""
        with suppress(Later):
            self.post(path, body)
            return True
        return False

    def put(self, data: bytes) -> str:
        """Store an artifact; its digest. Raises Later."""
        digest = sha256_digest(data)
        response = self.ask("PUT", f"/v1/artifacts/{digest}", content=data)
        assert response.is_success, response.text
        return digest

    def artifact(self, digest: str) -> bytes:
        """A stored artifact, read once. Raises Later."""
        if digest not in self._artifacts:
            response = self.ask("GET", f"/v1/artifacts/{digest}")
            assert response.is_success, response.text
            self._artifacts[digest] = response.content
        return self._artifacts[digest]

    def round(self) -> dict[str, Any] | None:
        """The first round, once it is requested; asked for once after each block. Raises Later."""
        block = self._last_block()
        if block is not None and block == self._round_at:
            return self._round
        response = self.ask("GET", ROUND)
        assert response.is_success or response.status_code == 404, response.text
        self._round_at, self._round = block, response.json() if response.is_success else None
        return self._round

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
            for network in self.networks:
                self._approve(network)
        elif not self.plays_nodes:
            return
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
        return network.attestation(self.domain, state, self.put(aggregate_of(self, state)))

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
        """The nodes act, and what waits for a block gets one, once the worker has read the one before.

        A chain that lost blocks gets others: the worker waits until it is as high as it was.
        """
        self.act()
        head, read = self.chain.head(), self.last_block()
        if read > head or (read == head and (self.chain.waiting() or self._waits_for_its_seed())):
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
            self.revive_api()
            self.tick()
            return until()

        eventually(look, deadline_s, self.tick_s)

    def pass_time(self, seconds: int) -> None:
        """Let the worker's clock go on by so much."""
        self.clock_offset_s.value += seconds

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
        return self.last_block() == self.chain.head()

    def last_block(self) -> int:
        """The last block that the hub has read; -1 for none, or when it cannot say."""
        block = self._last_block()
        return -1 if block is None else block.number

    def _last_block(self) -> Block | None:
        with suppress(RecordsUnavailable), self.records.read() as unit:
            return unit.projection.last_block()
        return None


def aggregate_of(hub: Hub, state: dict[str, Any]) -> bytes:
    """The aggregate's file, computed from the accepted adapters that the hub has."""
    accepted = [
        Contribution(
            each["node"], each["adapter_digest"], MANIFEST.decode(hub.artifact(each["adapter_digest"]))
        )
        for each in state["proposals"]
        if each["standing"] == "accepted"
    ]
    parent = MANIFEST.decode(hub.artifact(state["parent_digest"]))
    return MANIFEST.encode(aggregate(task_spec().aggregation, accepted, parent=parent))
