"""A chain in memory behind the domain's ports: blocks, nonces, a pool, reorganisations.

Its contracts keep what the control plane can tell apart: who is admitted, nonces, stakes, slashes, tasks,
pools, phases, who has sent what. They draw the first nodes by address, accept what nobody calls
INVALID, take every fault for its part of the stake, and check no signature (the API does).
Blocks are made by ``mine`` alone, so a test decides what happens between two steps.
"""

import copy
import hashlib
import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from contracts import events
from contracts.events import Event
from contracts.messages import INVALID_SCORE
from contracts.phase import Phase
from contracts.settlement import (
    Attendance,
    Fault,
    Member,
    ProposalTally,
    Standing,
    conducts,
)
from contracts.task_config import TaskConfig
from contracts.unbonding import UnbondingEntry, total, with_exit
from orchestrator.domain import chain
from orchestrator.domain.chain import (
    Block,
    Call,
    CallRefused,
    ChainError,
    FeeMarket,
    Fees,
    IndexedEvent,
    NonceUsed,
    Receipt,
    SignedBatch,
    SignedTransaction,
    StakeTerms,
)
from orchestrator.domain.outbox import call_kind, decode_call, encode_call

FIRST_BLOCK_UNIX_S = 1_800_000_000
BLOCK_S = 1
SEED = "0x" + "5e" * 32
TERMS = StakeTerms(unbonding_s=2_000, appeal_s=300, most_absences=2)
FUNDER = "0x" + "C0" * 20
GAS = 21_000
TIP_WEI = 8
MOST_IN_A_BATCH = 3

_NEXT = {
    Phase.TRAINING: Phase.COMMITTING,
    Phase.COMMITTING: Phase.REVEALING,
    Phase.REVEALING: Phase.ATTESTING,
}


@dataclass
class _Round:
    """A round's state."""

    phase: Phase
    parent_digest: str
    reward: int
    seed_block: int
    eligible: list[str]
    phases: list[Phase] = field(default_factory=lambda: [Phase.REQUESTED])
    context: str = "0x" + "00" * 16
    deadline_unix_s: int = 0
    proposers: list[str] = field(default_factory=list)
    voters: list[str] = field(default_factory=list)
    proposals: dict[str, str] = field(default_factory=dict)
    commits: dict[str, str] = field(default_factory=dict)
    reveals: dict[str, tuple[int, ...]] = field(default_factory=dict)
    attestations: dict[str, tuple[str, int]] = field(default_factory=dict)


@dataclass
class _Task:
    """A task's state."""

    config: TaskConfig
    parent_digest: str
    pool: int = 0
    is_paused: bool = False
    is_cancelled: bool = False
    is_over: bool = False
    approved: list[str] = field(default_factory=list)
    rounds: list[_Round] = field(default_factory=list)


@dataclass
class NodeOnDouble:
    """A node's state."""

    signer: str
    group: int
    stake: int = 0
    unbonding: tuple[UnbondingEntry, ...] = ()
    open_rounds: int = 0
    pending_slashes: int = 0
    absences: int = 0
    claimable: int = 0


@dataclass
class _Slash:
    """A slash's state."""

    node: str
    task: int
    amount: int
    executable_unix_s: int
    is_pending: bool = True


@dataclass
class _State:
    """Everything that a block changes."""

    nonces: dict[str, int] = field(default_factory=dict)
    nodes: dict[str, NodeOnDouble] = field(default_factory=dict)
    slashes: list[_Slash] = field(default_factory=list)
    message_nonces: dict[tuple[str, str], int] = field(default_factory=dict)
    tasks: dict[int, _Task] = field(default_factory=dict)
    anchored: list[chain.AnchorEpoch] = field(default_factory=list)


@dataclass(frozen=True)
class _Mined:
    """A block with what it did, and the state after it."""

    block: Block
    events: tuple[IndexedEvent, ...]
    receipts: tuple[Receipt, ...]
    state: _State


class ChainDouble:
    """The chain itself, and its ``ChainReader``."""

    def __init__(self) -> None:
        self._pool: dict[tuple[str, int], SignedTransaction] = {}
        self._fork = 0
        genesis = Block(0, _digest("genesis"), _digest("nothing"), FIRST_BLOCK_UNIX_S)
        self._blocks = [_Mined(genesis, (), (), _State())]
        self._signed = 0
        self.broken = False
        """Whether every request fails, as with a node that is down."""
        self.refuses_tasks = False
        """Whether the council's account may create no task."""
        self.base_fee_wei = 100
        """What the next blocks ask for a unit of gas."""
        self.starves_batches = False
        """Whether the last call of a batch runs out of gas."""

    # --- the reader

    def head(self) -> Block:
        """The newest block."""
        self._require_up()
        return self._blocks[-1].block

    def block(self, number: int) -> Block:
        """The block at a height."""
        self._require_up()
        if not 0 <= number < len(self._blocks):
            raise ChainError(f"block {number} is not known")
        return self._blocks[number].block

    def blocks(self, first_block: int, last_block: int) -> Sequence[Block]:
        """The blocks of a range."""
        return [self.block(number) for number in range(first_block, last_block + 1)]

    def events(self, first_block: int, last_block: int) -> Sequence[IndexedEvent]:
        """All events of a range of blocks, in their order."""
        self._require_up()
        if last_block >= len(self._blocks):
            raise ChainError(f"block {last_block} is not known")
        return [event for mined in self._blocks[first_block : last_block + 1] for event in mined.events]

    def is_due(self, task: int) -> bool:
        """Whether ``advance`` would move the task's open round in the next block."""
        self._require_up()
        try:
            self._pending().execute(chain.Advance(task))
        except CallRefused:
            return False
        return True

    def stake_terms(self) -> StakeTerms:
        """What the registry fixes for ever."""
        self._require_up()
        return TERMS

    # --- what a test does

    @property
    def state(self) -> _State:
        """The state after the newest block."""
        return self._blocks[-1].state

    @property
    def pool_size(self) -> int:
        """How many transactions wait."""
        return len(self._pool)

    @property
    def all_events(self) -> list[Event]:
        """Every event of the chain as it is."""
        return [indexed.event for mined in self._blocks for indexed in mined.events]

    def mine(self, blocks: int = 1, seconds: int = BLOCK_S) -> None:
        """Make blocks; transactions of the pool go into the first."""
        for _ in range(blocks):
            self._mine(seconds)

    def reorganise(self, depth: int) -> None:
        """Replace the newest blocks by empty ones, and forget their transactions."""
        del self._blocks[-depth:]
        self._fork += 1
        self._pool.clear()
        self.mine(depth + 1)

    def restore(self, depth: int) -> None:
        """Go back to an earlier height, as a chain from a backup does."""
        del self._blocks[-depth:]
        self._fork += 1
        self._pool.clear()

    def forget_pool(self) -> None:
        """Lose the transactions that wait, as a node that restarts does."""
        self._pool.clear()

    def stake(self, node: str, amount: int) -> None:
        """Give an admitted node a stake, in a block of its own."""
        self._mine(BLOCK_S, extra=lambda contracts: contracts.stake(node, amount))

    def use_nonce(self, sender: str) -> None:
        """Another program sends a transaction from an account."""
        self._blocks[-1].state.nonces[sender] = self.next_nonce(sender) + 1

    # --- what lanes need

    def next_nonce(self, sender: str) -> int:
        """The account's nonce counting mined transactions."""
        self._require_up()
        return self.state.nonces.get(sender, 0)

    def nonce_at(self, sender: str, block_number: int) -> int:
        """The account's next nonce as of the end of a block."""
        self._require_up()
        return self._blocks[block_number].state.nonces.get(sender, 0)

    def knows(self, transaction: str) -> bool:
        """Whether a transaction waits or is mined."""
        waits = any(each.hash == transaction for each in self._pool.values())
        return waits or self.receipt(transaction) is not None

    def sign(self, sender: str, call: Call, nonce: int) -> SignedTransaction:
        """Sign a call that the pending state takes."""
        self._require_up()
        self._pending().execute(call)
        return self._sign(sender, [call], nonce)

    def sign_batch(self, sender: str, calls: Sequence[chain.RoundMessageCall], nonce: int) -> SignedBatch:
        """Sign a transaction of those calls that the pending state takes, as many as fit."""
        self._require_up()
        refused = {}
        for place, call in enumerate(calls):
            try:
                self._pending().execute(call)
            except CallRefused as error:
                refused[place] = error.reason
        taken = [place for place in range(len(calls)) if place not in refused][:MOST_IN_A_BATCH]
        if not taken:
            return SignedBatch(None, (), refused)
        transaction = self._sign(sender, [calls[place] for place in taken], nonce)
        return SignedBatch(transaction, tuple(taken), refused)

    def _sign(self, sender: str, calls: Sequence[Call], nonce: int) -> SignedTransaction:
        # As with real fees, signing the same call again gives other bytes.
        self._signed += 1
        written = [{"kind": call_kind(call), "call": encode_call(call)} for call in calls]
        fields = {"from": sender, "nonce": nonce, "signed": self._signed, "calls": written}
        return self._priced(fields, Fees(2 * self.base_fee_wei + TIP_WEI, TIP_WEI))

    def _priced(self, fields: dict[str, Any], fees: Fees) -> SignedTransaction:
        raw = json.dumps({**fields, "most_wei": fees.most_wei, "tip_wei": fees.tip_wei}).encode()
        return SignedTransaction(_digest(raw.hex()), raw, fields["nonce"], fees)

    def market(self) -> FeeMarket:
        """What the next block asks for a unit of gas."""
        self._require_up()
        return FeeMarket(self.base_fee_wei, TIP_WEI)

    def replacement(self, transaction: SignedTransaction, fees: Fees) -> SignedTransaction:
        """The same transaction with other fees."""
        return self._priced(json.loads(transaction.raw), fees)

    def broadcast(self, sender: str, transaction: SignedTransaction) -> None:
        """Take a transaction into the pool."""
        if self.receipt(transaction.hash) is not None:
            return
        if transaction.nonce < self.next_nonce(sender):
            raise NonceUsed(f"nonce {transaction.nonce} is used")
        known = self._pool.get((sender, transaction.nonce), transaction)
        if known != transaction and not _may_replace(transaction.fees, known.fees):
            raise ChainError("replacement transaction underpriced")
        self._pool[sender, transaction.nonce] = transaction

    def receipt(self, transaction_hash: str) -> Receipt | None:
        """The receipt of a mined transaction."""
        self._require_up()
        receipts = (receipt for mined in self._blocks for receipt in mined.receipts)
        return next((each for each in receipts if each.transaction_hash == transaction_hash), None)

    # --- inside

    def _require_up(self) -> None:
        if self.broken:
            raise ChainError("the node is down")

    def _pending(self) -> "_Contracts":
        """The state as the next block would find it, the pool included."""
        contracts = _Contracts(
            copy.deepcopy(self.state),
            len(self._blocks),
            self._next_time(BLOCK_S),
            self.refuses_tasks,
            self.starves_batches,
        )
        for transaction in self._mineable():
            contracts.try_execute(transaction)
        return contracts

    def _next_time(self, seconds: int) -> int:
        return self._blocks[-1].block.timestamp_unix_s + seconds

    def _mineable(self) -> list[SignedTransaction]:
        """Transactions whose nonces follow without a gap."""
        nonces = dict(self.state.nonces)
        ordered = []
        for (sender, nonce), transaction in sorted(self._pool.items()):
            is_paid = transaction.fees.most_wei >= self.base_fee_wei
            if is_paid and nonce == nonces.get(sender, 0):
                nonces[sender] = nonce + 1
                ordered.append(transaction)
        return ordered

    def _mine(self, seconds: int, extra: Callable[["_Contracts"], list[Event]] | None = None) -> None:
        number, parent = len(self._blocks), self._blocks[-1].block
        block_hash = _digest(f"{number} {self._fork} {parent.hash}")
        block = Block(number, block_hash, parent.hash, parent.timestamp_unix_s + seconds)
        contracts = _Contracts(
            copy.deepcopy(self.state),
            number,
            block.timestamp_unix_s,
            self.refuses_tasks,
            self.starves_batches,
        )
        events: list[tuple[Event, str]] = []
        if extra is not None:
            events += [(event, _digest(f"extra {number}")) for event in extra(contracts)]
        receipts = []
        for transaction in self._mineable():
            sender = json.loads(transaction.raw)["from"]
            del self._pool[sender, transaction.nonce]
            contracts.state.nonces[sender] = transaction.nonce + 1
            made, skipped = contracts.try_execute(transaction)
            fate = (made is not None, GAS * max(1, len(json.loads(transaction.raw)["calls"])), skipped)
            receipts.append(Receipt(transaction.hash, number, block_hash, *fate))
            events += [(event, transaction.hash) for event in made or []]
        indexed = tuple(
            IndexedEvent(event, number, block_hash, transaction_hash, index)
            for index, (event, transaction_hash) in enumerate(events)
        )
        self._blocks.append(_Mined(block, indexed, tuple(receipts), contracts.state))


@dataclass(frozen=True)
class LaneDouble:
    """``TransactionLane`` of one account."""

    chain: ChainDouble
    sender: str

    def next_nonce(self) -> int:
        """The account's nonce counting mined transactions."""
        return self.chain.next_nonce(self.sender)

    def nonce_at(self, block_number: int) -> int:
        """The account's next nonce as of the end of a block."""
        return self.chain.nonce_at(self.sender, block_number)

    def knows(self, transaction_hash: str) -> bool:
        """Whether the chain has the transaction."""
        return self.chain.knows(transaction_hash)

    def sign(self, call: Call, nonce: int) -> SignedTransaction:
        """Sign a call that the pending state takes."""
        return self.chain.sign(self.sender, call, nonce)

    def sign_batch(self, calls: Sequence[chain.RoundMessageCall], nonce: int) -> SignedBatch:
        """Sign those calls that the pending state takes, in one transaction."""
        return self.chain.sign_batch(self.sender, calls, nonce)

    def market(self) -> FeeMarket:
        """What the next block asks for a unit of gas."""
        return self.chain.market()

    def replacement(self, transaction: SignedTransaction, fees: Fees) -> SignedTransaction:
        """The same transaction with other fees."""
        return self.chain.replacement(transaction, fees)

    def broadcast(self, transaction: SignedTransaction) -> None:
        """Hand a transaction to the pool; again, it is harmless."""
        self.chain.broadcast(self.sender, transaction)

    def receipt(self, transaction_hash: str) -> Receipt | None:
        """The receipt, once mined."""
        return self.chain.receipt(transaction_hash)


@dataclass(frozen=True)
class LanesDouble:
    """``Lanes``: the council's account and a relayer's."""

    council: LaneDouble
    relayer: LaneDouble

    @classmethod
    def of(cls, chain_double: ChainDouble) -> "LanesDouble":
        """Two accounts of a chain."""
        return cls(LaneDouble(chain_double, "0x" + "c0" * 20), LaneDouble(chain_double, "0x" + "7e" * 20))

    def for_call(self, call: Call) -> LaneDouble:
        """The account that sends such a call."""
        return self.council if isinstance(call, chain.CouncilCall) else self.relayer


@dataclass
class _Contracts:
    """The contracts, at work in one block."""

    state: _State
    number: int
    now_unix_s: int
    refuses_tasks: bool
    starves_batches: bool

    def try_execute(self, transaction: SignedTransaction) -> tuple[list[Event] | None, dict[int, str]]:
        """The events of a transaction, None when it reverts, and what a batch skipped."""
        calls = [decode_call(each["kind"], each["call"]) for each in json.loads(transaction.raw)["calls"]]
        made: list[Event] = []
        skipped: dict[int, str] = {}
        for place, call in enumerate(calls):
            try:
                _require(not self.starves_batches or place == 0 or place + 1 < len(calls), "")
                made += self.execute(call)
            except CallRefused as error:
                if len(calls) == 1:
                    return None, {}
                skipped[place] = error.reason
                made.append(events.RelaySkipped(place, _digest(str(place)), _digest(error.reason)[:10]))
        return made, skipped

    def execute(self, call: Call) -> list[Event]:
        """The events of a call. Raises CallRefused, and then nothing is changed."""
        nonces = dict(self.state.message_nonces)
        try:
            return self._execute(call)
        except CallRefused:
            self.state.message_nonces = nonces
            raise

    def _execute(self, call: Call) -> list[Event]:
        """The same; what it refuses has used up its nonce."""
        match call:
            case chain.AdmitNode(node, signer, group):
                _require(node not in self.state.nodes, "NodeKnown")
                self.state.nodes[node] = NodeOnDouble(signer, group)
                return [events.NodeAdmitted(node, signer, group)]
            case chain.AnchorEpoch(_, first, last):
                behind = self.state.anchored[-1].last + 1 if self.state.anchored else first
                _require(first == behind and 0 < first <= last, "RowsOutOfOrder")
                self.state.anchored.append(call)
                return []
            case chain.CreateTask(config):
                _require(not self.refuses_tasks, "InvalidConfig")
                number = len(self.state.tasks) + 1
                self.state.tasks[number] = _Task(config, config.genesis_digest)
                return [events.TaskCreated(number, config.spec_digest, config)]
            case chain.FundTask(task, amount):
                state = self._running(task)
                _require(not state.is_cancelled, "TaskOver")
                _require(len(state.rounds) < state.config.rounds, "NoRoundsLeft")
                state.pool += amount
                return [events.TaskFunded(task, FUNDER, amount, state.pool)]
            case chain.PauseTask() | chain.UnpauseTask() | chain.CancelTask() | chain.Refund():
                return self._of_council(call)
            case chain.WaiveSlash(slash) | chain.ExecuteSlash(slash):
                return self._slash(slash, waived=isinstance(call, chain.WaiveSlash))
            case chain.RelayApproval(message=approval):
                task = self._task(approval.task)
                self._use_nonce("tasks", approval.node, approval.nonce)
                task.approved.append(approval.node)
                return [events.Approved(approval.task, approval.node, approval.policy_digest)]
            case chain.RelayRevocation(message=revocation):
                self._use_nonce("tasks", revocation.node, revocation.nonce)
                _require(revocation.node in self._task(revocation.task).approved, "NotApproved")
                self._task(revocation.task).approved.remove(revocation.node)
                return [events.Revoked(revocation.task, revocation.node)]
            case chain.RelayReturn() | chain.RelayRotation() | chain.RelayExit() | chain.RelayMigration():
                return self._of_registry(call)
            case chain.Withdraw(node):
                return [events.Withdrawn(node, self._take_mature(node))]
            case chain.Claim(node):
                state_of_node = self._node(node)
                _require(state_of_node.claimable > 0, "NothingToClaim")
                amount, state_of_node.claimable = state_of_node.claimable, 0
                return [events.Claimed(node, amount)]
            case chain.RequestRound(task):
                return self._request(task)
            case chain.Advance(task):
                return self._advance(task)
            case _:
                return self._message(call)

    def stake(self, node: str, amount: int) -> list[Event]:
        """Give a node a stake."""
        state = self._node(node)
        state.stake += amount
        return [events.StakeDeposited(node, amount, state.stake)]

    def _node(self, node: str) -> NodeOnDouble:
        _require(node in self.state.nodes, "NodeUnknown")
        return self.state.nodes[node]

    def _use_nonce(self, contract: str, node: str, nonce: int) -> None:
        self._node(node)
        _require(nonce == self.state.message_nonces.get((contract, node), 0), "InvalidAccountNonce")
        self.state.message_nonces[contract, node] = nonce + 1

    def _of_registry(
        self, call: chain.RelayReturn | chain.RelayRotation | chain.RelayExit | chain.RelayMigration
    ) -> list[Event]:
        message = call.message
        self._use_nonce("registry", message.node, message.nonce)
        node = self._node(message.node)
        match call:
            case chain.RelayReturn():
                node.absences = 0
                return [events.NodeReturned(message.node)]
            case chain.RelayRotation(message=rotation):
                node.signer = rotation.signer
                return [events.SignerRotated(message.node, rotation.signer)]
            case chain.RelayExit(message=leaving):
                _require(leaving.amount <= node.stake, "InsufficientStake")
                matures_unix_s = self.now_unix_s + TERMS.unbonding_s
                node.stake -= leaving.amount
                node.unbonding = with_exit(node.unbonding, UnbondingEntry(matures_unix_s, leaving.amount))
                return [events.ExitRequested(message.node, leaving.amount, matures_unix_s, node.stake)]
            case chain.RelayMigration(message=migration):
                amount = self._take_mature(message.node)
                return [events.Migrated(message.node, migration.successor, amount)]

    def _take_mature(self, address: str) -> int:
        node = self._node(address)
        _require(node.open_rounds == 0, "InOpenRounds")
        _require(node.pending_slashes == 0, "SlashesPending")
        left = tuple(each for each in node.unbonding if each.matures_unix_s > self.now_unix_s)
        amount = total(node.unbonding) - total(left)
        _require(amount > 0, "NothingMature")
        node.unbonding = left
        return amount

    def _slash(self, number: int, *, waived: bool) -> list[Event]:
        _require(number < len(self.state.slashes), "SlashUnknown")
        slash = self.state.slashes[number]
        _require(slash.is_pending, "SlashSettled")
        node, task = self._node(slash.node), self._task(slash.task)
        if waived:
            _require(self.now_unix_s < slash.executable_unix_s, "AppealOver")
            node.stake += slash.amount
        else:
            _require(self.now_unix_s >= slash.executable_unix_s, "AppealOpen")
            task.pool += slash.amount
        slash.is_pending = False
        node.pending_slashes -= 1
        if waived:
            return [events.SlashWaived(number, slash.node, node.stake)]
        return [
            events.SlashExecuted(number, slash.node, slash.task, slash.amount),
            events.TaskToppedUp(slash.task, FUNDER, slash.amount, task.pool),
        ]

    def _running(self, task: int) -> _Task:
        _require(not self._task(task).is_over, "TaskOver")
        return self._task(task)

    def _of_council(
        self, call: chain.PauseTask | chain.UnpauseTask | chain.CancelTask | chain.Refund
    ) -> list[Event]:
        if isinstance(call, chain.Refund):
            task = self._task(call.task)
            _require(task.is_over, "TaskNotOver")
            _require(task.pool > 0, "NothingToRefund")
            amount, task.pool = task.pool, 0
            return [events.Refunded(call.task, call.funder, amount)]
        task = self._running(call.task)
        is_open = bool(task.rounds) and not task.rounds[-1].phase.closed
        match call:
            case chain.PauseTask():
                _require(not task.is_paused, "TaskPaused")
                task.is_paused = True
                changed = events.TaskPauseChanged(call.task, True)
                return [changed, *(self._close(call.task, Phase.ABORTED) if is_open else [])]
            case chain.UnpauseTask():
                _require(task.is_paused, "TaskNotPaused")
                task.is_paused = False
                return [events.TaskPauseChanged(call.task, False)]
            case chain.CancelTask():
                _require(not task.is_cancelled, "TaskOver")
                task.is_cancelled = True
                return [events.TaskCancelled(call.task), *([] if is_open else self._end(call.task))]

    def _end(self, number: int) -> list[Event]:
        task = self.state.tasks[number]
        task.is_over = True
        return [events.TaskEnded(number, task.pool)]

    def _task(self, task: int) -> _Task:
        _require(task in self.state.tasks, "TaskUnknown")
        return self.state.tasks[task]

    def _request(self, number: int) -> list[Event]:
        task = self._running(number)
        _require(not task.is_paused, "TaskPaused")
        _require(not task.is_cancelled, "TaskOver")
        _require(not task.rounds or task.rounds[-1].phase.closed, "RoundOpen")
        _require(len(task.rounds) < task.config.rounds, "NoRoundsLeft")
        eligible = sorted(
            (node for node in task.approved if self._is_eligible(self.state.nodes[node])),
            key=lambda node: int(node, 16),
        )
        _require(len(eligible) >= max(task.config.proposers, task.config.voters), "NotEnoughEligible")
        reward = task.pool // (task.config.rounds - len(task.rounds))
        task.pool -= reward
        task.rounds.append(_Round(Phase.REQUESTED, task.parent_digest, reward, self.number + 1, eligible))
        stakes = tuple(self.state.nodes[node].stake for node in eligible)
        return [
            events.RoundRequested(
                number,
                len(task.rounds),
                task.parent_digest,
                self.number + 1,
                reward,
                tuple(eligible),
                stakes,
            )
        ]

    def _is_eligible(self, node: NodeOnDouble) -> bool:
        return node.stake > 0 and node.absences < TERMS.most_absences

    def _advance(self, number: int) -> list[Event]:
        task = self._task(number)
        _require(bool(task.rounds) and not task.rounds[-1].phase.closed, "NoOpenRound")
        state, index = task.rounds[-1], len(task.rounds)
        _require(self._is_due(state), "NotDue")
        if state.phase is Phase.REQUESTED:
            state.proposers = state.eligible[: task.config.proposers]
            state.voters = state.eligible[: task.config.voters]
            for node in {*state.proposers, *state.voters}:
                self.state.nodes[node].open_rounds += 1
            proposers, voters = tuple(state.proposers), tuple(state.voters)
            groups = [tuple(self.state.nodes[node].group for node in drawn) for drawn in (proposers, voters)]
            drawn = events.Drawn(number, index, SEED, proposers, voters, *groups)
            return [drawn, self._enter(number, Phase.TRAINING, task.config.training_s)]
        if state.phase is Phase.TRAINING and len(state.proposals) < task.config.min_proposals:
            return self._close(number, Phase.ABORTED)
        if state.phase is Phase.REVEALING:
            tallies = self._tallies(number)
            tallied = events.Tallied(
                number,
                index,
                tuple(tally.node for tally in tallies),
                tuple(tally.standing for tally in tallies),
                tuple(tally.median_micronats for tally in tallies),
                tuple(tally.proven_invalid for tally in tallies),
            )
            return [tallied, self._enter(number, Phase.ATTESTING, task.config.attesting_s)]
        if state.phase is Phase.ATTESTING:
            return self._close(number, Phase.FINAL if state.attestations else Phase.REJECTED)
        return [self._enter(number, _NEXT[state.phase], task.config.committing_s)]

    def _is_due(self, state: _Round) -> bool:
        if state.phase is Phase.REQUESTED:
            return self.number > state.seed_block
        expected = {
            Phase.TRAINING: len(state.proposals) == len(state.proposers),
            Phase.COMMITTING: len(state.commits) == len(state.voters),
            Phase.REVEALING: len(state.reveals) == len(state.commits),
            Phase.ATTESTING: len(state.attestations) == len(state.voters),
        }
        return expected[state.phase] or self.now_unix_s > state.deadline_unix_s

    def _enter(self, number: int, phase: Phase, seconds: int) -> events.PhaseChanged:
        task = self.state.tasks[number]
        state, index = task.rounds[-1], len(task.rounds)
        state.phase = phase
        state.phases.append(phase)
        if phase is not Phase.REVEALING:
            # The block is part of the draw's seed, so of every context.
            state.context = _digest(f"{number} {index} {phase} {self.number}")[:34]
        state.deadline_unix_s = self.now_unix_s + seconds
        return events.PhaseChanged(number, index, phase, state.context, state.deadline_unix_s)

    def _close(self, number: int, phase: Phase) -> list[Event]:
        task = self.state.tasks[number]
        state, index = task.rounds[-1], len(task.rounds)
        last_phase = Phase.REQUESTED if task.is_paused else state.phase
        state.phase = phase
        nodes: tuple[str, ...] = ()
        if phase is Phase.FINAL:
            task.parent_digest = next(iter(state.attestations.values()))[0]
            nodes = tuple(sorted(state.proposals, key=lambda node: int(node, 16)))
        faults = self._judge(number, last_phase)
        amounts = tuple(state.reward // len(nodes) for _ in nodes)
        for node, amount in zip(nodes, amounts, strict=True):
            self.state.nodes[node].claimable += amount
        returned = state.reward - sum(amounts)
        task.pool += returned
        is_last = index == task.config.rounds or task.is_cancelled
        return [
            events.PhaseChanged(number, index, phase, state.context, 0),
            events.RoundClosed(number, index, phase, task.parent_digest),
            *faults,
            events.Rewarded(number, index, nodes, amounts, returned),
            *(self._end(number) if is_last else []),
        ]

    def _tallies(self, number: int) -> list[ProposalTally]:
        """Everything is accepted that not every revealed vote calls INVALID."""
        state = self.state.tasks[number].rounds[-1]
        nodes = sorted(state.proposals, key=lambda node: int(node, 16))
        tallies = []
        for place, node in enumerate(nodes):
            scores = {scores[place] for voter, scores in state.reveals.items() if voter != node}
            is_invalid = scores == {INVALID_SCORE}
            standing = Standing.UNSCORED if is_invalid else Standing.ACCEPTED
            tallies.append(ProposalTally(node, standing, 0 if is_invalid else 100_000, is_invalid))
        return tallies

    def _judge(self, number: int, last_phase: Phase) -> list[Event]:
        """Frees the seats, counts absences, records faults."""
        task = self.state.tasks[number]
        state, index = task.rounds[-1], len(task.rounds)
        stakes = {node: self.state.nodes[node].stake for node in state.eligible}
        found = conducts(
            last_phase=last_phase,
            proposers=[Member(node, 0, stakes[node]) for node in state.proposers],
            voters=[Member(node, 0, stakes[node]) for node in state.voters],
            proposed=state.proposals,
            committed=state.commits,
            revealed=state.reveals,
            tallies=self._tallies(number) if last_phase >= Phase.REVEALING else (),
            rules=task.config.rules,
        )
        faults: list[Event] = []
        for conduct in found:
            node = self.state.nodes[conduct.node]
            node.open_rounds -= 1
            if conduct.attendance is Attendance.ATTENDED:
                node.absences = 0
            elif conduct.attendance is Attendance.ABSENT:
                node.absences += 1
            if conduct.fault is not Fault.NONE:
                amount = min(conduct.slash, node.stake)
                node.stake -= amount
                node.pending_slashes += 1
                until_unix_s = self.now_unix_s + TERMS.appeal_s
                slash = len(self.state.slashes)
                self.state.slashes.append(_Slash(conduct.node, number, amount, until_unix_s))
                key = (number, index, conduct.node, conduct.fault)
                faults.append(events.FaultRecorded(*key, slash, amount, until_unix_s, node.stake))
        return faults

    def _message(self, call: chain.RoundMessageCall) -> list[Event]:
        message = call.message
        task = self._task(message.task)
        _require(message.round == len(task.rounds), "WrongPhase")
        state = task.rounds[-1]
        phases: dict[type[Any], tuple[Phase, Collection[str], list[str]]] = {
            chain.RelayProposal: (Phase.TRAINING, state.proposals, state.proposers),
            chain.RelayCommit: (Phase.COMMITTING, state.commits, state.voters),
            chain.RelayReveal: (Phase.REVEALING, state.reveals, state.voters),
            chain.RelayAttestation: (Phase.ATTESTING, state.attestations, state.voters),
        }
        phase, sent, drawn = phases[type(call)]
        _require(state.phase is phase, "WrongPhase")
        _require(self.now_unix_s <= state.deadline_unix_s, "DeadlinePassed")
        _require(message.context == state.context, "WrongContext")
        _require(message.node in drawn, "NotDrawn")
        _require(message.node not in sent, "AlreadySent")
        key = (message.task, message.round, message.node)
        match call:
            case chain.RelayProposal():
                state.proposals[message.node] = message.adapter_digest
                return [events.Proposed(*key, message.adapter_digest, message.report_digest)]
            case chain.RelayCommit():
                state.commits[message.node] = message.commitment
                return [events.Committed(*key, message.commitment)]
            case chain.RelayReveal():
                state.reveals[message.node] = message.scores_micronats
                return [events.Revealed(*key, message.scores_micronats, message.salt)]
            case _:
                state.attestations[message.node] = (message.aggregate_digest, message.score_micronats)
                return [events.Attested(*key, message.aggregate_digest, message.score_micronats)]


def _may_replace(offered: Fees, present: Fees) -> bool:
    """Whether both fees are an eighth more."""
    pairs = ((offered.most_wei, present.most_wei), (offered.tip_wei, present.tip_wei))
    return all(8 * more >= 9 * less for more, less in pairs)


def _require(holds: bool, reason: str) -> None:
    if not holds:
        raise CallRefused(reason)


def _digest(text: str) -> str:
    return "0x" + hashlib.sha256(text.encode()).hexdigest()
