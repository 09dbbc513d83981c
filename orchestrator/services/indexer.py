"""Follows the chain: applies new events to the projection, and builds it again after a reorganisation."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from contracts import events
from contracts.events import Event
from orchestrator.domain.chain import Block, ChainError, ChainReader, IndexedEvent, StakeTerms
from orchestrator.domain.outbox import Intent, reorganised
from orchestrator.domain.ports import Clock, Lanes, ProjectionRepository, Records
from orchestrator.domain.projection import Announcement, Ledger, step
from orchestrator.domain.state import RegistryState, RoundState

_BATCH_BLOCKS = 500
RESTORED_AFTER_S = 60
"""A head that stays so long below what is indexed is a chain that was restored to an earlier height. Before
that, it is one of several nodes behind an address that lags."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Batch:
    """A stretch of the chain, read whole: its events, when their blocks were made, its last block."""

    events: Sequence[IndexedEvent]
    block_times_unix_s: dict[int, int]
    last: Block


@dataclass
class Indexer:
    """Keeps the projection at the chain's head; ``first_block`` is the deployment's."""

    records: Records
    reader: ChainReader
    lanes: Lanes
    clock: Clock
    first_block: int
    _lower_since_unix_s: int | None = field(default=None, init=False)

    def run_once(self) -> bool:
        """Read what is new; whether anything was.

        Raises:
            ChainError: the chain does not answer, or moved while it was read; the projection is as it was.
        """
        head = self.reader.head()
        with self.records.read() as unit:
            last = unit.projection.last_block()
        if last is None:
            if head.number < self.first_block:
                return False
        elif head.number < last.number:
            if not self._stays_lower(last, head):
                return False
            self._rebuild(head)
            return True
        elif last.hash == head.hash:
            self._lower_since_unix_s = None
            return False
        elif self._has_left_the_chain(last):
            self._rebuild(head)
            return True
        self._lower_since_unix_s = None
        for batch in self._read(last, head):
            self._apply(batch, last)
            last = batch.last
        return True

    def _stays_lower(self, last: Block, head: Block) -> bool:
        """Whether the head has been below ``last`` for long, counted from when this was first seen."""
        now_unix_s = self.clock.now_unix_s()
        if self._lower_since_unix_s is None:
            self._lower_since_unix_s = now_unix_s
            logger.warning("the chain's head is %d, below block %d: waiting", head.number, last.number)
        return now_unix_s >= self._lower_since_unix_s + RESTORED_AFTER_S

    def _has_left_the_chain(self, last: Block) -> bool:
        return self.reader.block(last.number).hash != last.hash

    def _read(self, parent: Block | None, head: Block) -> Iterator[_Batch]:
        """The chain after ``parent`` (None: from the deployment) to the head, each stretch of one piece."""
        first_block = self.first_block if parent is None else parent.number + 1
        for first in range(first_block, head.number + 1, _BATCH_BLOCKS):
            batch = self._read_batch(first, min(first + _BATCH_BLOCKS - 1, head.number))
            if parent is not None:
                self._require_unchanged(parent)
            parent = batch.last
            yield batch

    def _read_batch(self, first: int, number: int) -> _Batch:
        last = self.reader.block(number)
        events = self.reader.events(first, number)
        times: dict[int, int] = {}
        for indexed in events:
            if indexed.block_number not in times:
                block = self.reader.block(indexed.block_number)
                if block.hash != indexed.block_hash:
                    raise ChainError("the chain was reorganised while it was read")
                times[indexed.block_number] = block.timestamp_unix_s
        self._require_unchanged(last)
        return _Batch(events, times, last)

    def _require_unchanged(self, block: Block) -> None:
        if self.reader.block(block.number).hash != block.hash:
            raise ChainError("the chain was reorganised while it was read")

    def _apply(self, batch: _Batch, last: Block | None) -> None:
        terms = self.reader.stake_terms()
        with self.records.write() as unit:
            if unit.projection.last_block() != last:
                raise ChainError("another worker indexed the same blocks")
            for announcement in _project(unit.projection, batch, terms):
                unit.stream.append(announcement, self.clock.now_unix_s())
                logger.info("%s", _in_words(announcement))

    def _rebuild(self, head: Block) -> None:
        """Forget the projection and read the chain from the deployment on, in one transaction."""
        self._lower_since_unix_s = None
        logger.warning(
            "the chain was reorganised: building the projection again from block %d", self.first_block
        )
        terms = self.reader.stake_terms()
        batches = list(self._read(None, head))
        with self.records.read() as unit:
            settled = unit.outbox.settled_from_block(self.first_block)
        reopened = [again for again in map(self._after_reorganisation, settled) if again is not None]
        now_unix_s = self.clock.now_unix_s()
        with self.records.write() as unit:
            unit.projection.clear()
            for batch in batches:
                _project(unit.projection, batch, terms)
            for before, after in reopened:
                unit.outbox.save(after, before.status)
            facts = {"head": head.number, "reopened_intents": len(reopened)}
            unit.stream.append(Announcement("chain.reorganised", facts=facts), now_unix_s)

    def _after_reorganisation(self, intent: Intent) -> tuple[Intent, Intent] | None:
        """A settled intent and what it is now, where that differs: its bytes are to be sent again."""
        lane = self.lanes.for_call(intent.call)
        if intent.transaction_hash is None:
            return None
        receipt = lane.receipt(intent.transaction_hash)
        if receipt is not None and receipt.block_hash == intent.block_hash:
            return None
        return intent, reorganised(intent, self.clock.now_unix_s())


def _project(projection: ProjectionRepository, batch: _Batch, terms: StakeTerms) -> list[Announcement]:
    """Apply a batch to the stored projection; what to announce."""
    ledger = Ledger(registry=projection.registry() or RegistryState(terms))
    announcements = list[Announcement]()
    for indexed in batch.events:
        ledger = _with_subjects(projection, ledger, indexed.event)
        ledger, said = step(ledger, indexed, batch.block_times_unix_s[indexed.block_number])
        announcements += said
    projection.save_registry(ledger.registry)
    for node in ledger.nodes.values():
        projection.save_node(node)
    for slash in ledger.slashes.values():
        projection.save_slash(slash)
    for task in ledger.tasks.values():
        projection.save_task(task)
    for state in ledger.rounds.values():
        projection.save_round(state)
    projection.add_events(batch.events)
    projection.set_last_block(batch.last)
    return announcements


def _with_subjects(projection: ProjectionRepository, ledger: Ledger, event: Event) -> Ledger:
    """The ledger with what the event concerns, as far as it is stored and not at hand."""
    nodes, slashes = dict(ledger.nodes), dict(ledger.slashes)
    tasks, rounds = dict(ledger.tasks), dict(ledger.rounds)
    task, round_number = getattr(event, "task", None), getattr(event, "round", None)
    if task is not None and task not in tasks and (known := projection.task(task)) is not None:
        tasks[task] = known
    if task is not None and round_number is not None and (task, round_number) not in rounds:
        state = projection.round(task, round_number)
        if state is not None:
            rounds[task, round_number] = state
    if isinstance(event, events.SlashWaived | events.SlashExecuted) and event.slash not in slashes:
        slash = projection.slash(event.slash)
        if slash is not None:
            slashes[event.slash] = slash
    for address in _nodes_of(event, rounds.get((task, round_number)) if task and round_number else None):
        if address not in nodes and (node := projection.node(address)) is not None:
            nodes[address] = node
    return replace(ledger, nodes=nodes, slashes=slashes, tasks=tasks, rounds=rounds)


def _nodes_of(event: Event, state: RoundState | None) -> tuple[str, ...]:
    """The nodes whose state an event may change; ``state`` is the event's round, if it has one."""
    match event:
        case events.Rewarded():
            return event.nodes
        case events.Drawn():
            return (*event.proposers, *event.voters)
        case events.RoundClosed():
            return () if state is None else state.drawn
        case (
            events.NodeAdmitted()
            | events.NodeLeft()
            | events.NodeReturned()
            | events.SignerRotated()
            | events.StakeDeposited()
            | events.ExitRequested()
            | events.Withdrawn()
            | events.Migrated()
            | events.FaultRecorded()
            | events.SlashWaived()
            | events.SlashExecuted()
            | events.Approved()
            | events.Revoked()
            | events.Claimed()
        ):
            return (event.node,)
        case _:
            return ()


def _in_words(announcement: Announcement) -> str:
    subjects = {"task": announcement.task, "round": announcement.round, "node": announcement.node}
    said = [f"{name} {value}" for name, value in subjects.items() if value is not None]
    said += [f"{name} {value}" for name, value in announcement.facts.items()]
    return " ".join([announcement.kind, *said])
