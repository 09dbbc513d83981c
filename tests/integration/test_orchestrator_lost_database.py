"""A database that goes away in the middle of work: nothing is half done, and work goes on when it is back."""

import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from orchestrator.adapters.database import DatabaseRecords, open_records
from orchestrator.adapters.database.migrate import migrate
from orchestrator.domain.ports import RecordsUnavailable
from orchestrator.domain.projection import Announcement
from tests.integration.databases import Databases, PostgresqlDatabases
from tests.integration.orchestrator_double_rig import Rig
from tests.integration.postgresql import PostgresqlServer, running_postgresql
from tests.integration.postgresql_pool import DatabasePool
from tests.integration.test_orchestrator_worker import Running, eventually, indexed


@pytest.fixture
def database_url(postgresql_pool: DatabasePool) -> Iterator[str]:
    databases = PostgresqlDatabases(postgresql_pool)
    yield databases.new(Path())
    databases.close()


@pytest.fixture
def records(database_url: str) -> Iterator[DatabaseRecords]:
    records = open_records(database_url)
    yield records
    records.close()


@pytest.fixture
def mortal(postgresql: PostgresqlServer) -> Iterator[PostgresqlServer]:
    """A server of its own, which a test may kill."""
    with running_postgresql() as server:
        yield server


def end_connections(server: PostgresqlServer, database_url: str) -> None:
    name = make_url(database_url).database
    server.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")


def lines(records: DatabaseRecords) -> int:
    with records.read() as unit:
        return len(unit.stream.after(0, 100))


def test_a_connection_that_ended_between_two_units_is_not_noticed(
    records: DatabaseRecords, database_url: str, postgresql: PostgresqlServer
) -> None:
    assert lines(records) == 0
    end_connections(postgresql, database_url)
    with records.write() as unit:
        unit.stream.append(Announcement("something"), 0)
    assert lines(records) == 1


@pytest.mark.parametrize("writes_after", [True, False])
def test_a_connection_that_ends_within_a_unit_undoes_it(
    records: DatabaseRecords, database_url: str, postgresql: PostgresqlServer, writes_after: bool
) -> None:
    def interrupted() -> None:
        with records.write() as unit:
            unit.stream.append(Announcement("something"), 0)
            end_connections(postgresql, database_url)
            if writes_after:
                unit.stream.append(Announcement("something else"), 0)

    with pytest.raises(RecordsUnavailable):
        interrupted()
    assert lines(records) == 0
    with records.write() as unit:
        unit.stream.append(Announcement("something"), 0)
    assert lines(records) == 1


def test_nobody_waits_for_the_write_lock_without_an_end(database_url: str) -> None:
    holder = open_records(database_url)
    hasty = open_records(database_url + "&options=-c%20lock_timeout%3D50")
    with holder.write() as held:
        assert held.stream.last_id() == 0
        with pytest.raises(RecordsUnavailable), hasty.write() as unit:
            unit.stream.last_id()
        assert lines(hasty) == 0
    with hasty.write() as unit:
        unit.stream.append(Announcement("something"), 0)
    holder.close()
    hasty.close()


def test_a_server_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    records = open_records(f"postgresql://nobody@/nothing?host={tmp_path}")
    with pytest.raises(RecordsUnavailable), records.read() as unit:
        unit.stream.last_id()
    records.close()


def test_a_reading_unit_sees_one_state(tmp_path: Path, databases: Databases) -> None:
    records = open_records(databases.new(tmp_path))
    with records.read() as before:
        assert before.stream.last_id() == 0
        with records.write() as unit:
            unit.stream.append(Announcement("something"), 0)
        assert before.stream.last_id() == 0
    assert lines(records) == 1
    records.close()


def test_worker_and_api_outlive_a_killed_server(
    mortal: PostgresqlServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "orchestrator.worker")
    database_url = mortal.url(mortal.create_database())
    migrate(database_url)
    rig = Rig(tmp_path, database_url)
    with Running(rig.new_worker()):
        rig.chain.mine()
        eventually(lambda: indexed(rig) == 1)
        mortal.kill()
        rig.chain.mine()
        eventually(lambda: "trying again" in caplog.text)
        assert "unexpected" not in caplog.text
        answer = rig.admin.get("/v1/tasks")
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert rig.anonymous.get("/readyz").status_code == 503
        mortal.start()
        eventually(lambda: indexed(rig) == 2)
    rig.order_admission(0)
    rig.turn_until(lambda: rig.get("/v1/nodes")["items"])
    rig.close()


def test_readers_and_writers_do_not_wait_for_each_other(tmp_path: Path, databases: Databases) -> None:
    records = open_records(databases.new(tmp_path))
    seen = threading.Event()

    def look() -> None:
        lines(records)
        seen.set()

    with records.write() as unit:
        unit.stream.append(Announcement("something"), 0)
        reader = threading.Thread(target=look)
        reader.start()
        assert seen.wait(10)
        reader.join()
    records.close()
