"""The machines of the control plane under arbitrary histories: projection, reconciler, outbox."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from contracts.messages import Approval, Attestation, Commit, Proposal, Reveal
from contracts.phase import Phase
from orchestrator.domain import chain
from orchestrator.domain.chain import Call, ChainEvent, IndexedEvent, TaskConfig
from orchestrator.domain.outbox import call_kind, decode_call, encode_call, message_key, subject_of
from orchestrator.domain.projection import ImpossibleEvent, Ledger, step
from orchestrator.domain.reconciler import (
    RunRecord,
    Send,
    Situation,
    StartRun,
    next_actions,
    retry_delay_s,
)
from orchestrator.domain.state import PhaseStart, RoundState, TaskState

NODES = tuple("0x" + f"{number:040d}" for number in range(1, 6))
DIGEST = "0x" + "ab" * 32
CONTEXT = "0x" + "cd" * 16
BLOCK_S = 3
CONFIG = TaskConfig(
    spec_digest=DIGEST,
    genesis_digest="0x" + "9e" * 32,
    rounds=3,
    proposers=2,
    voters=3,
    min_proposals=1,
    min_reveals=1,
    min_scorers=1,
    attestation_quorum_bps=5_000,
    proposer_share_bps=5_000,
    acceptance_threshold_micronats=0,
    closeness_range_micronats=1,
    training_s=10,
    committing_s=10,
    revealing_s=10,
    attesting_s=10,
    stake_cap=100,
)

digests = st.integers(min_value=1, max_value=(1 << 256) - 1).map(lambda number: f"0x{number:064x}")
nodes = st.sampled_from(NODES)
scores = st.integers(min_value=-8_000_000, max_value=8_000_000)


class History(RuleBasedStateMachine):
    """Histories that a chain can have; each event lies in a block of its own or in its predecessor's."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger()
        self.log: list[tuple[IndexedEvent, int]] = []
        self.snapshots: list[Ledger] = []

    # --- what happens

    def happen(self, event: ChainEvent) -> None:
        """Append an event to the log, and to the ledger."""
        number = len(self.log)
        indexed = IndexedEvent(event, number // 2, DIGEST, DIGEST, number % 2)
        now_unix_s = indexed.block_number * BLOCK_S
        self.log.append((indexed, now_unix_s))
        self.snapshots.append(self.ledger)
        self.ledger, announcements = step(self.ledger, indexed, now_unix_s)
        assert len(announcements) <= 1

    @property
    def task(self) -> TaskState | None:
        return self.ledger.tasks.get(1)

    @property
    def open_round(self) -> RoundState | None:
        if self.task is None or not self.task.has_open_round:
            return None
        return self.ledger.rounds[1, self.task.rounds_requested]

    def open_in(self, phase: Phase) -> bool:
        return self.open_round is not None and self.open_round.phase is phase

    @rule(node=nodes)
    def admit(self, node: str) -> None:
        if node not in self.ledger.nodes:
            self.happen(chain.NodeAdmitted(node, node, 1))

    @rule(node=nodes, stake=st.integers(min_value=0, max_value=10**20))
    def stake(self, node: str, stake: int) -> None:
        if node in self.ledger.nodes:
            self.happen(chain.StakeChanged(node, stake))

    @precondition(lambda self: self.task is None)
    @rule(pool=st.integers(min_value=1, max_value=10**24))
    def create(self, pool: int) -> None:
        self.happen(chain.TaskCreated(1, CONFIG))
        self.happen(chain.TaskFunded(1, pool, pool))

    @precondition(lambda self: self.task is not None)
    @rule(node=nodes)
    def approve(self, node: str) -> None:
        self.happen(chain.Approved(1, node, DIGEST))

    @precondition(lambda self: self.task and not self.task.has_open_round and not self.task.is_finished)
    @rule()
    def request(self) -> None:
        assert self.task is not None
        reward = self.task.pool // (CONFIG.rounds - self.task.rounds_requested)
        number = self.task.rounds_requested + 1
        stakes = (5,) * len(NODES)
        self.happen(chain.RoundRequested(1, number, self.task.parent_digest, 9, reward, NODES, stakes))

    @precondition(lambda self: self.open_in(Phase.REQUESTED))
    @rule(order=st.permutations(NODES))
    def draw(self, order: list[str]) -> None:
        number = self.number
        self.happen(chain.Drawn(1, number, DIGEST, tuple(order[:2]), tuple(order[2:])))
        self.happen(chain.PhaseChanged(1, number, Phase.TRAINING, CONTEXT, 1_000))

    @precondition(lambda self: self.open_in(Phase.TRAINING))
    @rule(node=nodes, digest=digests)
    def propose(self, node: str, digest: str) -> None:
        if all(proposal.node != node for proposal in self.present.proposals):
            self.happen(chain.Proposed(1, self.number, node, digest, DIGEST))

    @precondition(lambda self: self.open_in(Phase.COMMITTING))
    @rule(node=nodes, digest=digests)
    def commit(self, node: str, digest: str) -> None:
        if self.present.vote_of(node) is None:
            self.happen(chain.Committed(1, self.number, node, digest))

    @precondition(lambda self: self.open_in(Phase.REVEALING))
    @rule(node=nodes, data=st.data())
    def reveal(self, node: str, data: st.DataObject) -> None:
        vote = self.present.vote_of(node)
        if vote is not None and vote.scores_micronats is None:
            count = len(self.present.proposals)
            given = tuple(data.draw(st.lists(scores, min_size=count, max_size=count)))
            self.happen(chain.Revealed(1, self.number, node, given, DIGEST))

    @precondition(lambda self: self.open_in(Phase.ATTESTING))
    @rule(node=nodes, digest=digests, score=scores)
    def attest(self, node: str, digest: str, score: int) -> None:
        if all(attestation.node != node for attestation in self.present.attestations):
            self.happen(chain.Attested(1, self.number, node, digest, score))

    @precondition(lambda self: self.open_round and Phase.TRAINING <= self.open_round.phase < Phase.ATTESTING)
    @rule(medians=st.data())
    def advance(self, medians: st.DataObject) -> None:
        if self.present.phase is Phase.REVEALING:
            proposers = tuple(proposal.node for proposal in self.present.proposals)
            size = len(proposers)
            flags = tuple(medians.draw(st.lists(st.booleans(), min_size=size, max_size=size)))
            values = tuple(medians.draw(st.lists(scores, min_size=size, max_size=size)))
            self.happen(chain.Tallied(1, self.number, proposers, flags, flags, values))
        following = Phase(self.present.phase + 1)
        self.happen(chain.PhaseChanged(1, self.number, following, CONTEXT, 1_000))

    @precondition(lambda self: self.open_round is not None)
    @rule(
        outcome=st.sampled_from([Phase.FINAL, Phase.REJECTED, Phase.ABORTED]), digest=digests, data=st.data()
    )
    def close(self, outcome: Phase, digest: str, data: st.DataObject) -> None:
        assert self.task is not None
        number, reward = self.number, self.present.reward
        parent = digest if outcome is Phase.FINAL else self.task.parent_digest
        self.happen(chain.PhaseChanged(1, number, outcome, CONTEXT, 0))
        self.happen(chain.RoundClosed(1, number, outcome, parent))
        paid = tuple(node for node in NODES if node in self.ledger.nodes)
        share = data.draw(st.integers(min_value=0, max_value=reward // max(len(paid), 1)))
        amounts = (share,) * len(paid)
        self.happen(chain.Rewarded(1, number, paid, amounts, reward - sum(amounts)))

    @property
    def present(self) -> RoundState:
        assert self.open_round is not None
        return self.open_round

    @property
    def number(self) -> int:
        return self.present.round

    # --- what must hold

    @invariant()
    def replaying_any_part_changes_nothing(self) -> None:
        for indexed, now_unix_s in self.log[-4:]:
            assert step(self.ledger, indexed, now_unix_s) == (self.ledger, ())

    @invariant()
    def phases_never_move_back(self) -> None:
        for state in self.ledger.rounds.values():
            phases = [start.phase for start in state.phases]
            assert phases == sorted(set(phases))
            assert phases[-1] is state.phase
            times = [start.started_unix_s for start in state.phases]
            assert times == sorted(times)
        if self.snapshots:
            for key, before in self.snapshots[-1].rounds.items():
                assert self.ledger.rounds[key].phase >= before.phase

    @invariant()
    def nobody_speaks_twice_and_lists_ascend(self) -> None:
        for state in self.ledger.rounds.values():
            for entries in (state.proposals, state.votes, state.attestations):
                order = [int(entry.node, 16) for entry in entries]
                assert order == sorted(set(order))

    @invariant()
    def rounds_are_counted_and_at_most_one_is_open(self) -> None:
        if self.task is not None:
            assert 0 <= self.task.rounds_requested - self.task.rounds_closed <= 1
            assert self.task.rounds_requested <= CONFIG.rounds
            assert len(self.ledger.rounds) == self.task.rounds_requested

    @invariant()
    def no_token_appears_or_is_lost(self) -> None:
        if self.task is not None and not self.task.has_open_round and self.settled:
            funded = next(
                each.event.amount for each, _ in self.log if isinstance(each.event, chain.TaskFunded)
            )
            earned = sum(node.earned for node in self.ledger.nodes.values())
            assert self.task.pool + earned == funded

    @property
    def settled(self) -> bool:
        closed = sum(isinstance(each.event, chain.RoundClosed) for each, _ in self.log)
        rewarded = sum(isinstance(each.event, chain.Rewarded) for each, _ in self.log)
        return closed == rewarded

    @invariant()
    def seconds_of_phases_add_up(self) -> None:
        for state in self.ledger.rounds.values():
            end_unix_s = state.phases[-1].started_unix_s + (0 if state.phase.closed else 7)
            assert (
                sum(state.phase_seconds(end_unix_s).values()) == end_unix_s - state.phases[0].started_unix_s
            )

    def teardown(self) -> None:
        """Reading the whole log again from the beginning gives the same ledger."""
        ledger = Ledger()
        for indexed, now_unix_s in self.log:
            ledger, _ = step(ledger, indexed, now_unix_s)
        assert ledger == self.ledger


TestHistory = History.TestCase


@given(phase=st.sampled_from(list(Phase)), seen=st.sampled_from(list(Phase)[1:]))
def test_a_late_phase_event_never_moves_a_round_back(phase: Phase, seen: Phase) -> None:
    state = replace(open_round(), phase=seen, phases=(PhaseStart(seen, 0),))
    ledger = Ledger(tasks={1: task()}, rounds={(1, 1): state})
    event = chain.PhaseChanged(1, 1, phase, CONTEXT, 5)
    after, announcements = step(ledger, IndexedEvent(event, 1, DIGEST, DIGEST, 0), 10)
    assert after.rounds[1, 1].phase == max(phase, seen)
    assert len(announcements) == (phase > seen)


def test_events_of_unknown_things_are_impossible() -> None:
    for event in (
        chain.StakeChanged(NODES[0], 1),
        chain.TaskFunded(1, 1, 1),
        chain.Proposed(1, 1, NODES[0], DIGEST, DIGEST),
        chain.RoundClosed(1, 1, Phase.FINAL, DIGEST),
    ):
        with pytest.raises(ImpossibleEvent):
            step(Ledger(), IndexedEvent(event, 1, DIGEST, DIGEST, 0), 10)


# --- the reconciler


def task(**changes: Any) -> TaskState:
    return replace(TaskState(1, CONFIG, CONFIG.genesis_digest, pool=10), **changes)


def open_round(**changes: Any) -> RoundState:
    state = RoundState(
        task=1,
        round=1,
        phase=Phase.TRAINING,
        parent_digest=DIGEST,
        seed_block=1,
        reward=1,
        eligible=(),
        phases=(PhaseStart(Phase.TRAINING, 0),),
        deadline_unix_s=100,
    )
    return replace(state, **changes)


runs = st.none() | st.builds(
    RunRecord,
    ended=st.booleans(),
    submissions=st.integers(min_value=1, max_value=40),
    changed_unix_s=st.integers(min_value=0, max_value=200),
)


@st.composite
def situations(draw: st.DrawFn) -> Situation:
    requested = draw(st.integers(min_value=0, max_value=3))
    has_open = requested > 0 and draw(st.booleans())
    phase = draw(st.sampled_from([each for each in Phase if Phase.NONE < each < Phase.FINAL]))
    deadline_unix_s = 0 if phase is Phase.REQUESTED else draw(st.integers(min_value=1, max_value=200))
    return Situation(
        task=task(
            rounds_requested=requested,
            rounds_closed=requested - has_open,
            pool=draw(st.integers(min_value=0, max_value=2)),
        ),
        open_round=open_round(round=requested, phase=phase, deadline_unix_s=deadline_unix_s)
        if has_open
        else None,
        eligible_nodes=draw(st.integers(min_value=0, max_value=4)),
        is_due=has_open and draw(st.booleans()),
        pool_ordered=draw(st.integers(min_value=0, max_value=1)),
        fund_key="fund:x",
        is_funded=draw(st.booleans()),
        run=draw(runs),
    )


@given(situation=situations(), now_unix_s=st.integers(min_value=0, max_value=300))
def test_decisions(situation: Situation, now_unix_s: int) -> None:
    actions = next_actions(situation, now_unix_s)
    assert actions == next_actions(situation, now_unix_s)
    sends = [action for action in actions if isinstance(action, Send)]
    starts = [action for action in actions if isinstance(action, StartRun)]
    calls = [type(action.call) for action in sends]
    assert len(set(calls)) == len(calls)
    assert len({action.key for action in sends}) == len(sends)

    assert (chain.Advance in calls) == situation.is_due
    if chain.RequestRound in calls:
        assert situation.open_round is None
        assert situation.task.rounds_requested < CONFIG.rounds
        assert situation.eligible_nodes >= CONFIG.voters
        assert situation.pool_ordered == 0 or situation.is_funded
    assert (chain.FundTask in calls) == (situation.pool_ordered > 0 and not situation.is_funded)
    if starts:
        assert situation.open_round is not None
        assert situation.run is None or situation.run.ended
        deadline_unix_s = situation.open_round.deadline_unix_s
        assert deadline_unix_s == 0 or now_unix_s <= deadline_unix_s
    elif situation.open_round is not None and situation.run is None:
        assert 0 < situation.open_round.deadline_unix_s < now_unix_s


def test_delays_between_attempts_only_grow_and_stay_bounded() -> None:
    delays = [retry_delay_s(attempts) for attempts in range(1, 2_000)]
    assert delays[0] == 1
    assert all(before <= after for before, after in pairwise(delays))
    assert max(delays) == 30


# --- the outbox


task_numbers = st.integers(min_value=1, max_value=(1 << 64) - 1)
round_fields = {
    "node": st.just(NODES[0]),
    "task": task_numbers,
    "round": st.integers(min_value=1, max_value=(1 << 32) - 1),
    "context": st.just(CONTEXT),
}
signatures = st.binary(min_size=65, max_size=65).map(lambda data: "0x" + data.hex())
messages = st.one_of(
    st.builds(
        chain.RelayProposal,
        st.builds(
            Proposal, **round_fields, parent_digest=digests, adapter_digest=digests, report_digest=digests
        ),
        signatures,
    ),
    st.builds(chain.RelayCommit, st.builds(Commit, **round_fields, commitment=digests), signatures),
    st.builds(
        chain.RelayReveal,
        st.builds(
            Reveal,
            **round_fields,
            scores_micronats=st.lists(scores, max_size=16).map(tuple),
            salt=digests,
        ),
    ),
    st.builds(
        chain.RelayAttestation,
        st.builds(Attestation, **round_fields, aggregate_digest=digests, score_micronats=scores),
        signatures,
    ),
    st.builds(
        chain.RelayApproval,
        st.builds(
            Approval,
            node=st.just(NODES[0]),
            task=task_numbers,
            spec_digest=digests,
            policy_digest=digests,
            nonce=st.integers(min_value=0, max_value=(1 << 64) - 1),
            expiry_unix_s=st.integers(min_value=0, max_value=(1 << 64) - 1),
        ),
        signatures,
    ),
)
amounts = st.integers(min_value=0, max_value=(1 << 256) - 1)
calls = messages | st.one_of(
    st.builds(chain.AdmitNode, nodes, nodes, st.integers(min_value=1, max_value=(1 << 64) - 1)),
    st.builds(chain.CreateTask, amounts.map(lambda amount: replace(CONFIG, stake_cap=amount))),
    st.builds(chain.FundTask, task_numbers, amounts),
    st.builds(chain.RequestRound, task_numbers),
    st.builds(chain.Advance, task_numbers),
    st.builds(chain.Claim, nodes),
)


@given(call=calls)
def test_a_call_survives_the_outbox(call: Call) -> None:
    kind = call_kind(call)
    assert decode_call(kind, encode_call(call)) == call
    assert subject_of(call).kind == kind


@given(first=messages, second=messages)
def test_message_keys_differ_where_the_chain_takes_both(first: Any, second: Any) -> None:
    def slot(call: Any) -> tuple[object, ...]:
        message = call.message
        place = message.nonce if isinstance(message, Approval) else (message.round, message.context)
        return (call_kind(call), message.task, message.node, place)

    assert (message_key(first) == message_key(second)) == (slot(first) == slot(second))
