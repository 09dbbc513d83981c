"""A consortium's life as the chain would tell it, for tests of what people are shown.

Events go through the real indexer into a real database, calls into the real outbox; only the chain is a
script.
Time stands still between steps; ``Story.now_unix_s`` is the clock and the newest block's time.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path

from fastapi import FastAPI
from fastapi.testclient import TestClient

from contracts.deployment import Deployment
from contracts.events import (
    Approved,
    Attested,
    Committed,
    Drawn,
    Event,
    FaultRecorded,
    NodeAdmitted,
    PhaseChanged,
    Proposed,
    Revealed,
    Rewarded,
    RoundClosed,
    RoundRequested,
    StakeDeposited,
    Tallied,
    TaskCreated,
    TaskEnded,
    TaskFunded,
)
from contracts.messages import Attestation, Proposal
from contracts.phase import Phase
from contracts.settlement import Fault, Standing
from contracts.task_config import TaskConfig
from orchestrator.adapters.artifacts import FolderArtifactStore
from orchestrator.app import create_app
from orchestrator.domain.chain import (
    Advance,
    Block,
    Call,
    IndexedEvent,
    RelayAttestation,
    RelayProposal,
    StakeTerms,
)
from orchestrator.domain.identity import Principal
from orchestrator.domain.outbox import IntentStatus
from orchestrator.domain.ports import EvaluationRecord, TaskOrder
from orchestrator.services.evaluations import EvaluationService
from orchestrator.services.indexer import Indexer
from orchestrator.services.sessions import SESSION_S, SessionService
from tests.integration.databases import new_database, open_quick_records

TASK = 1
TOKEN = 10**18
START_UNIX_S = 1_795_000_000
APPEAL_S = 3_600
COUNCIL = "0x" + "C0" * 20
SIGNATURE = "0x" + "11" * 65


def digest(name: str) -> str:
    """A digest that belongs to a name."""
    return "0x" + sha256(name.encode()).hexdigest()


def address(number: int) -> str:
    """An address that ascends with its number."""
    return "0x" + f"{number:02d}" * 20


AARE, BIRS, CASSARATE, DOUBS = (address(number) for number in (11, 22, 33, 44))
NAMES = {AARE: "Aare", BIRS: "Birs", CASSARATE: "Cassarate", DOUBS: "Doubs"}
PROPOSERS = (DOUBS, AARE, CASSARATE)
VOTERS = (BIRS, DOUBS, AARE, CASSARATE)
PROPOSED = (AARE, CASSARATE, DOUBS)
"""Ascending: the order of scores."""

CONFIG = TaskConfig(
    spec_digest=digest("spec"),
    genesis_digest=digest("genesis"),
    rounds=3,
    proposers=3,
    voters=4,
    min_proposals=1,
    min_reveals=2,
    min_scorers=2,
    attestation_quorum_bps=5000,
    proposer_share_bps=5000,
    absent_bps=100,
    unrevealed_bps=500,
    invalid_bps=2000,
    acceptance_threshold_micronats=-250_000,
    closeness_range_micronats=500_000,
    training_s=600,
    committing_s=300,
    revealing_s=60,
    attesting_s=60,
    stake_cap=10_000 * TOKEN,
)
HONEST = {
    BIRS: (113_400, 41_200, 248_100),
    DOUBS: (98_000, 64_000, 0),
    AARE: (0, 38_500, 252_700),
    CASSARATE: (141_000, 0, 231_000),
}
"""Scores by voter, in the order of PROPOSED."""
MEDIANS = (113_400, 41_200, 248_100)


@dataclass
class ScriptedChain:
    """A ``ChainReader`` over blocks that the test adds."""

    made: list[Block] = field(default_factory=list)
    indexed: list[IndexedEvent] = field(default_factory=list)

    def add_block(self, timestamp_unix_s: int, events: Sequence[Event]) -> None:
        """One more block with these events."""
        number = len(self.made)
        block = Block(number, digest(f"block {number}"), digest(f"block {number - 1}"), timestamp_unix_s)
        self.made.append(block)
        self.indexed += [
            IndexedEvent(event, number, block.hash, digest(f"transaction {number} {index}"), index)
            for index, event in enumerate(events)
        ]

    def head(self) -> Block:
        """The newest block."""
        return self.made[-1]

    def block(self, number: int) -> Block:
        """The block at a height."""
        return self.made[number]

    def blocks(self, first_block: int, last_block: int) -> Sequence[Block]:
        """The blocks of a range."""
        return self.made[first_block : last_block + 1]

    def events(self, first_block: int, last_block: int) -> Sequence[IndexedEvent]:
        """The events of a range of blocks."""
        return [each for each in self.indexed if first_block <= each.block_number <= last_block]

    def is_due(self, task: int) -> bool:
        """Not asked for here."""
        raise NotImplementedError

    def stake_terms(self) -> StakeTerms:
        """What the registry fixes."""
        return StakeTerms(unbonding_s=20_000, appeal_s=APPEAL_S, most_absences=2)


class Story:
    """Tells what happens, step by step; every step is on the page when its method returns."""

    def __init__(self, folder: Path, database_url: str | None = None) -> None:
        self.time_unix_s = START_UNIX_S
        self.records = open_quick_records(database_url or new_database(folder))
        self.chain = ScriptedChain()
        self._indexer = Indexer(self.records, self.chain, self, first_block=0, confirmations=12)
        self.parent = CONFIG.genesis_digest

    def now_unix_s(self) -> int:
        """The story's time: it is its own ``Clock``."""
        return self.time_unix_s

    def happen(self, *events: Event, after_s: int = 1) -> None:
        """A block with these events, that many seconds later, indexed."""
        self.time_unix_s += after_s
        self.chain.add_block(self.time_unix_s, events)
        self._indexer.run_once()

    def found(self, approved: Sequence[str] = tuple(NAMES), pool: int = 900 * TOKEN) -> None:
        """Four networks are admitted and staked, the task is created, and these approve it."""
        for group, (node, name) in enumerate(NAMES.items(), start=1):
            with self.records.write() as unit:
                unit.names.set_name(node, name)
            self.happen(NodeAdmitted(node, node, group), StakeDeposited(node, 1000 * TOKEN, 1000 * TOKEN))
        with self.records.write() as unit:
            order = TaskOrder(CONFIG.spec_digest, "icd10cm-first-letter", "task", pool, self.time_unix_s)
            unit.orders.add(order)
        self.happen(TaskCreated(TASK, CONFIG.spec_digest, CONFIG))
        if pool:
            self.happen(TaskFunded(TASK, COUNCIL, pool, pool))
        for node in approved:
            self.approve(node)

    def approve(self, node: str) -> None:
        """A node approves the task."""
        self.happen(Approved(TASK, node, digest("policy")))

    def enter(self, number: int, phase: Phase, lasts_s: int = 0, after_s: int = 1) -> None:
        """The round moves to a phase that may last so long."""
        deadline = self.time_unix_s + after_s + lasts_s if lasts_s else 0
        change = PhaseChanged(TASK, number, phase, "0x" + f"{number:02d}" * 16, deadline)
        self.happen(change, after_s=after_s)

    def request(self, number: int) -> None:
        """A round is requested."""
        stakes = tuple(1000 * TOKEN for _ in NAMES)
        reward = 300 * TOKEN
        self.happen(RoundRequested(TASK, number, self.parent, 7, reward, tuple(NAMES), stakes))
        self.spend(number, "request", Advance(TASK), 212_345)

    def draw(self, number: int) -> None:
        """Proposers and voters are drawn, and training begins."""
        groups = {node: group for group, node in enumerate(NAMES, start=1)}
        of_proposers = tuple(groups[node] for node in PROPOSERS)
        of_voters = tuple(groups[node] for node in VOTERS)
        drawn = Drawn(TASK, number, digest("seed"), PROPOSERS, VOTERS, of_proposers, of_voters)
        self.happen(drawn, after_s=2)
        self.enter(number, Phase.TRAINING, CONFIG.training_s, after_s=0)

    def propose(self, number: int, node: str, after_s: int = 29) -> None:
        """One proposer's adapter."""
        adapter = digest(f"adapter {number} {node}")
        self.happen(Proposed(TASK, number, node, adapter, digest("report")), after_s=after_s)
        message = Proposal(
            node=node,
            task=TASK,
            round=number,
            context="0x" + "00" * 16,
            parent_digest=self.parent,
            adapter_digest=adapter,
            report_digest=digest("report"),
        )
        self.spend(number, f"proposal {node}", RelayProposal(message, SIGNATURE), 94_210)

    def train(self, number: int) -> None:
        """All proposers propose, and committing begins."""
        for node in PROPOSED:
            self.propose(number, node)
        self.enter(number, Phase.COMMITTING, CONFIG.committing_s)

    def commit(self, number: int, voters: Sequence[str] = VOTERS) -> None:
        """These voters commit."""
        for voter in voters:
            self.happen(Committed(TASK, number, voter, digest(f"commitment {voter}")), after_s=10)

    def reveal(self, number: int, voter: str, scores: Sequence[int]) -> None:
        """One voter opens its scores."""
        self.happen(Revealed(TASK, number, voter, tuple(scores), digest("salt")))

    def tally(
        self, number: int, medians: Sequence[int] = MEDIANS, accepted: Sequence[bool] = (True, True, True)
    ) -> None:
        """The votes are counted and attesting begins."""
        standings = tuple(Standing.ACCEPTED if each else Standing.REFUSED for each in accepted)
        proven_invalid = tuple(False for _ in PROPOSED)
        self.happen(Tallied(TASK, number, PROPOSED, standings, tuple(medians), proven_invalid))
        self.enter(number, Phase.ATTESTING, CONFIG.attesting_s, after_s=0)

    def attest(self, number: int, voters: Sequence[str] = VOTERS) -> None:
        """These voters attest the round's aggregate."""
        for voter in voters:
            self.happen(Attested(TASK, number, voter, digest(f"aggregate {number}"), 118_300))

    def close(self, number: int, phase: Phase = Phase.FINAL) -> None:
        """The round closes, and rewards are credited."""
        if phase is Phase.FINAL:
            self.parent = digest(f"aggregate {number}")
        self.enter(number, phase)
        amounts = tuple((60 + 7 * place) * TOKEN + number * TOKEN // 3 for place in range(len(NAMES)))
        self.happen(
            RoundClosed(TASK, number, phase, self.parent),
            Rewarded(TASK, number, tuple(NAMES), amounts, 300 * TOKEN - sum(amounts)),
            *([TaskEnded(TASK, 0)] if number == CONFIG.rounds else []),
            after_s=0,
        )

    def record_fault(self, number: int, node: str, slash: int = 0) -> None:
        """A node is found to have committed and not revealed."""
        amount = 50 * TOKEN
        until_unix_s = self.time_unix_s + APPEAL_S
        fault = Fault.UNREVEALED
        self.happen(
            FaultRecorded(TASK, number, node, fault, slash, amount, until_unix_s, 950 * TOKEN), after_s=0
        )

    def play_round(self, number: int, poisoned: str | None = None) -> None:
        """A whole round; the poisoned node's proposal is refused."""
        self.request(number)
        self.draw(number)
        self.train(number)
        self.commit(number)
        self.enter(number, Phase.REVEALING, CONFIG.revealing_s)
        bad = PROPOSED.index(poisoned) if poisoned else None
        for voter in VOTERS:
            scores = list(HONEST[voter])
            if bad is not None and voter != poisoned:
                scores[bad] = -2_210_000
            self.reveal(number, voter, scores)
        medians = [-2_210_000 if place == bad else median for place, median in enumerate(MEDIANS)]
        self.tally(number, medians, [place != bad for place in range(len(PROPOSED))])
        self.attest(number)
        self.close(number)

    def spend(self, number: int, key: str, call: Call, gas: int) -> None:
        """A mined transaction of the round."""
        with self.records.write() as unit:
            intent = unit.outbox.add(f"{key} {number}", call, number, self.time_unix_s)
            unit.outbox.save(replace(intent, status=IntentStatus.MINED, gas_used=gas), IntentStatus.QUEUED)

    def refuse_attestation(self, number: int, node: str) -> None:
        """The chain refuses a node's attestation."""
        message = Attestation(
            node=node,
            task=TASK,
            round=number,
            context="0x" + "00" * 16,
            aggregate_digest=digest(f"aggregate {number}"),
            score_micronats=1,
        )
        with self.records.write() as unit:
            call = RelayAttestation(message, SIGNATURE)
            intent = unit.outbox.add(f"attestation {number} {node}", call, number, self.time_unix_s)
            refused = replace(intent, status=IntentStatus.REFUSED, error="WrongPhase")
            unit.outbox.save(refused, IntentStatus.QUEUED)

    def evaluate(self, number: int, correct: int, name: str = "federated", what: str | None = None) -> None:
        """A model is tested on 300 records; round 0 is the base model."""
        aggregate = CONFIG.genesis_digest if number == 0 else digest(f"aggregate {number}")
        accuracy = correct / 300
        EvaluationService(self.records, self).record(
            EvaluationRecord(
                task=TASK,
                round=number,
                name=name,
                digest=what or aggregate,
                records=300,
                correct=correct,
                accuracy=accuracy,
                interval_low=max(0.0, accuracy - 0.05),
                interval_high=accuracy + 0.055,
                loss_nats=2.0,
            )
        )


def auditors_browser(story: Story, folder: Path) -> TestClient:
    """A browser without scripts, in which an auditor is signed in."""
    client = TestClient(app_over(story, folder), base_url="http://hub.test", follow_redirects=False)
    holder = Principal("an-auditor", "auditor", story.time_unix_s + SESSION_S)
    client.cookies.set("collegium_session", SessionService(story.records, story).open(holder))
    return client


def app_over(story: Story, folder: Path) -> FastAPI:
    """The hub's real application over the story's records."""
    artifacts = FolderArtifactStore(folder / "artifacts", 1 << 20)
    contract = address(99)
    deployment = Deployment(
        chain_id=31337,
        registry=contract,
        tasks=contract,
        rounds=contract,
        lens=contract,
        anchors=contract,
        token=contract,
        block=0,
    )
    return create_app(story.records, artifacts, deployment, story)
