"""The machines of the control plane under arbitrary histories: projection, reconciler, outbox."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from contracts import events
from contracts.events import Event
from contracts.messages import (
    Approval,
    Attestation,
    Commit,
    Exit,
    Migration,
    Proposal,
    Return,
    Reveal,
    Revocation,
    Rotation,
)
from contracts.phase import Phase
from contracts.settlement import Fault, Standing
from contracts.task_config import TaskConfig
from orchestrator.domain import chain
from orchestrator.domain.chain import Call, IndexedEvent, StakeTerms
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
from orchestrator.domain.state import (
    PhaseStart,
    RegistryState,
    RoundState,
    SlashState,
    SlashStatus,
    TaskState,
)

NODES = tuple("0x" + f"{number:040d}" for number in range(1, 6))
FUNDER = "0x" + "f" * 40
DIGEST = "0x" + "ab" * 32
CONTEXT = "0x" + "cd" * 16
BLOCK_S = 3
TERMS = StakeTerms(unbonding_s=100, appeal_s=20, most_absences=2)
REGISTRY = RegistryState(TERMS)
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
    absent_bps=100,
    unrevealed_bps=500,
    invalid_bps=2_000,
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
        self.ledger = Ledger(REGISTRY)
        self.deposited = 0
        self.log: list[tuple[IndexedEvent, int]] = []
        self.snapshots: list[Ledger] = []

    # --- what happens

    def happen(self, event: Event) -> None:
        """Append an event to the log, and to the ledger."""
        number = len(self.log)
        indexed = IndexedEvent(event, number // 2, DIGEST, DIGEST, number % 2)
        now_unix_s = indexed.block_number * BLOCK_S
        self.log.append((indexed, now_unix_s))
        self.snapshots.append(self.ledger)
        self.ledger, announcements = step(self.ledger, indexed, now_unix_s)
        assert len(announcements) <= 1 or isinstance(event, events.RoundClosed)

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

    @initialize(pool=st.integers(min_value=1, max_value=10**24))
    def begin(self, pool: int) -> None:
        for node in NODES:
            self.happen(events.NodeAdmitted(node, node, 1))
        self.happen(events.TaskCreated(1, DIGEST, CONFIG))
        self.happen(events.TaskFunded(1, FUNDER, pool, pool))

    @rule(node=nodes)
    def dismiss_or_admit(self, node: str) -> None:
        admitted = self.ledger.nodes[node].admitted
        self.happen(events.NodeLeft(node) if admitted else events.NodeAdmitted(node, NODES[0], 2))

    @rule(node=nodes, amount=st.integers(min_value=1, max_value=10**20))
    def deposit(self, node: str, amount: int) -> None:
        self.deposited += amount
        self.happen(events.StakeDeposited(node, amount, self.ledger.nodes[node].stake + amount))

    @rule(node=nodes, data=st.data())
    def leave(self, node: str, data: st.DataObject) -> None:
        stake = self.ledger.nodes[node].stake
        if stake:
            amount = data.draw(st.integers(min_value=1, max_value=stake))
            self.happen(
                events.ExitRequested(node, amount, self.now_unix_s + TERMS.unbonding_s, stake - amount)
            )

    @rule(node=nodes, migrates=st.booleans())
    def take_out(self, node: str, migrates: bool) -> None:
        state = self.ledger.nodes[node]
        amount = state.mature(self.now_unix_s)
        if amount and not state.open_rounds and not state.pending_slashes:
            self.happen(events.Migrated(node, FUNDER, amount) if migrates else events.Withdrawn(node, amount))

    @rule(node=nodes)
    def come_back(self, node: str) -> None:
        self.happen(events.NodeReturned(node))

    @precondition(
        lambda self: any(each.status is SlashStatus.PENDING for each in self.ledger.slashes.values())
    )
    @rule(data=st.data(), waived=st.booleans())
    def settle_slash(self, data: st.DataObject, waived: bool) -> None:
        slash = data.draw(st.sampled_from(self.pending))
        if waived:
            stake = self.ledger.nodes[slash.node].stake + slash.amount
            self.happen(events.SlashWaived(slash.slash, slash.node, stake))
        else:
            assert self.task is not None
            pool = self.task.pool + slash.amount
            self.happen(events.SlashExecuted(slash.slash, slash.node, 1, slash.amount))
            self.happen(events.TaskToppedUp(1, FUNDER, slash.amount, pool))

    @rule(node=nodes)
    def approve_or_revoke(self, node: str) -> None:
        assert self.task is not None
        approves = node in self.task.approved
        self.happen(events.Revoked(1, node) if approves else events.Approved(1, node, DIGEST))

    @precondition(lambda self: not self.task.is_over)
    @rule()
    def pause_or_unpause(self) -> None:
        assert self.task is not None
        is_paused = not self.task.is_paused
        self.happen(events.TaskPauseChanged(1, is_paused))
        if is_paused and self.task.has_open_round:
            self.end(Phase.ABORTED, DIGEST, paid={}, faults={})

    @precondition(lambda self: not self.task.is_over and not self.task.is_cancelled)
    @rule()
    def cancel(self) -> None:
        assert self.task is not None
        self.happen(events.TaskCancelled(1))
        if not self.task.has_open_round:
            self.happen(events.TaskEnded(1, self.task.pool))

    @precondition(lambda self: self.task.may_open_rounds and not self.task.has_open_round)
    @rule()
    def request(self) -> None:
        assert self.task is not None
        reward = self.task.pool // (CONFIG.rounds - self.task.rounds_requested)
        number = self.task.rounds_requested + 1
        stakes = (5,) * len(NODES)
        self.happen(events.RoundRequested(1, number, self.task.parent_digest, 9, reward, NODES, stakes))

    @precondition(lambda self: self.open_in(Phase.REQUESTED))
    @rule(order=st.permutations(NODES))
    def draw(self, order: list[str]) -> None:
        number = self.number
        self.happen(events.Drawn(1, number, DIGEST, tuple(order[:2]), tuple(order[1:4]), (1, 1), (1,) * 3))
        self.happen(events.PhaseChanged(1, number, Phase.TRAINING, CONTEXT, 1_000))

    @precondition(lambda self: self.open_in(Phase.TRAINING))
    @rule(node=nodes, digest=digests)
    def propose(self, node: str, digest: str) -> None:
        if all(proposal.node != node for proposal in self.present.proposals):
            self.happen(events.Proposed(1, self.number, node, digest, DIGEST))

    @precondition(lambda self: self.open_in(Phase.COMMITTING))
    @rule(node=nodes, digest=digests)
    def commit(self, node: str, digest: str) -> None:
        if self.present.vote_of(node) is None:
            self.happen(events.Committed(1, self.number, node, digest))

    @precondition(lambda self: self.open_in(Phase.REVEALING))
    @rule(node=nodes, data=st.data())
    def reveal(self, node: str, data: st.DataObject) -> None:
        vote = self.present.vote_of(node)
        if vote is not None and vote.scores_micronats is None:
            count = len(self.present.proposals)
            given = tuple(data.draw(st.lists(scores, min_size=count, max_size=count)))
            self.happen(events.Revealed(1, self.number, node, given, DIGEST))

    @precondition(lambda self: self.open_in(Phase.ATTESTING))
    @rule(node=nodes, digest=digests, score=scores)
    def attest(self, node: str, digest: str, score: int) -> None:
        if all(attestation.node != node for attestation in self.present.attestations):
            self.happen(events.Attested(1, self.number, node, digest, score))

    @precondition(lambda self: self.open_round and Phase.TRAINING <= self.open_round.phase < Phase.ATTESTING)
    @rule(medians=st.data())
    def advance(self, medians: st.DataObject) -> None:
        if self.present.phase is Phase.REVEALING:
            proposers = tuple(proposal.node for proposal in self.present.proposals)
            size = len(proposers)
            verdicts = st.sampled_from([Standing.UNSCORED, Standing.REFUSED, Standing.ACCEPTED])
            standings = tuple(medians.draw(st.lists(verdicts, min_size=size, max_size=size)))
            values = tuple(medians.draw(st.lists(scores, min_size=size, max_size=size)))
            self.happen(events.Tallied(1, self.number, proposers, standings, values, (False,) * size))
        following = Phase(self.present.phase + 1)
        self.happen(events.PhaseChanged(1, self.number, following, CONTEXT, 1_000))

    @precondition(lambda self: self.open_round is not None)
    @rule(
        outcome=st.sampled_from([Phase.FINAL, Phase.REJECTED, Phase.ABORTED]),
        digest=digests,
        paid=st.dictionaries(nodes, st.integers(min_value=1, max_value=10**24)),
        faults=st.dictionaries(nodes, st.integers(min_value=0, max_value=10**20)),
    )
    def close(self, outcome: Phase, digest: str, paid: dict[str, int], faults: dict[str, int]) -> None:
        self.end(outcome, digest, paid, faults)

    def end(self, outcome: Phase, digest: str, paid: dict[str, int], faults: dict[str, int]) -> None:
        """The round closes: some drawn nodes are at fault, and its reward is paid as far as it reaches."""
        assert self.task is not None
        state, number, reward = self.present, self.number, self.present.reward
        parent = digest if outcome is Phase.FINAL else self.task.parent_digest
        self.happen(events.PhaseChanged(1, number, outcome, CONTEXT, 0))
        self.happen(events.RoundClosed(1, number, outcome, parent))
        for node in state.drawn:
            if node in faults:
                self.record_fault(node, number, faults[node])
        amounts = {node: min(paid[node], reward // len(paid)) for node in sorted(paid)}
        amounts = {node: amount for node, amount in amounts.items() if amount}
        returned = reward - sum(amounts.values())
        self.happen(events.Rewarded(1, number, tuple(amounts), tuple(amounts.values()), returned))
        if number == CONFIG.rounds or self.task.is_cancelled:
            self.happen(events.TaskEnded(1, self.task.pool))

    def record_fault(self, node: str, number: int, wanted: int) -> None:
        """The amount is taken from the stake and then from what is leaving, as far as they reach."""
        state = self.ledger.nodes[node]
        amount = min(wanted, state.stake + state.unbonding_total)
        stake = state.stake - min(amount, state.stake)
        until_unix_s = self.now_unix_s + TERMS.appeal_s
        slash = len(self.ledger.slashes)
        self.happen(events.FaultRecorded(1, number, node, Fault.ABSENT, slash, amount, until_unix_s, stake))

    @property
    def pending(self) -> list[SlashState]:
        return [each for each in self.ledger.slashes.values() if each.status is SlashStatus.PENDING]

    @property
    def now_unix_s(self) -> int:
        """The time of the next event's block."""
        return len(self.log) // 2 * BLOCK_S

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
        if self.task is not None and self.settled:
            earned = sum(node.earned for node in self.ledger.nodes.values())
            slashed = sum(
                each.event.amount for each, _ in self.log if isinstance(each.event, events.TaskToppedUp)
            )
            assert self.task.pool + self.task.open_reward + earned == self.task.contributed + slashed
            assert (self.task.open_reward > 0) <= self.task.has_open_round

    @invariant()
    def no_stake_appears_or_is_lost(self) -> None:
        kept = sum(node.stake + node.unbonding_total + node.withdrawn for node in self.ledger.nodes.values())
        slashed = sum(
            each.amount for each in self.ledger.slashes.values() if each.status is not SlashStatus.WAIVED
        )
        assert kept + slashed == self.deposited

    @invariant()
    def nodes_count_what_holds_them(self) -> None:
        for node in self.ledger.nodes.values():
            seats = [
                state
                for state in self.ledger.rounds.values()
                if node.node in state.drawn and not state.phase.closed
            ]
            pending = [slash for slash in self.pending if slash.node == node.node]
            if self.settled:
                assert (node.open_rounds, node.pending_slashes) == (len(seats), len(pending))
            assert all(each.amount > 0 for each in node.unbonding)
            times = [each.matures_unix_s for each in node.unbonding]
            assert times == sorted(times)

    @property
    def settled(self) -> bool:
        closed = sum(isinstance(each.event, events.RoundClosed) for each, _ in self.log)
        rewarded = sum(isinstance(each.event, events.Rewarded) for each, _ in self.log)
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
        ledger = Ledger(REGISTRY)
        for indexed, now_unix_s in self.log:
            ledger, _ = step(ledger, indexed, now_unix_s)
        assert ledger == self.ledger


TestHistory = History.TestCase


@given(phase=st.sampled_from(list(Phase)), seen=st.sampled_from(list(Phase)[1:]))
def test_a_late_phase_event_never_moves_a_round_back(phase: Phase, seen: Phase) -> None:
    state = replace(open_round(), phase=seen, phases=(PhaseStart(seen, 0),))
    ledger = Ledger(REGISTRY, tasks={1: task()}, rounds={(1, 1): state})
    event = events.PhaseChanged(1, 1, phase, CONTEXT, 5)
    after, announcements = step(ledger, IndexedEvent(event, 1, DIGEST, DIGEST, 0), 10)
    assert after.rounds[1, 1].phase == max(phase, seen)
    assert len(announcements) == (phase > seen)


def test_events_of_unknown_things_are_impossible() -> None:
    for event in (
        events.StakeDeposited(NODES[0], 1, 1),
        events.SlashWaived(0, NODES[0], 1),
        events.TaskFunded(1, FUNDER, 1, 1),
        events.Proposed(1, 1, NODES[0], DIGEST, DIGEST),
        events.RoundClosed(1, 1, Phase.FINAL, DIGEST),
    ):
        with pytest.raises(ImpossibleEvent):
            step(Ledger(REGISTRY), IndexedEvent(event, 1, DIGEST, DIGEST, 0), 10)


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
            contributed=draw(st.integers(min_value=0, max_value=2)),
            pause_changes=draw(st.integers(min_value=0, max_value=2)),
            is_cancelled=draw(st.booleans()),
            is_over=draw(st.booleans()),
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
        assert situation.task.may_open_rounds
        assert situation.pool_ordered == 0 or situation.is_funded
    can_pay = situation.task.rounds_requested < CONFIG.rounds
    takes_money = can_pay and not (situation.task.is_cancelled or situation.task.is_over)
    wants_money = situation.pool_ordered > 0 and not situation.is_funded and takes_money
    assert (chain.FundTask in calls) == wants_money
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
of_nonce = {
    "node": st.just(NODES[0]),
    "nonce": st.integers(min_value=0, max_value=(1 << 64) - 1),
    "expiry_unix_s": st.integers(min_value=0, max_value=(1 << 64) - 1),
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
        st.builds(Approval, **of_nonce, task=task_numbers, spec_digest=digests, policy_digest=digests),
        signatures,
    ),
    st.builds(chain.RelayRevocation, st.builds(Revocation, **of_nonce, task=task_numbers), signatures),
    st.builds(chain.RelayReturn, st.builds(Return, **of_nonce), signatures),
    st.builds(chain.RelayRotation, st.builds(Rotation, **of_nonce, signer=nodes), signatures),
    st.builds(
        chain.RelayExit,
        st.builds(Exit, **of_nonce, amount=st.integers(min_value=1, max_value=(1 << 256) - 1)),
        signatures,
    ),
    st.builds(chain.RelayMigration, st.builds(Migration, **of_nonce, successor=nodes), signatures),
)
amounts = st.integers(min_value=0, max_value=(1 << 256) - 1)
calls = messages | st.one_of(
    st.builds(chain.AdmitNode, nodes, nodes, st.integers(min_value=1, max_value=(1 << 64) - 1)),
    st.builds(chain.CreateTask, amounts.map(lambda amount: replace(CONFIG, stake_cap=amount))),
    st.builds(chain.FundTask, task_numbers, amounts),
    st.builds(chain.RequestRound, task_numbers),
    st.builds(chain.Advance, task_numbers),
    st.builds(chain.Claim, nodes),
    st.builds(chain.Withdraw, nodes),
    st.builds(chain.Refund, task_numbers, nodes),
    *(
        st.builds(call, task_numbers)
        for call in (
            chain.PauseTask,
            chain.UnpauseTask,
            chain.CancelTask,
            chain.WaiveSlash,
            chain.ExecuteSlash,
        )
    ),
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
        if isinstance(call, chain.NodeMessageCall):
            contract = "tasks" if isinstance(call, chain.TasksMessageCall) else "registry"
            return (contract, message.node, message.nonce)
        return (call_kind(call), message.task, message.node, message.round, message.context)

    assert (message_key(first) == message_key(second)) == (slot(first) == slot(second))
