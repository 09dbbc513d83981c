"""The contracts once more, in plain Python: state and refusals; the arithmetic is ``contracts.settlement``.

Written from the protocol's text for the differential test. Every method is a transaction: it either raises
``Refused`` with the name of the error and changes nothing, or does the whole step. Addresses are lower-case
0x text, digests 0x text, amounts base units, times unix seconds.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from contracts import settlement
from contracts.digests import ZERO_DIGEST
from contracts.messages import INVALID_SCORE, SCORE_LIMIT_MICRONATS, UNAVAILABLE_SCORE, Reveal
from contracts.phase import Phase
from contracts.settlement import (
    Attendance,
    AttestedAggregate,
    Fault,
    Member,
    Outcome,
    ProposalTally,
    ProposedAdapter,
    Role,
    Rules,
)

MOST_EXITS = 4
SEED_WINDOW_BLOCKS = 256
"""The EVM remembers the hashes of so many blocks."""


@dataclass(frozen=True)
class Refused(Exception):
    """The call is refused; ``name`` is the custom error's. Equal to another of the same name."""

    name: str


def require(condition: bool, error: str) -> None:
    """Refuse by the error's name unless the condition holds."""
    if not condition:
        raise Refused(error)


class Clock(Protocol):
    """The block that a call is in."""

    block: int
    time_unix_s: int

    def block_hash(self, number: int) -> str:
        """The hash of a block that the EVM still remembers."""


@dataclass(frozen=True)
class Terms:
    """What the registry fixes for ever."""

    unbonding_s: int
    appeal_s: int
    most_absences: int


@dataclass(frozen=True)
class Config:
    """A task's configuration; all four phases last equally long."""

    spec_digest: str
    genesis_digest: str
    rules: Rules
    phase_s: int


@dataclass
class Node:
    signer: str
    group: int
    admitted: bool = True
    stake: int = 0
    exits: list[tuple[int, int]] = field(default_factory=list)
    """(matures at, amount), the first to mature first."""
    open_rounds: int = 0
    pending_slashes: int = 0
    absences: int = 0


@dataclass
class Slash:
    node: str
    task: int
    round: int
    fault: Fault
    executable_at: int
    amount: int
    status: str = "pending"


@dataclass
class Seat:
    group: int
    stake: int
    adapter_digest: str | None = None
    commitment: str | None = None
    scores: tuple[int, ...] | None = None
    attested: tuple[str, int] | None = None


@dataclass
class Round:
    parent: str
    request_block: int
    reward: int
    members: tuple[tuple[str, int], ...]
    phase: Phase = Phase.REQUESTED
    deadline: int = 0
    seed: str = ZERO_DIGEST
    context: str = settlement.NO_CONTEXT
    proposers: tuple[str, ...] = ()
    voters: tuple[str, ...] = ()
    seats: dict[str, Seat] = field(default_factory=dict)
    tallies: tuple[ProposalTally, ...] = ()
    aggregate: str = ZERO_DIGEST

    @property
    def seed_block(self) -> int:
        return self.request_block + 1

    def proposals(self) -> tuple[ProposedAdapter, ...]:
        """Those that are there, ascending by node."""
        made = {node: seat.adapter_digest for node, seat in self.seats.items()}
        return tuple(
            ProposedAdapter(node, self.seats[node].group, digest)
            for node in settlement.ascending(list(made))
            if (digest := made[node]) is not None
        )

    def drawn(self, nodes: Sequence[str]) -> tuple[Member, ...]:
        return tuple(Member(node, self.seats[node].group, self.seats[node].stake) for node in nodes)

    def said(self, what: str, nodes: Sequence[str]) -> list[str]:
        """Those of the nodes whose seat has that field."""
        return [node for node in nodes if getattr(self.seats[node], what) is not None]


@dataclass
class Task:
    config: Config
    parent: str
    approved: set[str] = field(default_factory=set)
    pool: int = 0
    open_reward: int = 0
    contributed: int = 0
    refunded: int = 0
    paused: bool = False
    cancelled: bool = False
    over: bool = False
    contributions: dict[str, int] = field(default_factory=dict)
    refunds: dict[str, int] = field(default_factory=dict)
    accepted: set[str] = field(default_factory=set)
    rounds: list[Round] = field(default_factory=list)
    closed: int = 0

    @property
    def open_round(self) -> Round | None:
        return self.rounds[-1] if len(self.rounds) > self.closed else None


class Reference:
    """A consortium: registry, tasks and rounds."""

    def __init__(
        self,
        clock: Clock,
        *,
        council: str,
        terms: Terms,
        chain_id: int,
        rounds_contract: str,
        says_yes: Callable[[str], bool],
    ) -> None:
        """``says_yes`` tells whether an account is a contract that accepts any signature."""
        self.clock = clock
        self.council = council
        self.terms = terms
        self.chain_id = chain_id
        self.rounds_contract = rounds_contract
        self.says_yes = says_yes
        self.nodes: dict[str, Node] = {}
        self.slashes: list[Slash] = []
        self.tasks: dict[int, Task] = {}
        self.claimable: dict[str, int] = {}
        self.registry_nonces: dict[str, int] = {}
        self.tasks_nonces: dict[str, int] = {}
        self.paid: dict[str, int] = {}

    # --- registry: council

    def admit(self, sender: str, node: str, signer: str, group: int) -> None:
        self._require_council(sender)
        require(group != 0, "ZeroGroup")
        known = self.nodes.get(node)
        require(known is None or not known.admitted, "NodeKnown")
        if known is None:
            self.nodes[node] = Node(signer, group)
        else:
            known.signer, known.group, known.admitted = signer, group, True

    def dismiss(self, sender: str, node: str) -> None:
        self._require_council(sender)
        self._admitted(node).admitted = False

    def waive(self, sender: str, slash: int) -> None:
        self._require_council(sender)
        entry = self._pending(slash)
        require(self.now < entry.executable_at, "AppealOver")
        entry.status = "waived"
        self.nodes[entry.node].pending_slashes -= 1
        self.nodes[entry.node].stake += entry.amount

    # --- registry: stakes and keys

    def deposit(self, node: str, amount: int) -> None:
        require(amount > 0, "ZeroAmount")
        self._admitted(node).stake += amount

    def exit(self, sender: str, node: str, amount: int, nonce: int, expiry: int) -> None:
        entry = self._node(node)
        self._require_spoken(self.registry_nonces, sender, node, node, nonce, expiry)
        require(amount > 0, "ZeroAmount")
        require(amount <= entry.stake, "InsufficientStake")
        self._use_nonce(self.registry_nonces, node)
        entry.stake -= amount
        if len(entry.exits) == MOST_EXITS:
            amount += entry.exits.pop()[1]
        entry.exits.append((self.now + self.terms.unbonding_s, amount))

    def withdraw(self, node: str) -> int:
        entry = self._node(node)
        require(entry.open_rounds == 0, "InOpenRounds")
        require(entry.pending_slashes == 0, "SlashesPending")
        mature = [amount for matures_at, amount in entry.exits if matures_at <= self.now]
        require(bool(mature), "NothingMature")
        entry.exits = entry.exits[len(mature) :]
        self.paid[node] = self.paid.get(node, 0) + sum(mature)
        return sum(mature)

    def rotate(self, sender: str, node: str, signer: str, nonce: int, expiry: int) -> None:
        entry = self._node(node)
        self._require_spoken(self.registry_nonces, sender, node, node, nonce, expiry)
        self._use_nonce(self.registry_nonces, node)
        entry.signer = signer

    def come_back(self, sender: str, node: str, nonce: int, expiry: int) -> None:
        entry = self._admitted(node)
        self._require_spoken(self.registry_nonces, sender, node, entry.signer, nonce, expiry)
        self._use_nonce(self.registry_nonces, node)
        entry.absences = 0

    def execute(self, slash: int) -> None:
        entry = self._pending(slash)
        require(self.now >= entry.executable_at, "AppealOpen")
        entry.status = "executed"
        self.nodes[entry.node].pending_slashes -= 1
        self.tasks[entry.task].pool += entry.amount

    def eligible_stake(self, node: str) -> int:
        entry = self.nodes.get(node)
        if entry is None or not entry.admitted or entry.absences >= self.terms.most_absences:
            return 0
        return entry.stake

    # --- tasks

    def create_task(self, sender: str, config: Config) -> int:
        self._require_council(sender)
        # A request waits for its draw as long as Training lasts at most.
        require(5 * config.phase_s + self.terms.appeal_s <= self.terms.unbonding_s, "InvalidConfig")
        number = len(self.tasks) + 1
        self.tasks[number] = Task(config, config.genesis_digest)
        return number

    def approve(self, sender: str, node: str, task: int, spec_digest: str, nonce: int, expiry: int) -> None:
        state = self._task(task)
        require(spec_digest == state.config.spec_digest, "WrongSpecDigest")
        self._require_spoken(self.tasks_nonces, sender, node, self._node(node).signer, nonce, expiry)
        self._use_nonce(self.tasks_nonces, node)
        state.approved.add(node)

    def revoke(self, sender: str, node: str, task: int, nonce: int, expiry: int) -> None:
        state = self._task(task)
        self._require_spoken(self.tasks_nonces, sender, node, self._node(node).signer, nonce, expiry)
        require(node in state.approved, "NotApproved")
        self._use_nonce(self.tasks_nonces, node)
        state.approved.remove(node)

    def fund(self, sender: str, task: int, amount: int) -> None:
        require(amount > 0, "ZeroAmount")
        state = self._running(task)
        require(not state.cancelled, "TaskOver")
        require(len(state.rounds) < state.config.rules.rounds, "NoRoundsLeft")
        state.contributed += amount
        state.contributions[sender] = state.contributions.get(sender, 0) + amount
        state.pool += amount

    def top_up(self, task: int, amount: int) -> None:
        self._task(task).pool += amount

    def pause(self, sender: str, task: int) -> None:
        self._require_council(sender)
        state = self._running(task)
        require(not state.paused, "TaskPaused")
        state.paused = True
        if state.open_round is not None:
            self._close(task, Outcome.ABORTED, Phase.REQUESTED)

    def unpause(self, sender: str, task: int) -> None:
        self._require_council(sender)
        state = self._running(task)
        require(state.paused, "TaskNotPaused")
        state.paused = False

    def cancel(self, sender: str, task: int) -> None:
        self._require_council(sender)
        state = self._running(task)
        require(not state.cancelled, "TaskOver")
        state.cancelled = True
        state.over = state.open_round is None

    def claim(self, node: str) -> int:
        require(self.claimable.get(node, 0) > 0, "NothingToClaim")
        amount = self.claimable.pop(node)
        self.paid[node] = self.paid.get(node, 0) + amount
        return amount

    def refundable(self, task: int, funder: str) -> int:
        state = self.tasks[task]
        contribution = state.contributions.get(funder, 0)
        if not state.over or not contribution:
            return 0
        whole = (state.pool + state.refunded) * contribution // state.contributed
        return whole - state.refunds.get(funder, 0)

    def refund(self, task: int, funder: str) -> int:
        state = self._task(task)
        require(state.over, "TaskNotOver")
        amount = self.refundable(task, funder)
        require(amount > 0, "NothingToRefund")
        state.refunds[funder] = state.refunds.get(funder, 0) + amount
        state.refunded += amount
        state.pool -= amount
        self.paid[funder] = self.paid.get(funder, 0) + amount
        return amount

    # --- rounds: the machine

    def request_round(self, task: int) -> int:
        state = self._task(task)
        rules = state.config.rules
        require(state.open_round is None, "RoundOpen")
        require(len(state.rounds) < rules.rounds, "NoRoundsLeft")
        stakes = {node: self.eligible_stake(node) for node in state.approved}
        eligible = settlement.ascending([node for node, stake in stakes.items() if stake])
        require(len(eligible) >= max(rules.proposers, rules.voters), "NotEnoughEligible")
        require(not state.over and not state.cancelled, "TaskOver")
        require(not state.paused, "TaskPaused")
        reward = settlement.round_reward(state.pool, len(state.rounds), rules)
        state.pool -= reward
        state.open_reward = reward
        members = tuple((node, settlement.frozen_stake(stakes[node], rules)) for node in eligible)
        state.rounds.append(
            Round(state.parent, self.clock.block, reward, members, deadline=self.now + state.config.phase_s)
        )
        return len(state.rounds)

    def is_due(self, task: int) -> bool:
        state = self.tasks.get(task)
        round_ = state.open_round if state else None
        if round_ is None:
            return False
        if self.now > round_.deadline:
            return True
        if round_.phase is Phase.REQUESTED:
            return self.clock.block > round_.seed_block
        counts = {
            Phase.TRAINING: ("adapter_digest", round_.proposers, len(round_.proposers)),
            Phase.COMMITTING: ("commitment", round_.voters, len(round_.voters)),
            Phase.REVEALING: ("scores", round_.voters, len(round_.said("commitment", round_.voters))),
            Phase.ATTESTING: ("attested", round_.voters, len(round_.voters)),
        }
        what, nodes, expected = counts[round_.phase]
        return len(round_.said(what, nodes)) == expected

    def advance(self, task: int) -> Phase:
        state = self.tasks.get(task)
        round_ = state.open_round if state else None
        if state is None or round_ is None:
            raise Refused("NoOpenRound")
        require(self.is_due(task), "NotDue")
        match round_.phase:
            case Phase.REQUESTED:
                self._end_requested(task, state, round_)
            case Phase.TRAINING:
                self._end_training(task, state, round_)
            case Phase.COMMITTING:
                self._end_committing(task, state, round_)
            case Phase.REVEALING:
                self._end_revealing(task, state, round_)
            case _:
                self._end_attesting(task, state, round_)
        return round_.phase

    def _end_requested(self, task: int, state: Task, round_: Round) -> None:
        is_lost = self.clock.block - round_.seed_block > SEED_WINDOW_BLOCKS
        if is_lost or self.now > round_.deadline:
            self._close(task, Outcome.ABORTED, Phase.REQUESTED)
            return
        rules = state.config.rules
        eligible = [node for node, _ in round_.members]
        round_.seed = self.clock.block_hash(round_.seed_block)
        round_.proposers = settlement.draw(round_.seed, Role.PROPOSER, eligible, rules.proposers)
        round_.voters = settlement.draw(round_.seed, Role.VOTER, eligible, rules.voters)
        stakes = dict(round_.members)
        for node in {*round_.proposers, *round_.voters}:
            self.nodes[node].open_rounds += 1
            round_.seats[node] = Seat(self.nodes[node].group, stakes[node])
        round_.context = settlement.training_context(
            chain_id=self.chain_id,
            rounds_contract=self.rounds_contract,
            task=task,
            round_number=len(state.rounds),
            parent_digest=round_.parent,
            seed=round_.seed,
            proposers=round_.proposers,
            voters=round_.voters,
        )
        self._enter(state, round_, Phase.TRAINING)

    def _end_training(self, task: int, state: Task, round_: Round) -> None:
        proposals = round_.proposals()
        if len(proposals) < state.config.rules.min_proposals:
            self._close(task, Outcome.ABORTED, Phase.TRAINING)
            return
        round_.context = settlement.committing_context(round_.context, proposals)
        self._enter(state, round_, Phase.COMMITTING)

    def _end_committing(self, task: int, state: Task, round_: Round) -> None:
        if len(round_.said("commitment", round_.voters)) < state.config.rules.min_reveals:
            self._close(task, Outcome.ABORTED, Phase.COMMITTING)
            return
        self._enter(state, round_, Phase.REVEALING)

    def _end_revealing(self, task: int, state: Task, round_: Round) -> None:
        scores = self._scores(round_)
        if len(scores) < state.config.rules.min_reveals:
            self._close(task, Outcome.ABORTED, Phase.REVEALING)
            return
        round_.tallies = settlement.tally(
            round_.proposals(), round_.drawn(round_.voters), scores, state.config.rules
        )
        if not any(tally.accepted for tally in round_.tallies):
            self._close(task, Outcome.REJECTED, Phase.REVEALING)
            return
        round_.context = settlement.attesting_context(round_.context, round_.tallies)
        self._enter(state, round_, Phase.ATTESTING)

    def _end_attesting(self, task: int, state: Task, round_: Round) -> None:
        attested = [
            AttestedAggregate(node, *seat.attested)
            for node, seat in round_.seats.items()
            if seat.attested is not None
        ]
        result = settlement.attestation_result(attested, round_.drawn(round_.voters), state.config.rules)
        if not result.carries or result.digest is None:
            self._close(task, Outcome.REJECTED, Phase.ATTESTING)
            return
        round_.aggregate = state.parent = result.digest
        digests = {proposal.node: proposal.digest for proposal in round_.proposals()}
        state.accepted |= {digests[tally.node] for tally in round_.tallies if tally.accepted}
        self._close(task, Outcome.FINAL, Phase.ATTESTING)

    def _enter(self, state: Task, round_: Round, phase: Phase) -> None:
        round_.phase = phase
        round_.deadline = self.now + state.config.phase_s

    def _close(self, task: int, outcome: Outcome, last_phase: Phase) -> None:
        state = self.tasks[task]
        round_ = state.rounds[-1]
        rules = state.config.rules
        round_.phase, round_.deadline = Phase(outcome), 0
        state.closed += 1
        voters = round_.drawn(round_.voters)
        for conduct in settlement.conducts(
            last_phase=last_phase,
            proposers=round_.drawn(round_.proposers),
            voters=voters,
            proposed=round_.said("adapter_digest", round_.proposers),
            committed=round_.said("commitment", round_.voters),
            revealed=round_.said("scores", round_.voters),
            tallies=round_.tallies,
            rules=rules,
        ):
            self._free_seat(task, len(state.rounds), conduct)
        rewards = settlement.rewards(
            round_.reward,
            outcome,
            round_.proposals(),
            voters,
            self._scores(round_),
            round_.tallies,
            rules,
            attested=[
                node
                for node, seat in round_.seats.items()
                if seat.attested is not None and seat.attested[0] == round_.aggregate
            ],
        )
        for node, amount in rewards.amounts:
            self.claimable[node] = self.claimable.get(node, 0) + amount
        state.open_reward = 0
        state.pool += rewards.returned
        state.over = state.cancelled or state.closed == rules.rounds

    def _free_seat(self, task: int, round_number: int, conduct: settlement.Conduct) -> None:
        node = self.nodes[conduct.node]
        node.open_rounds -= 1
        if conduct.attendance is Attendance.ATTENDED:
            node.absences = 0
        elif conduct.attendance is Attendance.ABSENT:
            node.absences += 1
        if conduct.fault is Fault.NONE:
            return
        from_stake = min(conduct.slash, node.stake)
        node.stake -= from_stake
        amount = from_stake
        missing = conduct.slash - from_stake
        while missing and node.exits:
            matures_at, last = node.exits.pop()
            if last > missing:
                node.exits.append((matures_at, last - missing))
                last = missing
            amount += last
            missing -= last
        node.pending_slashes += 1
        executable_at = self.now + self.terms.appeal_s
        self.slashes.append(Slash(conduct.node, task, round_number, conduct.fault, executable_at, amount))

    # --- rounds: messages

    def propose(
        self, sender: str, node: str, task: int, number: int, context: str, parent: str, digest: str
    ) -> None:
        round_ = self._require_open(task, number, Phase.TRAINING, context)
        require(parent == round_.parent, "WrongParent")
        require(node in round_.proposers, "NotDrawn")
        seat = round_.seats[node]
        require(seat.adapter_digest is None, "AlreadySent")
        require(digest != ZERO_DIGEST, "ZeroDigest")
        require(digest != round_.parent, "RepeatsParent")
        require(digest not in self.tasks[task].accepted, "RepeatsAccepted")
        self._require_signed(sender, self.nodes[node].signer)
        seat.adapter_digest = digest

    def commit(self, sender: str, node: str, task: int, number: int, context: str, commitment: str) -> None:
        round_ = self._require_open(task, number, Phase.COMMITTING, context)
        require(commitment != ZERO_DIGEST, "ZeroDigest")
        require(node in round_.voters, "NotDrawn")
        seat = round_.seats[node]
        require(seat.commitment is None, "AlreadySent")
        self._require_signed(sender, self.nodes[node].signer)
        seat.commitment = commitment

    def reveal(self, message: Reveal, scores: tuple[int, ...]) -> None:
        """``scores`` may be any; the message's own type refuses bad ones, so they come beside it."""
        round_ = self._require_open(message.task, message.round, Phase.REVEALING, message.context)
        node = message.node.lower()
        require(node in round_.voters, "NotDrawn")
        seat = round_.seats[node]
        require(seat.commitment is not None, "NotCommitted")
        require(seat.scores is None, "AlreadySent")
        commitment = message.model_copy(update={"scores_micronats": scores}).commitment
        require(commitment == seat.commitment, "WrongCommitment")
        require(len(scores) == len(round_.proposals()), "WrongScoreCount")
        require(all(_is_score(score) for score in scores), "ScoreOutOfRange")
        seat.scores = scores

    def attest(
        self, sender: str, node: str, task: int, number: int, context: str, digest: str, score: int
    ) -> None:
        round_ = self._require_open(task, number, Phase.ATTESTING, context)
        require(digest != ZERO_DIGEST, "ZeroDigest")
        require(abs(score) <= SCORE_LIMIT_MICRONATS, "ScoreOutOfRange")
        require(node in round_.voters, "NotDrawn")
        seat = round_.seats[node]
        require(seat.attested is None, "AlreadySent")
        self._require_signed(sender, self.nodes[node].signer)
        seat.attested = (digest, score)

    # --- checks and reads

    @property
    def now(self) -> int:
        return self.clock.time_unix_s

    @property
    def registry_owed(self) -> int:
        held = sum(node.stake + sum(amount for _, amount in node.exits) for node in self.nodes.values())
        return held + sum(slash.amount for slash in self.slashes if slash.status == "pending")

    @property
    def tasks_owed(self) -> int:
        pools = sum(task.pool + task.open_reward for task in self.tasks.values())
        return pools + sum(self.claimable.values())

    def _require_council(self, sender: str) -> None:
        require(sender == self.council, "OwnableUnauthorizedAccount")

    def _node(self, node: str) -> Node:
        require(node in self.nodes, "NodeUnknown")
        return self.nodes[node]

    def _admitted(self, node: str) -> Node:
        require(self._node(node).admitted, "NodeDismissed")
        return self.nodes[node]

    def _pending(self, slash: int) -> Slash:
        require(slash < len(self.slashes), "SlashUnknown")
        require(self.slashes[slash].status == "pending", "SlashSettled")
        return self.slashes[slash]

    def _task(self, task: int) -> Task:
        require(task in self.tasks, "TaskUnknown")
        return self.tasks[task]

    def _running(self, task: int) -> Task:
        require(not self._task(task).over, "TaskOver")
        return self.tasks[task]

    def _scores(self, round_: Round) -> Mapping[str, tuple[int, ...]]:
        return {node: seat.scores for node, seat in round_.seats.items() if seat.scores is not None}

    def _require_open(self, task: int, number: int, phase: Phase, context: str) -> Round:
        state = self.tasks.get(task)
        exists = state is not None and 1 <= number <= len(state.rounds)
        require(exists, "WrongPhase")
        assert state is not None
        round_ = state.rounds[number - 1]
        require(round_.phase is phase, "WrongPhase")
        require(self.now <= round_.deadline, "DeadlinePassed")
        require(context == round_.context, "WrongContext")
        return round_

    def _require_signed(self, sender: str, speaker: str) -> None:
        require(sender == speaker or self.says_yes(speaker), "WrongSignature")

    def _require_spoken(
        self, nonces: dict[str, int], sender: str, node: str, speaker: str, nonce: int, expiry: int
    ) -> None:
        require(self.now <= expiry, "Expired")
        require(sender == speaker or nonce == nonces.get(node, 0), "InvalidAccountNonce")
        self._require_signed(sender, speaker)

    def _use_nonce(self, nonces: dict[str, int], node: str) -> None:
        nonces[node] = nonces.get(node, 0) + 1


def _is_score(score: int) -> bool:
    return score in (INVALID_SCORE, UNAVAILABLE_SCORE) or abs(score) <= SCORE_LIMIT_MICRONATS
