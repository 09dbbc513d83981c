"""The schema, transactions, and what happens to a database in use by many."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from contracts.settlement import Fault
from contracts.task_config import TaskConfig
from contracts.unbonding import UnbondingEntry
from orchestrator.adapters.database import DatabaseRecords, engine, open_records, turns
from orchestrator.adapters.database.engine import open_engine, writing
from orchestrator.domain.chain import Advance, RequestRound, StakeTerms
from orchestrator.domain.errors import Conflict
from orchestrator.domain.ports import RecordsUnavailable
from orchestrator.domain.projection import Announcement
from orchestrator.domain.state import (
    NodeState,
    RegistryState,
    SlashState,
    SlashStatus,
    TaskState,
)
from tests.integration.databases import Databases, SqliteDatabases
from tests.integration.orchestrator_rig import task_spec, terms_of

NODE = "0x" + "ab" * 20
OTHER = "0x" + "cd" * 20
DIGEST = "0x" + "ef" * 32
MOST_BASE_UNITS = (1 << 256) - 1


@pytest.fixture
def records(tmp_path: Path, databases: Databases) -> Iterator[DatabaseRecords]:
    records = open_records(databases.new(tmp_path))
    yield records
    records.close()


def test_sqlite_is_set_up_for_several_processes(tmp_path: Path) -> None:
    opened = open_engine(SqliteDatabases().new(tmp_path))
    with opened.connect() as connection:
        asked = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "foreign_keys", "synchronous")
        }
        assert asked == {"journal_mode": "wal", "foreign_keys": 1, "synchronous": 2}
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 10_000
    with writing(opened).begin() as connection:
        connection.exec_driver_sql("SELECT 1")
    with opened.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 10_000
    opened.dispose()


def test_a_unit_is_all_or_nothing(records: DatabaseRecords) -> None:
    def fail_halfway() -> None:
        with records.write() as unit:
            unit.outbox.add("a", RequestRound(1), 1, 0)
            unit.stream.append(Announcement("something"), 0)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_halfway()
    with records.read() as unit:
        assert unit.outbox.by_key("a") is None
        assert unit.stream.last_id() == 0


def test_a_reading_unit_changes_nothing(records: DatabaseRecords) -> None:
    with records.read() as unit:
        unit.outbox.add("a", RequestRound(1), 1, 0)
    with records.read() as unit:
        assert unit.outbox.by_key("a") is None


def test_a_key_is_taken_once(records: DatabaseRecords) -> None:
    with records.write() as unit:
        unit.outbox.add("a", RequestRound(1), 1, 0)
    with pytest.raises(Conflict), records.write() as unit:
        unit.outbox.add("a", Advance(1), 1, 0)


def test_amounts_of_256_bits_survive(records: DatabaseRecords) -> None:
    state = NodeState(
        NODE,
        NODE,
        (1 << 63) - 1,
        stake=MOST_BASE_UNITS,
        unbonding=(UnbondingEntry(7, MOST_BASE_UNITS - 1), UnbondingEntry(8, 1)),
        earned=MOST_BASE_UNITS - 2,
        withdrawn=MOST_BASE_UNITS - 3,
    )
    with records.write() as unit:
        unit.projection.save_nodes([state])
    with records.read() as unit:
        assert unit.projection.node(NODE) == state
    shorter = replace(state, unbonding=(UnbondingEntry(8, 1),))
    with records.write() as unit:
        unit.projection.save_nodes([shorter])
    with records.read() as unit:
        assert unit.projection.node(NODE) == shorter


def test_the_registry_and_slashes_survive(records: DatabaseRecords) -> None:
    registry = RegistryState(StakeTerms(), successor=NODE)
    slash = SlashState(0, NODE, 1, 2, Fault.INVALID, MOST_BASE_UNITS, 9, SlashStatus.WAIVED)
    with records.write() as unit:
        assert unit.projection.registry() is None
        unit.projection.save_registry(registry)
        unit.projection.save_slash(slash)
    with records.read() as unit:
        assert unit.projection.registry() == registry
        assert unit.projection.slashes() == unit.projection.slashes_of_task(1) == [slash]
        assert unit.projection.slashes_of_task(2) == []


def test_an_approval_that_was_taken_back_is_gone(records: DatabaseRecords) -> None:
    config = TaskConfig(**terms_of(task_spec()))
    task = TaskState(1, config, config.genesis_digest, approved=(NODE, OTHER))
    with records.write() as unit:
        unit.projection.save_task(task)
        unit.projection.save_task(replace(task, approved=(OTHER,)))
    with records.read() as unit:
        found = unit.projection.task(1)
    assert found == replace(task, approved=(OTHER,))


def test_a_process_is_not_kept_out_by_the_threads_of_another(tmp_path: Path) -> None:
    url = SqliteDatabases().new(tmp_path)
    busy, other = open_records(url), open_records(url)
    stop = threading.Event()

    def keep_writing() -> int:
        written = 0
        while not stop.is_set():
            with busy.write() as unit:
                unit.stream.append(Announcement("busy"), 0)
            written += 1
        return written

    with ThreadPoolExecutor(8) as threads:
        writers = [threads.submit(keep_writing) for _ in range(8)]
        try:
            for _ in range(20):
                with other.write() as unit:
                    unit.stream.append(Announcement("other"), 0)
        finally:
            stop.set()
        of_busy = sum(writer.result() for writer in writers)
    busy.close()
    other.close()
    # Eight threads are one process; of nine equal writers the others would have had eight writes to each.
    assert of_busy < 20 * 8


def test_nobody_waits_for_ever_to_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = SqliteDatabases().new(tmp_path)
    monkeypatch.setattr(engine, "LONGEST_WAIT_S", 0.05)
    monkeypatch.setattr(turns, "LONGEST_WAIT_S", 0.05)
    one, other = open_records(url), open_records(url)
    with one.write() as unit:
        unit.stream.append(Announcement("first"), 0)
        for records in (one, other):
            with pytest.raises(RecordsUnavailable), records.write() as second:
                second.stream.last_id()
    with other.write() as unit:
        unit.stream.append(Announcement("free again"), 0)
    one.close()
    other.close()


def test_many_writers_wait_for_one_another(records: DatabaseRecords) -> None:
    def append(number: int) -> None:
        with records.write() as unit:
            # Reads first, then writes: without the lock taken at the start this would fail under contention.
            unit.stream.last_id()
            unit.stream.append(Announcement("n", facts={"number": number}), 0)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(append, range(40)))
    with records.read() as unit:
        lines = unit.stream.after(0, 100)
    assert [line.id for line in lines] == list(range(1, 41))
    assert sorted(line.announcement.facts["number"] for line in lines) == list(range(40))


def test_a_database_without_tables_is_unavailable(tmp_path: Path, databases: Databases) -> None:
    records = open_records(databases.empty(tmp_path))
    with pytest.raises(RecordsUnavailable), records.read() as unit:
        unit.projection.nodes()
    records.close()
