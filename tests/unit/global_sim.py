"""A whole round in one process: real conductor, nodes and records; chain, hub, Flower and training simulated.

Time passes only in the conductor's ticks. A node can be killed at any step (``Crash``): its connection and
answer are gone, and it comes back under another connection with what it had on disk.
"""

import sqlite3
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from eth_utils.crypto import keccak

from contracts.digests import ZERO_DIGEST, sha256_digest
from contracts.manifest import FloatArray, Manifest, TensorSpec, adapter_digest
from contracts.messages import Attestation, Commit, Domain, Proposal, Reveal
from contracts.phase import Phase
from contracts.settlement import Standing
from contracts.task import TaskSpec
from tests.chain.wallets import account_that_signed
from tier_global.chain_view import NodeOnChain, ProposalOnChain, RoundOnChain, TaskOnChain
from tier_global.conductor import Conductor
from tier_global.errors import HubRefused
from tier_global.exchange import Reply, Request
from tier_global.hub import AttestationResource, ProposalResource, RoundResource, VoteResource
from tier_global.inner import InnerJob, Trained
from tier_global.journal import JournalEntry
from tier_global.keys import SigningKey
from tier_global.mailbox import Arrival
from tier_global.node import Node
from tier_global.node_checks import HOLD_S
from tier_global.phases import PHASE_OF, Stage
from tier_global.record import NodeRecord, StoredVote
from tier_global.signing import KeySigner

TASK, ROUND = 1, 1
DOMAIN = Domain(chain_id=31337, verifying_contract="0x5FbDB2315678afecb367f032d93F642f64180aa3")
MANIFEST = Manifest(
    tensors=(
        TensorSpec(name="layer.a", dtype="F32", shape=(2, 3)),
        TensorSpec(name="layer.b", dtype="F16", shape=(4,)),
    )
)
START_UNIX_S = 1_000_000.0
PHASE_S = 40
POLICY_DIGEST = "0x" + "ab" * 32
LEAST_TICK_S = 1.0
"""A conductor's tick is longer here than in life, so that waiting costs little."""

CrashPoint = Literal[
    "before the work", "after the work", "before the record", "after the record", "before the reply"
]


class Crash(BaseException):
    """The node's process is killed here."""


def make_adapter(seed: int) -> bytes:
    """An adapter of random numbers."""
    random = np.random.default_rng(seed)
    tensors: dict[str, FloatArray] = {
        "layer.a": random.normal(size=(2, 3)).astype(np.float32),
        "layer.b": random.normal(size=4).astype(np.float16),
    }
    return MANIFEST.encode(tensors)


GENESIS = make_adapter(0)


def make_spec() -> TaskSpec:
    """A valid task over the small manifest."""
    return TaskSpec.model_validate(
        {
            "schema": "collegium.task/1",
            "name": "simulated",
            "base_model": {"source": "none", "digest": ZERO_DIGEST},
            "adapter": {"rank": 1, "alpha": 1.0, "target_modules": ["q_proj"], "blocks": [0]},
            "manifest": MANIFEST.model_dump(),
            "genesis_digest": adapter_digest(GENESIS),
            "data": {
                "prompt": "{text}:",
                "labels": ["A", "B"],
                "max_prompt_tokens": 8,
                "least_stratum_records": 1,
            },
            "training": {"steps": 1, "batch_records": 1, "learning_rate": 0.1, "warmup_steps": 0, "seed": 1},
            "aggregation": {"rule": "mean"},
        }
    )


SPEC = make_spec()
SPEC_BYTES = SPEC.canonical_bytes()


class SimClock:
    """Time that passes when somebody sleeps."""

    def __init__(self) -> None:
        self.time_unix_s = START_UNIX_S

    def now_unix_s(self) -> float:
        return self.time_unix_s

    def sleep(self, seconds: float) -> None:
        self.time_unix_s += seconds


@dataclass
class SimRound:
    """The chain: one round with the rules that matter here. ``frozen`` keeps it in its phase."""

    clock: SimClock
    nodes: dict[str, str]
    """Signing key by node."""
    proposers: tuple[str, ...]
    voters: tuple[str, ...]
    phase: Phase = Phase.REQUESTED
    deadline_unix_s: int = 0
    proposals: dict[str, Proposal] = field(default_factory=dict)
    commits: dict[str, Commit] = field(default_factory=dict)
    reveals: dict[str, Reveal] = field(default_factory=dict)
    attestations: dict[str, Attestation] = field(default_factory=dict)
    refused: frozenset[str] = frozenset()
    wallets: dict[str, str] = field(default_factory=dict)
    """Owner by contract wallet."""
    spec: TaskSpec = SPEC
    groups: dict[str, int] = field(default_factory=dict)
    parent_digest: str = adapter_digest(GENESIS)
    artifacts: dict[str, bytes] = field(default_factory=lambda: {adapter_digest(GENESIS): GENESIS})
    medians_micronats: dict[str, int] = field(default_factory=dict)
    """Medians of the proposals by node, as the tally leaves them; 0 where there is none."""

    def __post_init__(self) -> None:
        self.artifacts[self.spec.digest] = self.spec.canonical_bytes()

    @property
    def context(self) -> str:
        """Another context in training, in voting and in attesting, as on chain."""
        step = {Phase.TRAINING: 1, Phase.COMMITTING: 2, Phase.REVEALING: 2}.get(self.phase, 3)
        return "0x" + keccak(text=f"{step}{sorted(self.proposals) if step > 1 else ''}")[:16].hex()

    def advance(self) -> None:
        """Move on if the phase is complete or late."""
        late = bool(self.deadline_unix_s) and self.clock.now_unix_s() > self.deadline_unix_s
        match self.phase:
            case Phase.REQUESTED:
                self._enter(Phase.TRAINING)
            case Phase.TRAINING if late or self.proposals.keys() == set(self.proposers):
                self._enter(Phase.COMMITTING if self.proposals else Phase.ABORTED)
            case Phase.COMMITTING if late or self.commits.keys() == set(self.voters):
                self._enter(Phase.REVEALING if self.commits else Phase.ABORTED)
            case Phase.REVEALING if late or self.reveals.keys() == self.commits.keys():
                self._enter(Phase.ATTESTING if self.accepted() else Phase.REJECTED)
            case Phase.ATTESTING if late or self.attestations.keys() == set(self.voters):
                self._enter(Phase.FINAL if self.attestations else Phase.REJECTED)

    def _enter(self, phase: Phase) -> None:
        self.phase = phase
        self.deadline_unix_s = 0 if phase.closed else int(self.clock.now_unix_s()) + PHASE_S

    def accepted(self) -> list[str]:
        """The nodes whose proposals the vote passed."""
        return [node for node in sorted(self.proposals) if node not in self.refused]

    # ChainView

    def round(self, task: int, round_number: int) -> RoundOnChain:
        assert (task, round_number) == (TASK, ROUND)
        return RoundOnChain(
            phase=self.phase,
            parent_digest=self.parent_digest,
            context=self.context,
            deadline_unix_s=self.deadline_unix_s,
            proposers=self.proposers,
            voters=self.voters,
            proposals=tuple(
                ProposalOnChain(
                    node,
                    self.proposals[node].adapter_digest,
                    self._standing(node),
                    self.medians_micronats.get(node, 0) if self.phase >= Phase.ATTESTING else 0,
                )
                for node in sorted(self.proposals, key=lambda node: int(node, 16))
            ),
            committed={node: commit.commitment for node, commit in self.commits.items()},
        )

    def task(self, task: int) -> TaskOnChain:
        return TaskOnChain(spec_digest=self.spec.digest, approved=frozenset(self.nodes), is_over=False)

    def approved_policy_digest(self, task: int, node: str) -> str:
        return POLICY_DIGEST

    def node(self, address: str) -> NodeOnChain:
        group = self.groups.get(address, list(self.nodes).index(address) + 100)
        return NodeOnChain(
            signer=self.nodes[address],
            group=group,
            admitted=True,
            stake=1,
            unbonding=0,
            absences=0,
            can_be_drawn=True,
        )

    def tasks_nonce(self, address: str) -> int:
        return 0

    def registry_nonce(self, address: str) -> int:
        return 0

    def _standing(self, node: str) -> Standing:
        if self.phase < Phase.ATTESTING:
            return Standing.NONE
        return Standing.ACCEPTED if node in self.accepted() else Standing.REFUSED


_STANDINGS: dict[Standing, Literal["refused", "accepted"] | None] = {
    Standing.NONE: None,
    Standing.REFUSED: "refused",
    Standing.ACCEPTED: "accepted",
}


class SimHub:
    """The orchestrator over a SimRound; checks what the real one checks first: phase and digest."""

    def __init__(self, chain: SimRound) -> None:
        self.chain = chain
        self.handed_in: list[Proposal | Commit | Reveal | Attestation] = []

    def round(self, task: int, round_number: int) -> RoundResource:
        chain = self.chain
        chain.advance()
        facts = chain.round(task, round_number)
        return RoundResource(
            task=task,
            round=round_number,
            phase=facts.phase,
            parent_digest=facts.parent_digest,
            context=facts.context,
            deadline_unix_s=facts.deadline_unix_s,
            proposers=facts.proposers,
            voters=facts.voters,
            proposals=tuple(
                ProposalResource(
                    node=proposal.node,
                    adapter_digest=proposal.adapter_digest,
                    standing=_STANDINGS[proposal.standing],
                    median_improvement_micronats=(
                        proposal.median_micronats if proposal.standing is not Standing.NONE else None
                    ),
                )
                for proposal in facts.proposals
            ),
            votes=tuple(
                VoteResource(node=node, committed=node in chain.commits, revealed=node in chain.reveals)
                for node in facts.voters
            ),
            attestations=tuple(
                AttestationResource(node=node, aggregate_digest=attestation.aggregate_digest)
                for node, attestation in chain.attestations.items()
            ),
        )

    def spec_digest(self, task: int) -> str:
        return self.chain.spec.digest

    def signers(self) -> Mapping[str, str]:
        return dict(self.chain.nodes)

    def accepts(self, node: str, digest: str, signature: str) -> bool:
        owner = self.chain.wallets.get(self.chain.nodes[node])
        return owner is not None and account_that_signed(digest, signature) == owner

    def artifact(self, digest: str) -> bytes:
        if digest not in self.chain.artifacts:
            raise HubRefused(404, "not_found", digest)
        return self.chain.artifacts[digest]

    def store_artifact(self, data: bytes) -> str:
        self.chain.artifacts[sha256_digest(data)] = data
        return sha256_digest(data)

    def propose(self, proposal: Proposal, signature: str) -> None:
        self._take(Phase.TRAINING, proposal)
        self.chain.proposals[proposal.node] = proposal

    def commit(self, commit: Commit, signature: str) -> None:
        self._take(Phase.COMMITTING, commit)
        self.chain.commits[commit.node] = commit

    def reveal(self, reveal: Reveal) -> None:
        self._take(Phase.REVEALING, reveal)
        if self.chain.commits[reveal.node].commitment != reveal.commitment:
            raise HubRefused(422, "wrong_commitment", reveal.node)
        self.chain.reveals[reveal.node] = reveal

    def attest(self, attestation: Attestation, signature: str) -> None:
        self._take(Phase.ATTESTING, attestation)
        self.chain.attestations[attestation.node] = attestation

    def _take(self, phase: Phase, message: Proposal | Commit | Reveal | Attestation) -> None:
        if self.chain.phase is not phase:
            raise HubRefused(409, "wrong_phase", self.chain.phase.label)
        if message.context != self.chain.context:
            raise HubRefused(409, "wrong_context", message.context)
        self.handed_in.append(message)


class SimInner:
    """Training without a model: the adapter depends on the node, the loss on the adapter's digest."""

    def __init__(self, seed: int, crash: "CrashPlan") -> None:
        self.seed = seed
        self.crash = crash
        self.jobs: Counter[str] = Counter()
        self.losses_nats: dict[str, float] = {}
        self.evaluated: list[str] = []
        self.policy_digests: list[str] = []

    def train(self, job: InnerJob) -> Trained:
        self.policy_digests.append(job.policy_digest)
        self.crash.at("before the work")
        self.jobs["train"] += 1
        # Training again does not give the same adapter, as on real machines.
        adapter = make_adapter(1000 * self.seed + self.jobs["train"])
        self.crash.at("after the work")
        return Trained(adapter=adapter, report=b'{"kind": "train"}')

    def evaluate(self, job: InnerJob, candidates: Mapping[str, Path]) -> Mapping[str, float]:
        self.policy_digests.append(job.policy_digest)
        self.crash.at("before the work")
        self.jobs["evaluate"] += 1
        self.evaluated += list(candidates)
        losses = {
            name: self._loss(path.read_bytes()) for name, path in {"parent": job.parent, **candidates}.items()
        }
        self.crash.at("after the work")
        return losses

    def _loss(self, data: bytes) -> float:
        digest = adapter_digest(data)
        return self.losses_nats.get(digest, int(digest[2:6], 16) / 65536)


@dataclass
class CrashPlan:
    """At which steps a node is killed: each point once for each time it is in ``points``."""

    points: list[CrashPoint] = field(default_factory=list)

    def at(self, point: CrashPoint) -> None:
        if point in self.points:
            self.points.remove(point)
            raise Crash(point)


class CrashingRecord(NodeRecord):
    """A record whose process can die right before and right after it stores something."""

    def __init__(self, path: Path, crash: CrashPlan) -> None:
        super().__init__(path)
        self._crash = crash

    def keep(self, answer: Any, task: int, round_number: int, context: str) -> Any:
        self._crash.at("before the record")
        stored = super().keep(answer, task, round_number, context)
        self._crash.at("after the record")
        return stored


class SimNode:
    """A node that can be killed and started again; ``replies`` is everything that ever left it."""

    def __init__(self, index: int, folder: Path, clock: SimClock) -> None:
        self.key = SigningKey("0x" + keccak(text=f"node {index}").hex())
        self.address = self.key.address
        self.folder = folder
        self.clock = clock
        self.crash = CrashPlan()
        self.inner = SimInner(index + 1, self.crash)
        self.replies: list[Reply] = []

    def answer(self, request: Request, chain: SimRound) -> Reply:
        """One request in one process."""
        with CrashingRecord(self.folder / "record.sqlite", self.crash) as record:
            node = Node(
                KeySigner(self.address, self.key, DOMAIN),
                chain,
                self.inner,
                record,
                self.folder,
                self.clock,
            )
            reply = node.answer(request)
        self.crash.at("before the reply")
        self.replies.append(reply)
        return reply

    def stored_scores(self) -> tuple[int, ...]:
        """The scores of the node's only vote."""
        return self._vote().reveal.scores_micronats

    def stored_salt(self) -> str:
        """The salt of the node's only vote."""
        return self._vote().reveal.salt

    def _vote(self) -> StoredVote:
        with closing(sqlite3.connect(self.folder / "record.sqlite")) as connection:
            ((body,),) = connection.execute("SELECT body FROM answers WHERE kind = 'vote'")
        return StoredVote.model_validate_json(body)


class SimMailbox:
    """Flower: a node reads its letters one by one, and holds one that comes a phase too early."""

    def __init__(self, sim: "Sim") -> None:
        self.sim = sim
        self.sent: list[tuple[int, Request]] = []
        self._letters = 0
        self._queues: dict[int, deque[tuple[str, Request, float]]] = {}
        self._mine: set[str] = set()

    def connected(self) -> Mapping[int, str]:
        return {connection: self.sim.registered.get(connection, "") for connection in self.sim.connections}

    def send(self, request: Request, to: Sequence[int]) -> dict[int, str]:
        letters: dict[int, str] = {}
        for connection in to:
            self._letters += 1
            letters[connection] = f"letter {self._letters}"
            self.sent.append((connection, request))
            queue = self._queues.setdefault(connection, deque())
            queue.append((letters[connection], request, self.sim.clock.now_unix_s()))
        return letters

    def collect(self) -> list[Arrival]:
        arrivals = []
        for connection in list(self.sim.connections):
            queue = self._queues.get(connection)
            if queue and not self._holds(queue[0]):
                letter, request, _ = queue.popleft()
                reply = self.sim.run(connection, request)
                if reply is not None:
                    arrivals.append(Arrival(letter, reply))
        return arrivals

    def _holds(self, entry: tuple[str, Request, float]) -> bool:
        _, request, sent_unix_s = entry
        wanted = PHASE_OF.get(Stage(request.stage))
        early = wanted is not None and self.sim.chain.phase + 1 == wanted
        return early and self.sim.clock.now_unix_s() - sent_unix_s < HOLD_S


class SimJournal:
    """Keeps its entries."""

    def __init__(self) -> None:
        self.entries: list[JournalEntry] = []

    def write(self, entry: JournalEntry) -> None:
        self.entries.append(entry)


class SimBook:
    """Outlives the conductors."""

    def __init__(self) -> None:
        self.node_of: dict[int, str] = {}

    def read(self) -> dict[int, str]:
        return dict(self.node_of)

    def write(self, node_of: Mapping[int, str]) -> None:
        self.node_of = dict(node_of)


class ConductorKilled(BaseException):
    """The conductor's process is killed in this tick."""


class Sim:
    """Nodes, chain, hub and the conductors that come and go."""

    def __init__(
        self, folder: Path, nodes: int = 4, proposers: int = 3, spec: TaskSpec = SPEC, **chain: Any
    ) -> None:
        self.clock = SimClock()
        self.nodes = {
            node.address: node for node in (SimNode(i, folder / str(i), self.clock) for i in range(nodes))
        }
        addresses = tuple(self.nodes)
        self.chain = SimRound(
            self.clock,
            {address: address for address in addresses},
            addresses[:proposers],
            addresses,
            spec=spec,
            **chain,
        )
        self.hub = SimHub(self.chain)
        self.connections: dict[int, str] = {index + 1: address for index, address in enumerate(addresses)}
        self.registered: dict[int, str] = {}
        self.registered_only = False
        self._next_connection = nodes + 1
        self.journal = SimJournal()
        self.book = SimBook()
        self.ticks = 0
        self.kill_conductor_at: set[int] = set()
        self.mailbox = SimMailbox(self)

    def run(self, connection: int, request: Request) -> Reply | None:
        """Let a node answer; None when it is killed over it."""
        node = self.nodes[self.connections[connection]]
        try:
            return node.answer(request, self.chain)
        except Crash:
            self.reconnect(connection)
            return None

    def reconnect(self, connection: int) -> None:
        """The node behind a connection is killed and started again."""
        address = self.connections.pop(connection)
        self.connections[self._next_connection] = address
        self._next_connection += 1

    def conduct(self) -> Phase:
        """Run conductors until the round is closed."""
        while True:
            # A new conductor is a new Flower run: what nodes had to say to the old one is lost.
            self.mailbox = SimMailbox(self)
            conductor = Conductor(
                TASK,
                ROUND,
                hub=self.hub,
                mailbox=self.mailbox,
                domain=DOMAIN,
                clock=TickingClock(self),
                journal=self.journal,
                book=self.book,
                registered_only=self.registered_only,
            )
            try:
                return conductor.run()
            except ConductorKilled:
                continue


class TickingClock:
    """The conductor's clock, which counts its ticks and kills it in some."""

    def __init__(self, sim: Sim) -> None:
        self._sim = sim

    def now_unix_s(self) -> float:
        return self._sim.clock.now_unix_s()

    def sleep(self, seconds: float) -> None:
        self._sim.ticks += 1
        self._sim.clock.sleep(max(seconds, LEAST_TICK_S))
        if self._sim.ticks in self._sim.kill_conductor_at:
            self._sim.kill_conductor_at.discard(self._sim.ticks)
            raise ConductorKilled
