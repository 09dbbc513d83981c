"""Holds the stored projection against the chain, and replaces it by one that was read anew.

The chain is read into records of its own, a replica, while the hub goes on working. What was read stays in
the replica: who is killed on the way goes on from there.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from orchestrator.domain.chain import Block, ChainError, ChainReader, IndexedEvent, StakeTerms
from orchestrator.domain.errors import Conflict
from orchestrator.domain.ports import Clock, Records
from orchestrator.domain.projection_rows import Difference, first_difference
from orchestrator.services.indexer import Indexer
from orchestrator.services.lease import LeasedReader, LeasedRecords, WorkerLease

_MOST_LOOKS = 20


class ProjectionMoves(Conflict):
    """The worker reads blocks faster than they can be read here."""

    code = "projection_moves"


@dataclass(frozen=True)
class Replica:
    """The projection as a hub gets it that reads the chain from ``first_block`` on."""

    records: Records
    reader: ChainReader
    clock: Clock
    first_block: int
    confirmations: int

    def follow(self, until: Block) -> None:
        """Read the chain up to a block. Raises ChainError; what was read is kept."""
        indexer = self.indexer(self.records, until)
        last = _last_block(self.records)
        if last is not None and last.number > until.number:
            indexer.rebuild()
        else:
            indexer.run_once()
        if _last_block(self.records) != until:
            raise ChainError("the chain was reorganised while it was read")

    def indexer(self, records: Records, until: Block | None = None) -> Indexer:
        """What reads the chain into records, to its head or to a block."""
        reader = self.reader if until is None else _ReaderUpTo(self.reader, until)
        return Indexer(records, reader, self.clock, self.first_block, self.confirmations)

    def block_at(self, number: int) -> Block | None:
        """The chain's block at a height; None above its head. Raises ChainError."""
        head = self.reader.head()
        return self.reader.block(number) if number <= head.number else None


@dataclass(frozen=True)
class ProjectionRepair:
    """The hub's projection, and a replica of it."""

    records: Records
    replica: Replica

    def first_difference(self) -> tuple[Difference | None, Block]:
        """The first row that is not what the chain says, if there is one, and up to where it was looked.

        Raises:
            ChainError: the chain does not answer, or moved while it was read.
            ProjectionMoves: it never stood still for long enough.
        """
        for _ in range(_MOST_LOOKS):
            last = _last_block(self.records)
            until = self.replica.reader.head() if last is None else self.replica.block_at(last.number)
            if last is not None and (until is None or until.hash != last.hash):
                on_chain = None if until is None else until.hash
                return Difference("chain_cursor", (("id", 1),), "hash", last.hash, on_chain), last
            assert until is not None, "the head is a block"
            self.replica.follow(until)
            with self.records.read() as stored:
                if stored.projection.last_block() == last:
                    with self.replica.records.read() as unit:
                        return first_difference(stored.projection.rows(), unit.projection.rows()), until
        raise ProjectionMoves("the projection moves on faster than the chain can be read here; ask again")

    def rebuild(self, records: Records, lease: WorkerLease) -> Block:
        """Replace the projection by what the chain says; its last block.

        The chain is read while the worker works; only the end is done in its stead, under the lease, in one
        transaction. ``records`` are written to.

        Raises:
            ChainError: the chain does not answer, or moved while it was read.
            LeaseLost: the worker took the lease back; nothing was changed.
        """
        if (last := self._last_block_on_chain()) is not None:
            self.replica.follow(last)
        with lease.seized():
            leased = LeasedRecords(records, lease)
            if (last := self._last_block_on_chain()) is None:
                # Also what was mined on blocks that are gone has to be sent again: the indexer does both.
                reader = LeasedReader(self.replica.reader, lease)
                replace(self.replica, reader=reader).indexer(leased).rebuild()
            else:
                # To the very block: what comes behind it has yet to be announced, by the worker.
                self.replica.follow(last)
                with self.replica.records.read() as unit, leased.write() as stored:
                    stored.projection.replace(unit.projection.rows())
            found = _last_block(self.records)
        if found is None:
            raise ChainError("the chain has no block of the deployment yet")
        return found

    def _last_block_on_chain(self) -> Block | None:
        """The last indexed block as the chain has it; None where there is none, or it has left the chain."""
        last = _last_block(self.records)
        block = None if last is None else self.replica.block_at(last.number)
        return block if last is not None and block is not None and block.hash == last.hash else None


@dataclass(frozen=True)
class _ReaderUpTo:
    """``ChainReader`` of a chain that ends with a certain block."""

    reader: ChainReader
    last: Block

    def head(self) -> Block:
        """That block."""
        return self.last

    def block(self, number: int) -> Block:
        """The block at a height."""
        return self.reader.block(number)

    def blocks(self, first_block: int, last_block: int) -> Sequence[Block]:
        """The blocks of a range."""
        return self.reader.blocks(first_block, last_block)

    def events(self, first_block: int, last_block: int) -> Sequence[IndexedEvent]:
        """All events in a range of blocks."""
        return self.reader.events(first_block, last_block)

    def is_due(self, task: int) -> bool:
        """Whether ``advance`` would move the task's open round in the next block."""
        return self.reader.is_due(task)

    def stake_terms(self) -> StakeTerms:
        """What the registry fixes for ever."""
        return self.reader.stake_terms()


def _last_block(records: Records) -> Block | None:
    with records.read() as unit:
        return unit.projection.last_block()
