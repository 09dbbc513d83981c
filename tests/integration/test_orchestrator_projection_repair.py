"""The projection held against the chain, and built again beside a worker: the same bytes, whoever dies."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text

from contracts.events import TaskCreated
from orchestrator.adapters.database import DatabaseRecords
from orchestrator.adapters.database.engine import open_engine
from orchestrator.adapters.database.projection_rows import TABLES
from orchestrator.domain.chain import Block, ChainError, ChainReader, IndexedEvent
from orchestrator.services.lease import LeaseLost, WorkerLease
from orchestrator.services.projection_repair import ProjectionMoves, ProjectionRepair, Replica
from tests.integration.databases import Databases, new_database, open_quick_records
from tests.integration.orchestrator_double_rig import LEASE_S, RULES, Rig
from tests.integration.orchestrator_rig import NETWORKS


class Repairs:
    """Repairs of one hub's projection, which may share a replica."""

    def __init__(self, rig: Rig, folder: Path) -> None:
        self.rig = rig
        self._folder = folder
        self._open: list[DatabaseRecords] = []

    def new(self, replica: str = "replica", reader: ChainReader | None = None) -> ProjectionRepair:
        """A repair whose replica goes on from what is in it."""
        folder = self._folder / replica
        if not folder.exists():
            folder.mkdir()
            new_database(folder)
        records = open_quick_records(f"sqlite:///{folder}/hub.sqlite3")
        self._open.append(records)
        rig = self.rig
        return ProjectionRepair(
            rig.records, Replica(records, reader or rig.chain, rig.clock, 1, RULES.confirmations)
        )

    def lease(self) -> WorkerLease:
        """The lease as the command takes it."""
        return WorkerLease(self.rig.records, self.rig.clock, "rebuild", LEASE_S)

    def rebuild(self, repair: ProjectionRepair | None = None) -> Block:
        """Build the projection again."""
        return (repair or self.new(f"replica {len(self._open)}")).rebuild(self.rig.records, self.lease())

    def close(self) -> None:
        """Let go of the replicas."""
        for records in self._open:
            records.close()


@pytest.fixture
def rig(tmp_path: Path, databases: Databases) -> Iterator[Rig]:
    rig = Rig(tmp_path, databases.new(tmp_path))
    yield rig
    rig.close()


@pytest.fixture
def repairs(rig: Rig, tmp_path: Path) -> Iterator[Repairs]:
    made = Repairs(rig, tmp_path)
    yield made
    made.close()


def dump(rig: Rig) -> bytes:
    """Every projected table as the database has it, as text, by key."""
    engine, lines = open_engine(rig.database_url), []
    with engine.connect() as connection:
        for table in TABLES:
            columns = ", ".join(f'CAST("{column.name}" AS TEXT)' for column in table.columns)
            lines += [
                "\t".join([table.name, *(repr(value) for value in row)])
                for row in connection.execute(text(f'SELECT {columns} FROM "{table.name}"'))
            ]
    engine.dispose()
    return "\n".join(sorted(lines)).encode()


def execute(rig: Rig, *statements: str) -> None:
    """Change the database behind the hub's back."""
    engine = open_engine(rig.database_url)
    with engine.begin() as connection:
        for statement in statements:
            assert connection.execute(text(statement)).rowcount > 0, statement
    engine.dispose()


def play_with_reorganisations(rig: Rig) -> None:
    """A round in whose every phase blocks leave the chain, and the messages in them come back."""

    def lose(depth: int) -> None:
        rig.turn()
        rig.chain.reorganise(depth)
        rig.turn()

    rig.start_task()
    lose(1)
    rig.round_in("training")
    # The draw stays, so that what was signed for it stays valid.
    rig.chain.mine()
    for act in (rig.propose_all, rig.commit_all, rig.reveal_all, rig.attest_all):
        act()
        lose(1)
    rig.round_in("final")
    rig.chain.mine(3)
    lose(5)
    rig.round_in("final")


def test_a_rebuild_after_reorganisations_gives_the_same_bytes(rig: Rig, repairs: Repairs) -> None:
    play_with_reorganisations(rig)
    incremental = dump(rig)
    assert len(incremental.splitlines()) > 100
    assert b"rewards" in incremental

    repairs.rebuild()
    assert dump(rig) == incremental
    rig.worker.indexer.rebuild()
    assert dump(rig) == incremental
    with rig.records.write() as unit:
        unit.projection.clear()
    assert dump(rig) == b""
    repairs.rebuild()
    assert dump(rig) == incremental


def test_nothing_differs_in_what_was_followed(rig: Rig, repairs: Repairs) -> None:
    play_with_reorganisations(rig)
    difference, last = repairs.new().first_difference()
    assert difference is None
    assert last == rig.chain.head()


TAMPERING = (
    (
        "UPDATE rounds SET phase = 3 WHERE round = 1",
        "rounds, task 1, round 1: phase is 3, and 6 by the chain",
    ),
    (
        "DELETE FROM round_phases WHERE phase = 3",
        "round_phases, phase 3, task 1, round 1: the row is missing",
    ),
    (
        "INSERT INTO approvals VALUES (1, '0xno')",
        "approvals, task 1, node 0xno: the chain says nothing of it",
    ),
    ("UPDATE tasks SET pool = '7'", "tasks, task 1: pool is 7, and"),
    ("UPDATE chain_events SET block_unix_s = 9 WHERE kind = 'TaskCreated'", "block_unix_s is 9, and"),
    ("UPDATE chain_cursor SET parent_hash = '0x00'", "chain_cursor, id 1: parent_hash is '0x00'"),
    ("UPDATE chain_cursor SET hash = '0x00'", "chain_cursor, id 1: hash is '0x00'"),
    ("UPDATE chain_cursor SET number = 99999", "chain_cursor, id 1: hash is"),
    ("DELETE FROM chain_cursor", "chain_cursor, id 1: the row is missing"),
)


def test_a_row_that_says_otherwise_than_the_chain_is_named_and_mended(rig: Rig, repairs: Repairs) -> None:
    rig.start_task()
    rig.play_round(1)
    rig.worker.indexer.run_once()
    before = dump(rig)
    for statement, words in TAMPERING:
        execute(rig, statement)
        difference, _ = repairs.new().first_difference()
        assert difference is not None
        assert words in difference.sentence
        repairs.rebuild()
        assert dump(rig) == before, statement
    assert repairs.new().first_difference()[0] is None


class Interrupted(BaseException):
    """The process is gone."""


class _Mortal:
    """The chain, for a reader that dies when it has read so many stretches of it."""

    def __init__(self, chain: ChainReader, stretches: int | None = None) -> None:
        self._chain = chain
        self._left = stretches
        self.asked: list[int] = []

    def __getattr__(self, name: str) -> object:
        return getattr(self._chain, name)

    def events(self, first_block: int, last_block: int) -> Sequence[IndexedEvent]:
        if self._left == 0:
            raise Interrupted
        self._left = None if self._left is None else self._left - 1
        self.asked.append(first_block)
        return self._chain.events(first_block, last_block)


def test_a_rebuild_that_is_killed_while_it_reads_goes_on_from_there(rig: Rig, repairs: Repairs) -> None:
    rig.admit_networks()
    rig.chain.mine(1_300)
    rig.worker.run_once()
    before = dump(rig)
    with pytest.raises(Interrupted):
        repairs.rebuild(repairs.new(reader=_Mortal(rig.chain, 2)))  # type: ignore[arg-type]
    assert dump(rig) == before
    again = _Mortal(rig.chain)
    repairs.rebuild(repairs.new(reader=again))  # type: ignore[arg-type]
    assert again.asked == [1_001]
    assert dump(rig) == before


def test_a_rebuild_that_is_killed_while_it_writes_changes_nothing_and_the_worker_goes_on(
    rig: Rig, repairs: Repairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.admit_networks()
    worker = rig.new_worker_among_others("worker")
    worker.run_once()
    before = dump(rig)
    lease = repairs.lease()

    def dies(self: WorkerLease) -> None:
        raise Interrupted

    with monkeypatch.context() as patch:
        patch.setattr("orchestrator.adapters.database.projection.insert_rows", lambda *_: dies(lease))
        patch.setattr(WorkerLease, "release", dies)
        with pytest.raises(Interrupted):
            repairs.new().rebuild(rig.records, lease)
    assert dump(rig) == before
    rig.chain.mine()
    with pytest.raises(LeaseLost):
        worker.run_once()
    worker.run_once()
    assert dump(rig) == before, "the dead one's lease has not run out"
    rig.clock.unix_s += LEASE_S
    worker.run_once()
    assert dump(rig) != before
    assert worker.conductors is not None
    worker.conductors.close()


def test_a_worker_waits_while_the_tables_are_replaced_and_tells_of_every_event_once(
    rig: Rig, repairs: Repairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.admit_networks()
    worker = rig.new_worker_among_others("worker")
    rig.order_task()
    worker.run_once()
    rig.chain.mine()
    follow, seen = Replica.follow, []

    def and_the_worker_works(self: Replica, until: Block) -> None:
        follow(self, until)
        before = dump(rig)
        try:
            worker.run_once()
            seen.append("idle" if dump(rig) == before else "working")
        except LeaseLost:
            seen.append("shut out")

    with monkeypatch.context() as patch:
        patch.setattr(Replica, "follow", and_the_worker_works)
        repairs.rebuild()
    assert seen == ["working", "idle"]
    while not rig.chain.state.tasks:
        worker.run_once()
        rig.chain.mine()
    worker.run_once()
    with rig.records.read() as unit:
        kinds = [each.announcement.kind for each in unit.stream.newest(100)]
    assert kinds.count("task.created") == 1
    assert kinds.count("node.admitted") == len(NETWORKS)
    assert "chain.reorganised" not in kinds
    assert sum(isinstance(event, TaskCreated) for event in rig.chain.all_events) == 1
    assert worker.conductors is not None
    worker.conductors.close()


def test_who_loses_the_lease_meanwhile_replaces_nothing(
    rig: Rig, repairs: Repairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.admit_networks()
    rig.turn()
    execute(rig, "UPDATE nodes SET absences = 7")
    before = dump(rig)
    other = WorkerLease(rig.records, rig.clock, "worker", LEASE_S)
    follow = Replica.follow

    def too_slow(self: Replica, until: Block) -> None:
        follow(self, until)
        rig.clock.unix_s += LEASE_S
        other.hold()

    monkeypatch.setattr(Replica, "follow", too_slow)
    with pytest.raises(LeaseLost):
        repairs.rebuild()
    assert dump(rig) == before
    with rig.records.read() as unit:
        other.require(unit)


class _Slow(_Mortal):
    """The chain, for a reader that needs most of the lease for a stretch of it, beside another worker."""

    def __init__(self, rig: Rig, other: WorkerLease) -> None:
        super().__init__(rig.chain)
        self._rig = rig
        self._other = other
        self.shut_out: list[bool] = []

    def events(self, first_block: int, last_block: int) -> Sequence[IndexedEvent]:
        self._rig.clock.unix_s += LEASE_S - 1
        self.shut_out.append(not self._other.hold())
        return super().events(first_block, last_block)


def test_from_nothing_a_chain_that_takes_longer_than_the_lease_is_read_under_it(
    rig: Rig, repairs: Repairs
) -> None:
    rig.admit_networks()
    rig.chain.mine(1_300)
    rig.worker.run_once()
    before = dump(rig)
    with rig.records.write() as unit:
        unit.projection.clear()
    other = WorkerLease(rig.records, rig.clock, "worker", LEASE_S)
    slow = _Slow(rig, other)
    repairs.rebuild(repairs.new(reader=slow))  # type: ignore[arg-type]
    assert slow.shut_out == [True] * 3
    assert dump(rig) == before
    assert other.hold(), "it was given back"


def test_what_a_reorganisation_took_is_sent_again_by_a_rebuild_that_comes_before_the_worker(
    rig: Rig, repairs: Repairs
) -> None:
    rig.admit_networks()
    rig.order_task()
    rig.turn_until(lambda: rig.chain.state.tasks)
    rig.turn()
    rig.chain.reorganise(rig.chain.head().number - 1)
    assert not rig.chain.state.tasks
    repairs.rebuild()
    assert repairs.new().first_difference()[0] is None
    rig.turn_until(lambda: rig.chain.state.tasks)
    assert sum(isinstance(event, TaskCreated) for event in rig.chain.all_events) == 1


def test_a_chain_that_moves_is_asked_again_later(rig: Rig, repairs: Repairs) -> None:
    rig.admit_networks()
    rig.turn()
    chain = rig.chain

    class Moving(_Mortal):
        def block(self, number: int) -> Block:
            self.asked.append(number)
            block = chain.block(number)
            return block if len(self.asked) == 1 else replace(block, hash="0x" + "99" * 32)

    with pytest.raises(ChainError):
        repairs.new(reader=Moving(chain)).first_difference()  # type: ignore[arg-type]


def test_a_projection_that_never_stands_still_is_no_verdict(
    rig: Rig, repairs: Repairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.turn()
    follow: Callable[[Replica, Block], None] = Replica.follow

    def while_the_worker_works(self: Replica, until: Block) -> None:
        follow(self, until)
        rig.turn()

    monkeypatch.setattr(Replica, "follow", while_the_worker_works)
    with pytest.raises(ProjectionMoves):
        repairs.new().first_difference()
