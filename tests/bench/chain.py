"""200 nodes, 20 rounds: signed messages through API, outbox and Anvil, and what became of each.

``collegium serve`` and ``collegium worker`` run on SQLite as operators run them; Anvil seals each transaction
at once, and four blocks a second without any. A round draws 16 proposers and 64 voters, the most that the
contracts draw: 208 messages, of 80 nodes at most. So that all nodes have work, they approve two tasks, whose
rounds run side by side, ten each. What a node has to say is signed here, with its own key, and posted by 64
clients at a time, as the voters of a round do.

The rate is the messages of all rounds by the time from the last approval on chain until the last round is
closed: drawing, closing and waiting for blocks are in it. Lost is a message that the API took and the chain
does not hold; doubled is one that the chain holds more than once, or that nobody sent. Both are counted in
the chain's own events, not in what the hub says of itself.
"""

import json
import os
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

import httpx
from eth_account import Account

from contracts import events
from contracts.deployment import Deployment
from contracts.digests import sha256_digest
from deploy.local.chain_setup import set_up_demo_accounts
from deploy.local.ports import free_ports
from orchestrator.adapters.chain import open_reader
from orchestrator.adapters.chain.deploy import deploy
from orchestrator.adapters.database import open_records
from orchestrator.adapters.database.migrate import migrate
from orchestrator.composition import SystemClock
from orchestrator.domain.chain import StakeTerms
from orchestrator.services.tokens import TokenService
from tests.bench._hub import process, wait_until_it_answers
from tests.bench._rows import Row
from tests.chain.anvil import Anvil, running_anvil
from tests.integration.orchestrator_rig import GENESIS, REPORT, TOKEN, Network, adapter, task_spec, terms_of

NODES, TASKS, ROUNDS, PROPOSERS, VOTERS = 200, 2, 20, 16, 64
CLIENTS = 64
"""Who posts at the same time: the drawn voters do, in life each from a hospital of its own."""
UPLOADS = 8
"""Fewer at a time than the hub takes."""
STAKE, POOL = 10 * TOKEN, 2000 * TOKEN
PHASE_S = 3_600
LEAST_PER_S = 60.0
DEADLINE_S = 1_800.0
POLL_S = 0.02
BLOCK_S = 0.25
"""Between blocks that nobody asks for; a draw waits for two, and the chain's pace is not what is measured."""
COLLEGIUM = Path(sys.executable).with_name("collegium")
KINDS = {
    events.Proposed: "proposals",
    events.Committed: "commits",
    events.Revealed: "reveals",
    events.Attested: "attestations",
}

Said = tuple[str, int, int, str]
"""Kind, task, round, node."""


@dataclass
class Times:
    """Where the time went, as a client sees it."""

    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    _lock: Lock = field(default_factory=Lock)

    @contextmanager
    def counted(self, name: str) -> Iterator[None]:
        """Count the block's time under a name."""
        began_s = time.perf_counter()
        yield
        with self._lock:
            self.seconds[name] += time.perf_counter() - began_s

    def __str__(self) -> str:
        return ", ".join(f"{name} {taken_s:.0f} s" for name, taken_s in self.seconds.items())


@dataclass
class Consortium:
    """A hub, its chain, and the keys of everybody."""

    anvil: Anvil
    deployment: Deployment
    session: httpx.Client
    networks: dict[str, Network]
    clients: ThreadPoolExecutor
    uploads: ThreadPoolExecutor
    times: Times = field(default_factory=Times)
    said: list[Said] = field(default_factory=list)

    def get(self, path: str) -> Any:
        """A resource, or None while there is none."""
        answer = self.session.get(path)
        if answer.status_code == 404:
            return None
        return _accepted(answer)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """The answer to a post."""
        return _accepted(self.session.post(path, json=body))

    def put(self, data: bytes) -> str:
        """Store an artifact; its digest."""
        digest = sha256_digest(data)
        _accepted(self.session.put(f"/v1/artifacts/{digest}", content=data))
        return digest

    def until(self, look: Callable[[], Any]) -> Any:
        """What ``look`` finds, before a deadline."""
        give_up_s = time.monotonic() + DEADLINE_S
        while not (found := look()):
            if time.monotonic() >= give_up_s:
                raise RuntimeError("the benchmark's round does not move")
            time.sleep(POLL_S)
        return found

    def round_in(self, task: int, number: int, *phases: str) -> Any:
        """A round of a task once it is in one of the phases."""

        def look() -> Any:
            state = self.get(f"/v1/tasks/{task}/rounds/{number}")
            return state if state is not None and state["phase"] in phases else None

        with self.times.counted(f"until {phases[0]}"):
            return self.until(look)

    def say(
        self,
        kind: str,
        state: dict[str, Any],
        nodes: Sequence[str],
        message: Callable[[Network], dict[str, Any]],
    ) -> None:
        """Post a message of each node in a round, some at a time."""
        task, number = state["task"], state["round"]

        def one(node: str) -> None:
            self.post(f"/v1/tasks/{task}/rounds/{number}/{kind}", message(self.networks[node]))

        with self.times.counted(f"posting {kind}"):
            list(self.clients.map(one, nodes))
        self.said += [(kind, task, number, node) for node in nodes]


def run() -> list[Row]:
    """The rows of ``chain``."""
    return measure(NODES, TASKS, ROUNDS)


def measure(nodes: int, tasks: int, rounds: int) -> list[Row]:
    """The rows for so many nodes, tasks at a time, and rounds of all tasks together."""
    with ExitStack() as open_things:
        folder = Path(open_things.enter_context(tempfile.TemporaryDirectory(prefix="collegium-bench-")))
        numbers = range(1, tasks + 1)
        consortium = _set_up(open_things, folder, nodes, tasks)
        for task in numbers:
            _order(consortium, task, rounds // tasks)
        drivers = open_things.enter_context(ThreadPoolExecutor(tasks))
        began_s = time.perf_counter()
        list(drivers.map(lambda task: _play_all(consortium, task, rounds // tasks), numbers))
        taken_s = time.perf_counter() - began_s
        lost, doubled, transactions = _compared(consortium)
    rate = len(consortium.said) / taken_s
    how = (
        f"{len(consortium.said)} messages of {nodes} nodes in {rounds} rounds of {tasks} tasks "
        f"in {taken_s:.0f} s, "
        f"{transactions} transactions; of all tasks: {consortium.times}"
    )
    found = f"{lost} lost, {doubled} doubled of {len(consortium.said)}, counted in the chain's events"
    return [
        Row.at_least("chain.actions_per_s", rate, "1/s", LEAST_PER_S, how),
        Row.at_most("chain.lost_or_doubled", lost + doubled, "", 0, found),
    ]


def _set_up(open_things: ExitStack, folder: Path, nodes: int, tasks: int) -> Consortium:
    """Everything up to nodes with a stake, and a council that can pay for its tasks; not measured."""
    arguments = ("--mixed-mining", "--block-time", str(BLOCK_S))
    anvil = open_things.enter_context(running_anvil(folder / "anvil.log", *arguments))
    council_key = _write_key(folder / "council", anvil)
    _write_key(folder / "relayer", anvil)
    council = Account.from_key(council_key).address
    deployment = deploy(anvil.rpc_url, council_key, council, token=None, terms=StakeTerms(), timeout_s=60)
    (folder / "deployment.json").write_bytes(deployment.to_json())
    database_url = f"sqlite:///{folder}/hub.sqlite3"
    migrate(database_url)
    records = open_records(database_url)
    token = TokenService(records, SystemClock()).issue("admin", "benchmark")
    records.close()
    port = free_ports(1)[0]
    environment = os.environ | {
        "COLLEGIUM_MODE": "development",
        "COLLEGIUM_REQUEST_LIMIT": "100000000/minute",
        "COLLEGIUM_DATABASE_URL": database_url,
        "COLLEGIUM_ARTIFACT_FOLDER": str(folder / "artifacts"),
        "COLLEGIUM_RPC_URL": anvil.rpc_url,
        "COLLEGIUM_DEPLOYMENT_FILE": str(folder / "deployment.json"),
        "COLLEGIUM_RELAYER_KEY_FILE": str(folder / "relayer"),
        "COLLEGIUM_COUNCIL_KEY_FILE": str(folder / "council"),
        "COLLEGIUM_PORT": str(port),
    }
    server = open_things.enter_context(process([COLLEGIUM, "serve"], folder, environment))
    open_things.enter_context(process([COLLEGIUM, "worker"], folder, environment))
    wait_until_it_answers(f"http://127.0.0.1:{port}/readyz", server)
    headers = {"Authorization": f"Bearer {token}"}
    kept = httpx.Limits(max_connections=CLIENTS, max_keepalive_connections=CLIENTS)
    session = httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=120, limits=kept)
    open_things.enter_context(session)
    # So far apart that no two propose the same, in whatever round.
    networks = [Network(f"network {number}", 1000.0 * number) for number in range(1, nodes + 1)]
    consortium = Consortium(
        anvil=anvil,
        deployment=deployment,
        session=session,
        networks={network.address: network for network in networks},
        clients=open_things.enter_context(ThreadPoolExecutor(CLIENTS)),
        uploads=open_things.enter_context(ThreadPoolExecutor(UPLOADS)),
    )
    _gather(consortium, networks, council_key, tasks * POOL)
    return consortium


def _gather(consortium: Consortium, networks: Sequence[Network], council_key: str, money: int) -> None:
    for group, network in enumerate(networks, start=1):
        body = {"node": network.address, "signer": network.address, "group": group, "name": network.name}
        consortium.post("/v1/nodes", body)
    consortium.until(lambda: len(consortium.get("/v1/nodes?limit=200")["items"]) == len(networks))
    set_up_demo_accounts(
        consortium.anvil.rpc_url,
        consortium.deployment,
        council_key=council_key,
        nodes=[network.address for network in networks],
        stake=STAKE,
        pool=money,
    )


def _order(consortium: Consortium, task: int, rounds: int) -> None:
    """A task that all nodes approve; not measured."""
    spec = task_spec(f"task-{task}")
    for data in (spec.canonical_bytes(), GENESIS, REPORT):
        consortium.put(data)
    drawn = len(consortium.networks)
    config = terms_of(
        spec,
        rounds=rounds,
        proposers=min(PROPOSERS, drawn),
        voters=min(VOTERS, drawn),
        **dict.fromkeys(("training_s", "committing_s", "revealing_s", "attesting_s"), PHASE_S),
    )
    body = {"spec_digest": spec.digest, "name": spec.name, "config": config, "pool": str(POOL)}
    consortium.post("/v1/tasks", body)
    consortium.until(lambda: consortium.get(f"/v1/tasks/{task}"))
    expiry_unix_s = int(time.time()) + 24 * 3600

    def approve(network: Network) -> None:
        approval = network.approval(consortium.deployment, task, spec.digest, expiry_unix_s, nonce=task - 1)
        consortium.post(f"/v1/tasks/{task}/approvals", approval)

    list(consortium.clients.map(approve, consortium.networks.values()))
    path = f"/v1/tasks/{task}/approvals?limit=200"
    consortium.until(lambda: len(consortium.get(path)["items"]) == drawn)


def _play_all(consortium: Consortium, task: int, rounds: int) -> None:
    """A task's rounds, one after the other."""
    for number in range(1, rounds + 1):
        _play(consortium, task, number)


def _play(consortium: Consortium, task: int, number: int) -> None:
    """A round in which every drawn node does what it should."""
    domain = consortium.deployment.rounds_domain
    state = consortium.round_in(task, number, "training")
    with consortium.times.counted("uploading adapters"):
        adapters = [consortium.networks[node].adapter(number) for node in state["proposers"]]
        list(consortium.uploads.map(consortium.put, adapters))
    training = state
    consortium.say(
        "proposals", training, state["proposers"], lambda network: network.proposal(domain, training)
    )
    committing = consortium.round_in(task, number, "committing")
    consortium.say(
        "commits", committing, committing["voters"], lambda network: network.commit(domain, committing)
    )
    revealing = consortium.round_in(task, number, "revealing")
    consortium.say("reveals", revealing, revealing["voters"], lambda network: network.reveal(revealing))
    attesting = consortium.round_in(task, number, "attesting")
    digest = consortium.put(adapter(-float(number)))
    consortium.say(
        "attestations",
        attesting,
        attesting["voters"],
        lambda network: network.attestation(domain, attesting, digest),
    )
    closed = consortium.round_in(task, number, "final", "rejected", "aborted")
    if closed["phase"] != "final":
        raise RuntimeError(f"round {number} of task {task} of the benchmark is {closed['phase']}")


def _compared(consortium: Consortium) -> tuple[int, int, int]:
    """Messages that the chain lacks, that it has more than once; and how many transactions there were."""
    reader = open_reader(consortium.anvil.rpc_url, consortium.deployment)
    held: Counter[Said] = Counter()
    transactions = set()
    for indexed in reader.events(consortium.deployment.block, reader.head().number):
        transactions.add(indexed.transaction_hash)
        kind = KINDS.get(type(indexed.event))
        if kind is not None:
            event: Any = indexed.event
            held[kind, event.task, event.round, event.node] += 1
    asked = Counter(consortium.said)
    lost = sum((asked - held).values())
    doubled = sum(count - 1 for count in held.values()) + len(set(held) - set(asked))
    return lost, doubled, len(transactions)


def _write_key(path: Path, chain: Anvil) -> str:
    key = "0x" + bytes(Account.create().key).hex()
    path.touch(mode=0o600)
    path.write_text(key)
    chain.give_gas(Account.from_key(key).address)
    return key


def _accepted(answer: httpx.Response) -> Any:
    if not answer.is_success:
        raise RuntimeError(f"{answer.request.method} {answer.request.url}: {answer.text}")
    return json.loads(answer.content)
