"""A consortium on a real chain with scripted nodes: complete rounds without any machine learning.

Nodes sign real messages; adapters are a few numbers. Everything goes through the orchestrator's own
chain adapter, so a round played here also exercises that.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from eth_account import Account
from eth_utils.crypto import keccak
from web3 import HTTPProvider, Web3

from contracts import abi
from contracts.aggregation import Contribution
from contracts.deployment import Deployment
from contracts.digests import ZERO_DIGEST, sha256_digest
from contracts.manifest import FloatArray, Manifest, TensorSpec, adapter_digest
from contracts.messages import Approval, Attestation, Proposal, Reveal
from contracts.parent import next_parent, read_parent
from contracts.phase import Phase
from contracts.settlement import Standing, aggregation_weights
from contracts.task import TaskSpec
from contracts.task_config import TaskConfig
from deploy.local.chain_setup import set_up_demo_accounts
from orchestrator.adapters.chain import open_lanes, open_reader
from orchestrator.adapters.chain.deploy import deploy
from orchestrator.domain.chain import (
    AdmitNode,
    Advance,
    Call,
    CreateTask,
    FundTask,
    Receipt,
    RelayApproval,
    RelayAttestation,
    RelayCommit,
    RelayProposal,
    RelayReveal,
    RequestRound,
    SignedTransaction,
    StakeTerms,
)
from tests.chain.anvil import RICH_KEYS, Anvil

TOKEN = 10**18
WAIT_TIMEOUT_S = 30.0
NO_EXPIRY_UNIX_S = 1 << 40
MANIFEST = Manifest(
    tensors=(
        TensorSpec(name="layer.a", dtype="F32", shape=(2, 3)),
        TensorSpec(name="layer.b", dtype="F16", shape=(4,)),
    )
)
GENESIS = MANIFEST.encode(
    {"layer.a": np.zeros((2, 3), dtype=np.float32), "layer.b": np.zeros(4, dtype=np.float16)}
)
DEFAULT_CONFIG = TaskConfig(
    spec_digest=ZERO_DIGEST,
    genesis_digest=ZERO_DIGEST,
    rounds=3,
    proposers=3,
    voters=4,
    min_proposals=2,
    min_reveals=2,
    min_scorers=2,
    attestation_quorum_bps=5_000,
    proposer_share_bps=6_000,
    absent_bps=100,
    unrevealed_bps=500,
    invalid_bps=2_000,
    acceptance_threshold_micronats=-250_000,
    closeness_range_micronats=1_000_000,
    training_s=1_000,
    committing_s=1_000,
    revealing_s=1_000,
    attesting_s=1_000,
    stake_cap=1_000_000 * TOKEN,
)


@dataclass(frozen=True)
class ScriptedNode:
    """A network's node: its account signs its messages."""

    address: str
    key: str
    group: int


@dataclass(frozen=True)
class Script:
    """What the drawn nodes do in one round; the default is an honest round that becomes final."""

    adapters: Mapping[str, bytes] = field(default_factory=dict)
    """Proposer → its adapter's file, where it is not the usual one."""
    scores: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """(voter, proposer) → score, where it is not the usual one."""
    silent_proposers: frozenset[str] = frozenset()
    silent_voters: frozenset[str] = frozenset()
    """Voters that never commit."""
    hiding_voters: frozenset[str] = frozenset()
    """Voters that commit and never reveal."""
    silent_attesters: frozenset[str] = frozenset()
    attested: Mapping[str, str] = field(default_factory=dict)
    """Voter → the digest it attests, where it is not the aggregate's."""
    attested_score_micronats: int = 50_000


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Wait for a condition, but not for ever."""
    give_up = time.monotonic() + WAIT_TIMEOUT_S
    while not condition():
        assert time.monotonic() < give_up, f"waited {WAIT_TIMEOUT_S} s for {what}"
        time.sleep(0.005)


def usual_adapter(node: str, round_number: int) -> bytes:
    """A proposer's usual adapter: the same numbers for the same node and round."""
    random = np.random.default_rng([int(node, 16), round_number])
    tensors: dict[str, FloatArray] = {
        "layer.a": random.normal(size=(2, 3)).astype(np.float32),
        "layer.b": random.normal(size=4).astype(np.float16),
    }
    return MANIFEST.encode(tensors)


def usual_score(voter: str, proposer: str) -> int:
    """A voter's usual score of a proposal: a small improvement."""
    return 10_000 + int.from_bytes(keccak(text=voter + proposer)[:2], "big")


def make_spec(genesis_digest: str, name: str = "scripted", **changes: object) -> TaskSpec:
    """A valid task spec over the scripted manifest, with some of its fields changed."""
    return TaskSpec.model_validate(
        {
            "schema": "collegium.task/1",
            "name": name,
            "base_model": {"source": "none", "digest": ZERO_DIGEST},
            "adapter": {
                "method": "lora",
                "rank": 1,
                "alpha": 1.0,
                "target_modules": ["q_proj"],
                "blocks": [0],
            },
            "manifest": MANIFEST.model_dump(),
            "genesis_digest": genesis_digest,
            "data": {
                "prompt": "{text}:",
                "labels": ["A", "B"],
                "max_prompt_tokens": 8,
                "least_stratum_records": 1,
            },
            "training": {
                "steps": 1,
                "batch_records": 1,
                "learning_rate": 0.001,
                "warmup_steps": 0,
                "seed": 1,
            },
            "aggregation": {"rule": "mean"},
            **changes,
        }
    )


class World:
    """A deployment with admitted and staked nodes, and the means to play rounds on it."""

    def __init__(
        self, anvil: Anvil, folder: Path, deployment: Deployment, nodes: Sequence[ScriptedNode]
    ) -> None:
        self.anvil = anvil
        self.deployment = deployment
        self.nodes = {node.address: node for node in nodes}
        self.specs: dict[int, TaskSpec] = {}
        self.artifacts = folder / "artifacts"
        self.artifacts.mkdir(exist_ok=True)
        keys = []
        for name, key in (("council", RICH_KEYS[0]), ("relayer", RICH_KEYS[1])):
            keys.append(folder / name)
            keys[-1].touch(mode=0o600)
            keys[-1].write_text(key)
        self.lanes = open_lanes(anvil.rpc_url, deployment, council_key_file=keys[0], relayer_key_file=keys[1])
        self.reader = open_reader(anvil.rpc_url, deployment)
        self.web3 = Web3(HTTPProvider(anvil.rpc_url))
        self.rounds = self._contract("Rounds", deployment.rounds)
        self.tasks = self._contract("Tasks", deployment.tasks)
        self.registry = self._contract("Registry", deployment.registry)
        self.lens = self._contract("Lens", deployment.lens)

    @classmethod
    def build(
        cls,
        anvil: Anvil,
        folder: Path,
        *,
        groups: Sequence[int] = (1, 2, 3, 4),
        stake: int = 1_000 * TOKEN,
        pool: int = 1_000_000 * TOKEN,
        terms: StakeTerms | None = None,
    ) -> Self:
        """Deploy the contracts, admit a node for each entry of ``groups``, and stake for all of them."""
        council = str(Account.from_key(RICH_KEYS[0]).address)
        deployment = deploy(anvil.rpc_url, RICH_KEYS[0], council, terms=terms)
        nodes = []
        for index, group in enumerate(groups):
            key = "0x" + keccak(text=f"scripted node {index}").hex()
            nodes.append(ScriptedNode(str(Account.from_key(key).address), key, group))
        world = cls(anvil, folder, deployment, nodes)
        for node in nodes:
            world.send(AdmitNode(node.address, node.address, node.group))
        set_up_demo_accounts(
            anvil.rpc_url,
            deployment,
            council_key=RICH_KEYS[0],
            nodes=[node.address for node in nodes],
            stake=stake,
            pool=pool,
        )
        return world

    # --- sending and storing

    def send(self, call: Call) -> Receipt:
        """Send a call by its lane; it must succeed."""
        receipt = self.receipt(self.broadcast(call))
        assert receipt.succeeded, call
        return receipt

    def broadcast(self, call: Call) -> SignedTransaction:
        """Sign a call and hand it to the chain."""
        lane = self.lanes.for_call(call)
        transaction = lane.sign(call, lane.next_nonce())
        lane.broadcast(transaction)
        return transaction

    def receipt(self, transaction: SignedTransaction) -> Receipt:
        """The receipt of a transaction; waits until it is mined."""
        lane = self.lanes.relayer
        wait_until(lambda: lane.receipt(transaction.hash) is not None, "the transaction to be mined")
        receipt = lane.receipt(transaction.hash)
        assert receipt is not None
        return receipt

    def store(self, data: bytes) -> str:
        """Put an artifact into the folder and return its digest."""
        digest = sha256_digest(data)
        path = self.artifact_path(digest)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        return digest

    def artifact_path(self, digest: str) -> Path:
        """The file of an artifact."""
        return self.artifacts / digest[2:4] / digest[2:]

    # --- tasks and rounds

    def create_task(
        self, *, pool: int = 9_000 * TOKEN, spec: Mapping[str, object] | None = None, **changes: int
    ) -> int:
        """Create and fund a task that all nodes approve.

        ``spec`` has fields of its spec, ``changes`` are fields of its configuration.
        """
        genesis_digest = self.store(GENESIS)
        number = self.tasks.functions.taskCount().call() + 1
        self.specs[number] = make_spec(genesis_digest, name=f"scripted-{number}", **(spec or {}))
        spec_digest = self.store(self.specs[number].canonical_bytes())
        config = replace(DEFAULT_CONFIG, spec_digest=spec_digest, genesis_digest=genesis_digest, **changes)
        self.send(CreateTask(config))
        self.send(FundTask(number, pool))
        for node in self.nodes.values():
            self.approve(number, spec_digest, node)
        return int(number)

    def approve(
        self, task: int, spec_digest: str, node: ScriptedNode, policy_digest: str = ZERO_DIGEST
    ) -> None:
        """Relay a node's approval of a task."""
        approval = Approval(
            node=node.address,
            task=task,
            spec_digest=spec_digest,
            policy_digest=policy_digest,
            nonce=self.tasks.functions.nonces(node.address).call(),
            expiry_unix_s=NO_EXPIRY_UNIX_S,
        )
        self.send(RelayApproval(approval, approval.sign(self.deployment.tasks_domain, node.key)))

    def view(self, task: int, round_number: int) -> Any:
        """``roundOf`` as a named tuple."""
        return self.lens.functions.roundOf(task, round_number).call()

    def phase(self, task: int, round_number: int) -> Phase:
        """The round's phase."""
        return Phase(self.view(task, round_number).phase)

    def open_round(self, task: int) -> int:
        """Request the task's next round and draw it."""
        self.send(RequestRound(task))
        number = int(self.lens.functions.taskOf(task).call().roundsRequested)
        self.anvil.mine(2)
        self.send(Advance(task))
        return number

    def play_round(self, task: int, script: Script | None = None) -> int:
        """Play one round from request to close; time passes where a node stays silent."""
        script = script or Script()
        number = self.open_round(task)
        steps = (
            (Phase.TRAINING, self.propose_all),
            (Phase.COMMITTING, self.commit_all),
            (Phase.REVEALING, self.reveal_all),
            (Phase.ATTESTING, self.attest_all),
        )
        for phase, step in steps:
            if self.phase(task, number) is phase:
                step(task, number, script)
                self.close_phase(task)
        assert self.phase(task, number).closed
        return number

    def close_phase(self, task: int) -> None:
        """Advance, after the deadline if something is missing."""
        if not self.reader.is_due(task):
            self.anvil.pass_time(1_001)
        self.send(Advance(task))

    def propose_all(self, task: int, number: int, script: Script) -> None:
        """Every drawn proposer proposes, the silent ones excepted."""
        view = self.view(task, number)
        for node in view.proposers:
            if node not in script.silent_proposers:
                self.propose(task, number, node, script.adapters.get(node, usual_adapter(node, number)))

    def propose(self, task: int, number: int, node: str, adapter: bytes) -> None:
        """Store an adapter and a report, and relay the proposal of them."""
        view = self.view(task, number)
        proposal = Proposal(
            node=node,
            task=task,
            round=number,
            context="0x" + view.context.hex(),
            parent_digest="0x" + view.parentDigest.hex(),
            adapter_digest=self.store(adapter),
            report_digest=self.store(f"report of {node} for {task}/{number}".encode()),
        )
        self.send(RelayProposal(proposal, proposal.sign(self.deployment.rounds_domain, self.nodes[node].key)))

    def reveals(self, task: int, number: int, script: Script) -> list[Reveal]:
        """What every voter that takes part will reveal."""
        view = self.view(task, number)
        return [
            Reveal(
                node=voter,
                task=task,
                round=number,
                context="0x" + view.context.hex(),
                scores_micronats=tuple(
                    script.scores.get((voter, p.node), usual_score(voter, p.node)) for p in view.proposals
                ),
                salt="0x" + keccak(text=f"salt of {voter} in {task}/{number}").hex(),
            )
            for voter in view.voters
            if voter not in script.silent_voters
        ]

    def commit_all(self, task: int, number: int, script: Script) -> None:
        """Every drawn voter commits, the silent ones excepted."""
        for reveal in self.reveals(task, number, script):
            commit = reveal.commit()
            signature = commit.sign(self.deployment.rounds_domain, self.nodes[reveal.node].key)
            self.send(RelayCommit(commit, signature))

    def reveal_all(self, task: int, number: int, script: Script) -> None:
        """Every voter that committed reveals, the hiding ones excepted."""
        for reveal in self.reveals(task, number, script):
            if reveal.node not in script.hiding_voters:
                self.send(RelayReveal(reveal))

    def aggregate_of_accepted(self, task: int, number: int) -> bytes:
        """The aggregate's file, from the stored adapters that the chain accepted."""
        contributions, medians_micronats = [], []
        view = self.view(task, number)
        for proposal in view.proposals:
            if proposal.standing == Standing.ACCEPTED:
                digest = "0x" + proposal.adapterDigest.hex()
                tensors = MANIFEST.decode(self.artifact_path(digest).read_bytes(), digest=digest)
                contributions.append(Contribution(proposal.node, digest, tensors))
                medians_micronats.append(proposal.medianMicronats)
        spec, parent_digest = self.specs[task], "0x" + view.parentDigest.hex()
        parent = read_parent(spec, parent_digest, self.artifact_path(parent_digest).read_bytes())
        weights = aggregation_weights(medians_micronats, spec.aggregation)
        weighted = [replace(each, weight=w) for each, w in zip(contributions, weights, strict=True)]
        return next_parent(spec, parent, weighted).data

    def attest_all(self, task: int, number: int, script: Script) -> None:
        """Every drawn voter attests, the silent ones excepted; the aggregate is stored."""
        view = self.view(task, number)
        data = self.aggregate_of_accepted(task, number)
        self.store(data)
        for voter in view.voters:
            if voter in script.silent_attesters:
                continue
            attestation = Attestation(
                node=voter,
                task=task,
                round=number,
                context="0x" + view.context.hex(),
                aggregate_digest=script.attested.get(voter, adapter_digest(data)),
                score_micronats=script.attested_score_micronats,
            )
            signature = attestation.sign(self.deployment.rounds_domain, self.nodes[voter].key)
            self.send(RelayAttestation(attestation, signature))

    def _contract(self, name: abi.ContractName, address: str) -> Any:
        return self.web3.eth.contract(
            address=Web3.to_checksum_address(address), abi=abi.load(name).abi, decode_tuples=True
        )
