"""A consortium on Anvil whose accounts send everything themselves; adapters are a few numbers.

Anvil takes transactions of any account here, and the contracts take a message from its own signer without a
signature; so nothing is signed, and nothing of the orchestrator is used: what is played here needs the
contracts and Anvil only.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from eth_abi.abi import encode
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from web3.types import Nonce
from web3.utils.address import get_create_address

from contracts import abi
from contracts.aggregation import Contribution
from contracts.deployment import Deployment
from contracts.digests import ZERO_DIGEST, sha256_digest
from contracts.events import abi_type
from contracts.manifest import FloatArray, Manifest, TensorSpec
from contracts.messages import INVALID_SCORE, Reveal
from contracts.parent import next_parent, read_parent
from contracts.phase import Phase
from contracts.settlement import Standing, aggregation_weights
from contracts.task import TaskSpec
from contracts.verify.facts import NodeView, RoundView, TaskView
from contracts.verify.views import view_call
from tests.chain.anvil import Anvil

TOKEN = 10**18
COUNCIL = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
"""Anvil's first development account."""
GIVER = to_checksum_address("0x" + "c0ffee" + "00" * 16 + "01")
UNBONDING_S, APPEAL_S, MOST_ABSENCES = 10_000, 2_000, 2
PHASE_S = 1_000
LATER_UNIX_S = 1 << 40
MINED_TIMEOUT_S = 30.0
_GAS = 12_000_000
MANIFEST = Manifest(
    tensors=(
        TensorSpec(name="layer.a", dtype="F32", shape=(2, 3)),
        TensorSpec(name="layer.b", dtype="F16", shape=(4,)),
    )
)


def adapter_file(*seed: int) -> bytes:
    """Some adapter: the same numbers for the same seed."""
    random = np.random.default_rng(list(seed))
    tensors: dict[str, FloatArray] = {
        "layer.a": random.normal(size=(2, 3)).astype(np.float32),
        "layer.b": random.normal(size=4).astype(np.float16),
    }
    return MANIFEST.encode(tensors)


@dataclass(frozen=True)
class Acts:
    """What the drawn nodes do in one round; the default is an honest round that becomes final."""

    silent_proposers: frozenset[str] = frozenset()
    silent_voters: frozenset[str] = frozenset()
    """Voters that never commit."""
    hiding_voters: frozenset[str] = frozenset()
    """Voters that commit and never reveal."""
    silent_attesters: frozenset[str] = frozenset()
    broken: frozenset[str] = frozenset()
    """Proposers whose adapter is none, and of which every voter says so."""
    score_micronats: int = 20_000
    attested: Mapping[str, str] = field(default_factory=dict)
    """Voter → the digest it attests, where it is not the aggregate's."""


class Stage:
    """A deployment with admitted and staked nodes, and the means to play rounds on it."""

    def __init__(
        self, anvil: Anvil, artifacts: Path, groups: Sequence[int] = (1, 2, 3, 4, 5, 6, 6, 7)
    ) -> None:
        self.anvil = anvil
        self.artifacts = artifacts
        artifacts.mkdir(exist_ok=True)
        self.specs: dict[int, TaskSpec] = {}
        # A connection of its own: a story is thousands of calls.
        self._client = httpx.Client(timeout=10)
        self.rpc("anvil_autoImpersonateAccount", True)
        first_block = self.block() + 1
        self.deployment = self._deploy(first_block)
        at = self.deployment
        self.nodes = [
            to_checksum_address(keccak(text=f"node {index} of {at.rounds}")[:20])
            for index in range(len(groups))
        ]
        self.group_of = dict(zip(self.nodes, groups, strict=True))
        for account in (COUNCIL, GIVER, *self.nodes):
            anvil.give_gas(account)
        self.send(at.token, "TestToken", "mint", COUNCIL, 10**9 * TOKEN)
        self.send(at.token, "TestToken", "mint", GIVER, 10**9 * TOKEN)
        for account in (COUNCIL, GIVER):
            for spender in (at.registry, at.tasks):
                self.send(at.token, "TestToken", "approve", spender, 10**9 * TOKEN, sender=account)
        for index, (node, group) in enumerate(zip(self.nodes, groups, strict=True)):
            self.registry("admit", node, node, group)
            self.registry("deposit", node, (1_000 + index) * TOKEN)

    # --- the chain

    def rpc(self, method: str, *parameters: object) -> Any:
        """One JSON-RPC call."""
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(parameters)}
        answer = self._client.post(self.anvil.rpc_url, json=body).json()
        assert "error" not in answer, answer
        return answer["result"]

    def block(self) -> int:
        """The newest block's number."""
        return int(self.rpc("eth_blockNumber"), 16)

    def send(
        self,
        address: str,
        contract: abi.ContractName,
        function: str,
        *arguments: object,
        sender: str = COUNCIL,
    ) -> None:
        """Send a transaction; it must succeed."""
        self._transact(sender, address, view_call(contract, address, function, *arguments).data)

    def registry(self, function: str, *arguments: object, sender: str = COUNCIL) -> None:
        """Send a call of the registry."""
        self.send(self.deployment.registry, "Registry", function, *arguments, sender=sender)

    def tasks(self, function: str, *arguments: object, sender: str = COUNCIL) -> None:
        """Send a call of the tasks contract."""
        self.send(self.deployment.tasks, "Tasks", function, *arguments, sender=sender)

    def rounds(self, function: str, *arguments: object, sender: str = COUNCIL) -> None:
        """Send a call of the rounds contract."""
        self.send(self.deployment.rounds, "Rounds", function, *arguments, sender=sender)

    def ask(self, kind: Any, contract: abi.ContractName, function: str, *arguments: object) -> Any:
        """Call a view."""
        addresses = {
            "Registry": self.deployment.registry,
            "Tasks": self.deployment.tasks,
            "Rounds": self.deployment.rounds,
            "Lens": self.deployment.lens,
        }
        call = view_call(contract, addresses[contract], function, *arguments)
        answer = self.rpc("eth_call", {"to": call.address, "data": "0x" + call.data.hex()}, "latest")
        return call.read(kind, bytes.fromhex(answer[2:]))

    def nonce(self, contract: abi.ContractName, node: str) -> int:
        """The node's next nonce at a contract."""
        return int(self.ask(int, contract, "nonces", node))

    # --- nodes and tasks

    def create_task(
        self,
        *,
        rounds: int,
        pool: int = 9_000 * TOKEN,
        spec: Mapping[str, object] | None = None,
        **changes: int,
    ) -> int:
        """Create and fund a task that all nodes approve; ``spec`` and ``changes`` are parts of it."""
        number = int(self.ask(int, "Tasks", "taskCount")) + 1
        self.specs[number] = make_spec(self.store(adapter_file(0)), f"story-{number}", **(spec or {}))
        spec_digest = self.store(self.specs[number].canonical_bytes())
        config = {
            "rounds": rounds,
            "proposers": 4,
            "voters": 5,
            "min_proposals": 2,
            "min_reveals": 2,
            "min_scorers": 2,
            "attestation_quorum_bps": 5_000,
            "proposer_share_bps": 6_000,
            "absent_bps": 100,
            "unrevealed_bps": 200,
            "invalid_bps": 1_000,
            "acceptance_threshold_micronats": -250_000,
            "closeness_range_micronats": 1_000_000,
            "training_s": PHASE_S,
            "committing_s": PHASE_S,
            "revealing_s": PHASE_S,
            "attesting_s": PHASE_S,
            "stake_cap": 1_003 * TOKEN,
        } | changes
        digests = (_bytes(spec_digest), _bytes(self.specs[number].genesis_digest))
        self.tasks("createTask", (*digests, *config.values()))
        self.tasks("fund", number, pool)
        for node in self.nodes:
            self.approve(number, spec_digest, node)
        return number

    def approve(self, task: int, spec_digest: str, node: str) -> None:
        """A node approves a task."""
        message = (node, task, _bytes(spec_digest), bytes(32), self.nonce("Tasks", node), LATER_UNIX_S)
        self.tasks("approve", message, b"", sender=node)

    def come_back(self, node: str) -> None:
        """A node says that it is back."""
        message = (node, self.nonce("Registry", node), LATER_UNIX_S)
        self.registry("comeBack", message, b"", sender=node)

    def exit(self, node: str, amount: int) -> None:
        """A node takes an amount out of its stake."""
        message = (node, amount, self.nonce("Registry", node), LATER_UNIX_S)
        self.registry("exit", message, b"", sender=node)

    def absences(self, node: str) -> int:
        """How often the node was absent in a row."""
        view: NodeView = self.ask(NodeView, "Registry", "nodeOf", node)
        return view.absences

    # --- rounds

    def view(self, task: int, number: int) -> RoundView:
        """The round as the lens shows it."""
        view: RoundView = self.ask(RoundView, "Lens", "roundOf", task, number)
        return view

    def open_round(self, task: int) -> int:
        """Request the task's next round and draw it."""
        number = self.request_round(task)
        self.anvil.mine(2)
        self.rounds("advance", task)
        return number

    def request_round(self, task: int) -> int:
        """Request the task's next round."""
        self.rounds("requestRound", task)
        view: TaskView = self.ask(TaskView, "Lens", "taskOf", task)
        return view.rounds_requested

    def play(self, task: int, number: int, acts: Acts, *, until: Phase | None = None) -> None:
        """Play a drawn round to its close, or until it enters a phase."""
        steps = {
            Phase.TRAINING: self.propose_all,
            Phase.COMMITTING: self.commit_all,
            Phase.REVEALING: self.reveal_all,
            Phase.ATTESTING: self.attest_all,
        }
        while not (phase := self.view(task, number).phase).closed and phase is not until:
            steps[phase](task, number, acts)
            if not self.ask(bool, "Rounds", "isDue", task):
                self.anvil.pass_time(PHASE_S + 1)
            self.rounds("advance", task)

    def propose_all(self, task: int, number: int, acts: Acts) -> None:
        """Every drawn proposer proposes, the silent ones excepted."""
        view = self.view(task, number)
        for node in view.proposers:
            if node in acts.silent_proposers:
                continue
            data = (
                f"no adapter of {node}".encode()
                if node in acts.broken
                else adapter_file(int(node, 16), number)
            )
            report = self.store(f"report of {node} for {task}/{number}".encode())
            digests = (_bytes(view.parent_digest), _bytes(self.store(data)), _bytes(report))
            self.rounds("propose", (node, task, number, _bytes(view.context), *digests), b"", sender=node)

    def reveals(self, task: int, number: int, acts: Acts) -> list[Reveal]:
        """What every voter that takes part will reveal."""
        view = self.view(task, number)
        return [
            Reveal(
                node=voter,
                task=task,
                round=number,
                context=view.context,
                scores_micronats=tuple(
                    INVALID_SCORE
                    if proposal.node in acts.broken and proposal.node != voter
                    else acts.score_micronats + int(voter, 16) % 1_000
                    for proposal in view.proposals
                ),
                salt="0x" + keccak(text=f"salt of {voter} in {task}/{number}").hex(),
            )
            for voter in view.voters
            if voter not in acts.silent_voters
        ]

    def commit_all(self, task: int, number: int, acts: Acts) -> None:
        """Every drawn voter commits, the silent ones excepted."""
        for reveal in self.reveals(task, number, acts):
            message = (reveal.node, task, number, _bytes(reveal.context), _bytes(reveal.commitment))
            self.rounds("commit", message, b"", sender=reveal.node)

    def reveal_all(self, task: int, number: int, acts: Acts) -> None:
        """Every voter that committed reveals, the hiding ones excepted."""
        for reveal in self.reveals(task, number, acts):
            if reveal.node not in acts.hiding_voters:
                scores, salt = reveal.scores_micronats, _bytes(reveal.salt)
                message = (reveal.node, task, number, _bytes(reveal.context), scores, salt)
                self.rounds("reveal", message, sender=reveal.node)

    def attest_all(self, task: int, number: int, acts: Acts) -> None:
        """Every drawn voter attests, the silent ones excepted; the aggregate is stored."""
        view = self.view(task, number)
        aggregate = self.store(self.aggregate_of_accepted(task, number))
        for voter in view.voters:
            if voter not in acts.silent_attesters:
                digest = _bytes(acts.attested.get(voter, aggregate))
                message = (voter, task, number, _bytes(view.context), digest, 50_000)
                self.rounds("attest", message, b"", sender=voter)

    def aggregate_of_accepted(self, task: int, number: int) -> bytes:
        """The aggregate's file, from the stored adapters that the chain accepted."""
        view = self.view(task, number)
        spec = self.specs[task]
        accepted = [p for p in view.proposals if p.standing is Standing.ACCEPTED]
        weights = aggregation_weights([p.median_micronats for p in accepted], spec.aggregation)
        contributions = [
            Contribution(
                proposal.node,
                proposal.adapter_digest,
                MANIFEST.decode(self.path(proposal.adapter_digest).read_bytes()),
                weight,
            )
            for proposal, weight in zip(accepted, weights, strict=True)
        ]
        parent = read_parent(spec, view.parent_digest, self.path(view.parent_digest).read_bytes())
        return bytes(next_parent(spec, parent, contributions).data)

    # --- artifacts

    def store(self, data: bytes) -> str:
        """Put an artifact into the folder and return its digest."""
        digest = sha256_digest(data)
        self.path(digest).parent.mkdir(exist_ok=True)
        self.path(digest).write_bytes(data)
        return digest

    def path(self, digest: str) -> Path:
        """The file of an artifact."""
        return self.artifacts / digest[2:4] / digest[2:]

    # --- steps

    def _deploy(self, first_block: int) -> Deployment:
        token = self._create(abi.load("TestToken"), COUNCIL)
        randomness = self._create(abi.load("BlockhashRandomness"))
        library = self._create(abi.load("Settlement"))
        nonce = int(self.rpc("eth_getTransactionCount", COUNCIL, "latest"), 16)
        rounds_to_be = str(get_create_address(to_checksum_address(COUNCIL), Nonce(nonce + 2)))
        terms = (UNBONDING_S, APPEAL_S, MOST_ABSENCES)
        registry = self._create(abi.load("Registry"), token, COUNCIL, rounds_to_be, *terms)
        tasks = self._create(abi.load("Tasks"), token, COUNCIL, rounds_to_be)
        linked = abi.load("Rounds").link({"Settlement": library})
        rounds = self._create(linked, registry, tasks, randomness)
        lens = self._create(abi.load("Lens"), rounds)
        anchors = self._create(abi.load("Anchors"))
        return Deployment(
            chain_id=int(self.rpc("eth_chainId"), 16),
            registry=registry,
            tasks=tasks,
            rounds=rounds,
            lens=lens,
            anchors=anchors,
            token=token,
            block=first_block,
        )

    def _create(self, artifact: abi.ContractArtifact, *arguments: object) -> str:
        data = bytes.fromhex(artifact.bytecode[2:])
        constructor = next((entry for entry in artifact.abi if entry["type"] == "constructor"), None)
        if constructor is not None:
            data += encode([abi_type(each) for each in constructor["inputs"]], arguments)
        receipt = self._transact(COUNCIL, None, data)
        return str(to_checksum_address(receipt["contractAddress"]))

    def _transact(self, sender: str, to: str | None, data: bytes) -> Any:
        transaction = {"from": sender, "gas": hex(_GAS), "data": "0x" + data.hex()}
        if to is not None:
            transaction["to"] = to
        transaction_hash = self.rpc("eth_sendTransaction", transaction)
        give_up = time.monotonic() + MINED_TIMEOUT_S
        while (receipt := self.rpc("eth_getTransactionReceipt", transaction_hash)) is None:
            assert time.monotonic() < give_up, "the transaction is not mined"
        assert receipt["status"] == "0x1", f"{sender} was refused: 0x{data[:4].hex()} to {to}"
        return receipt


def make_spec(genesis_digest: str, name: str, **changes: object) -> TaskSpec:
    """A valid task spec over the manifest above; ``changes`` are parts of it."""
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


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text[2:])
