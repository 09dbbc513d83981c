"""Follows the chain: applies new events to the projection, and undoes what a reorganisation took away."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from contracts import events
from contracts.events import Event
from orchestrator.domain.chain import Block, ChainError, ChainReader, IndexedEvent, StakeTerms
from orchestrator.domain.outbox import reorganised
from orchestrator.domain.ports import Clock, ProjectionRepository, Records, Unit
from orchestrator.domain.projection import Announcement, Ledger, step
from orchestrator.domain.state import RegistryState, RoundState

_BATCH_BLOCKS = 500
RESTORED_AFTER_S = 60
"""A head that stays so long below what is indexed is a chain that was restored to an earlier height. Before
that, it is one of several nodes behind an address that lags."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Batch:
    """A stretch of the chain, read whole: its events, when their blocks were made, its blocks."""

    events: Sequence[IndexedEvent]
    block_times_unix_s: Mapping[int, int]
    blocks: Sequence[Block]

    @property
    def last(self) -> Block:
        """Its last block."""
        return self.blocks[-1]


@dataclass
class Indexer:
    """Keeps the projection at the chain's head; ``first_block`` is the deployment's.

    A block is final when ``confirmations`` others lie on it; what is younger may still leave the chain.
    """

    records: Records
    reader: ChainReader
    clock: Clock
    first_block: int
    confirmations: int
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
            self.rebuild()
            return True
        elif last.hash == head.hash:
            self._lower_since_unix_s = None
            return False
        elif self._has_left_the_chain(last):
            self._rewind(last, head)
            return True
        self._lower_since_unix_s = None
        for batch in self._read(last, head):
            self._apply(batch, last)
            last = batch.last
        return True

    def rebuild(self) -> None:
        """Forget the projection and read the chain from the deployment on, in one transaction.

        The tables are the same afterwards, unless the projection was wrong. Raises ChainError.
        """
        head = self.reader.head()
        self._lower_since_unix_s = None
        logger.warning("building the projection again from block %d", self.first_block)
        terms = self.reader.stake_terms()
        with self.records.read() as unit:
            settled = {intent.block_number for intent in unit.outbox.settled_from_block(self.first_block)}
        newest = head.number - _BATCH_BLOCKS
        batches = [
            # Of a long chain, the blocks whose hashes will be asked for.
            replace(
                batch,
                blocks=[
                    block
                    for block in batch.blocks
                    if block.number > newest or block.number in settled or block == batch.last
                ],
            )
            for batch in self._read(None, head)
        ]
        with self.records.write() as unit:
            unit.projection.clear()
            for batch in batches:
                self._project(unit, batch, terms)
            self._reopen(unit, self.first_block, batches, head)

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
            if parent is not None and batch.blocks[0].parent_hash != parent.hash:
                raise ChainError("the chain was reorganised while it was read")
            parent = batch.last
            yield batch

    def _read_batch(self, first: int, number: int) -> _Batch:
        blocks = self.reader.blocks(first, number)
        events = _once(self.reader.events(first, number))
        by_number = {block.number: block for block in blocks}
        for indexed in events:
            if indexed.block_hash != by_number[indexed.block_number].hash:
                raise ChainError("the chain was reorganised while it was read")
        if self.reader.block(number).hash != blocks[-1].hash:
            raise ChainError("the chain was reorganised while it was read")
        times = {each.block_number: by_number[each.block_number].timestamp_unix_s for each in events}
        return _Batch(events, times, blocks)

    def _apply(self, batch: _Batch, last: Block | None) -> None:
        terms = self.reader.stake_terms()
        with self.records.write() as unit:
            if unit.projection.last_block() != last:
                raise ChainError("another worker indexed the same blocks")
            self._announce(unit, self._project(unit, batch, terms))
            # The outbox may have seen a block that left the chain before it was indexed.
            hashes = {block.number: block.hash for block in batch.blocks}
            for intent in unit.outbox.settled_from_block(batch.blocks[0].number):
                known = hashes.get(intent.block_number or 0)
                if known is not None and intent.block_hash != known:
                    unit.outbox.save(reorganised(intent, self.clock.now_unix_s()), intent.status)

    def _rewind(self, last: Block, head: Block) -> None:
        """Undo the blocks that left the chain and apply those that took their place, in one transaction."""
        self._lower_since_unix_s = None
        fork = self._fork(head)
        if fork is None:
            logger.error("the chain was reorganised below all blocks whose hashes are kept")
            self.rebuild()
            return
        depth = last.number - fork.number
        logger.warning("the chain was reorganised: %d blocks after block %d left it", depth, fork.number)
        terms = self.reader.stake_terms()
        batches = list(self._read(fork, head))
        with self.records.write() as unit:
            if unit.projection.last_block() != last:
                raise ChainError("another worker indexed the same blocks")
            if fork.number < (unit.projection.final_block() or 0):
                logger.error("blocks that counted as final left the chain: the confirmations are too few")
            _undo(unit.projection, fork.number, terms)
            unit.projection.set_last_block(fork, self._final_block(fork))
            news = [said for batch in batches for said in self._project(unit, batch, terms)]
            self._reopen(unit, fork.number + 1, batches, head)
            self._announce(unit, news)

    def _fork(self, head: Block) -> Block | None:
        """The newest block that is indexed and still on the chain; None when all kept ones left it."""
        with self.records.read() as unit:
            hashes = unit.projection.block_hashes()
        numbers = [number for number in hashes if number <= head.number]
        if not numbers:
            return None
        shared = [
            block
            for block in self.reader.blocks(numbers[0], numbers[-1])
            if hashes.get(block.number) == block.hash
        ]
        return shared[-1] if shared else None

    def _reopen(self, unit: Unit, first_number: int, batches: Sequence[_Batch], head: Block) -> None:
        """Send again what was mined in blocks that left the chain, and say so."""
        now_unix_s = self.clock.now_unix_s()
        hashes = {block.number: block.hash for batch in batches for block in batch.blocks}
        gone = [
            intent
            for intent in unit.outbox.settled_from_block(first_number)
            if intent.block_hash != hashes.get(intent.block_number or 0)
        ]
        for intent in gone:
            unit.outbox.save(reorganised(intent, now_unix_s), intent.status)
        facts = {"head": head.number, "reopened_intents": len(gone)}
        unit.stream.append(Announcement("chain.reorganised", facts=facts), now_unix_s)

    def _project(self, unit: Unit, batch: _Batch, terms: StakeTerms) -> list[Announcement]:
        said = _project(unit.projection, batch, terms)
        unit.projection.set_last_block(batch.last, self._final_block(batch.last))
        return said

    def _final_block(self, last: Block) -> int:
        return max(last.number - self.confirmations, -1)

    def _announce(self, unit: Unit, announcements: Sequence[Announcement]) -> None:
        for announcement in announcements:
            unit.stream.append(announcement, self.clock.now_unix_s())
            logger.info("%s", _in_words(announcement))


def _once(found: Sequence[IndexedEvent]) -> list[IndexedEvent]:
    """Events in their order, each once however often it was delivered.

    Raises:
        ChainError: one log was delivered with two meanings.
    """
    by_log: dict[tuple[str, str, int], IndexedEvent] = {}
    for indexed in found:
        log = (indexed.transaction_hash, indexed.block_hash, indexed.log_index)
        if by_log.setdefault(log, indexed) != indexed:
            place = f"log {indexed.log_index} of block {indexed.block_number}"
            raise ChainError(f"{place} was delivered with two meanings")
    return sorted(by_log.values(), key=lambda each: (each.block_number, each.log_index))


def _undo(projection: ProjectionRepository, number: int, terms: StakeTerms) -> None:
    """Bring the stored projection back to the end of a block, from the events that it keeps."""
    stored = projection.events()
    start = Ledger(registry=RegistryState(terms))
    before = _replayed(start, [each for each in stored if each[0].block_number <= number])
    after = _replayed(before, [each for each in stored if each[0].block_number > number])
    projection.restore(before, after, number)


def _replayed(ledger: Ledger, stored: Sequence[tuple[IndexedEvent, int]]) -> Ledger:
    for indexed, time_unix_s in stored:
        ledger, _ = step(ledger, indexed, time_unix_s)
    return ledger


def _project(projection: ProjectionRepository, batch: _Batch, terms: StakeTerms) -> list[Announcement]:
    """Apply a batch to the stored projection; what to announce."""
    ledger = Ledger(registry=projection.registry() or RegistryState(terms))
    announcements = list[Announcement]()
    for indexed in batch.events:
        ledger = _with_subjects(projection, ledger, indexed.event)
        ledger, said = step(ledger, indexed, batch.block_times_unix_s[indexed.block_number])
        announcements += said
    projection.save_registry(ledger.registry)
    projection.save_nodes(ledger.nodes.values())
    for slash in ledger.slashes.values():
        projection.save_slash(slash)
    for task in ledger.tasks.values():
        projection.save_task(task)
    for state in ledger.rounds.values():
        projection.save_round(state)
    projection.add_events(batch.events, batch.block_times_unix_s)
    projection.add_blocks(batch.blocks)
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
    concerned = _nodes_of(event, rounds.get((task, round_number)) if task and round_number else None)
    if missing := [address for address in concerned if address not in nodes]:
        nodes |= projection.nodes_of(missing)
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
