"""A PostgreSQL server that keeps its connections and says nothing any more."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from orchestrator.adapters.database import DatabaseRecords
from orchestrator.adapters.database.engine import open_engine
from orchestrator.adapters.database.postgresql_deadline import DeadlineConnection
from orchestrator.domain.ports import RecordsUnavailable
from tests.integration.databases import PostgresqlDatabases
from tests.integration.postgresql_pool import DatabasePool

DEADLINE_S = 1.0


@pytest.fixture
def engine(
    postgresql_pool: DatabasePool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Engine]:
    monkeypatch.setattr(DeadlineConnection, "longest_answer_s", DEADLINE_S)
    databases = PostgresqlDatabases(postgresql_pool)
    yield open_engine(databases.new(tmp_path))
    databases.close()


def server_process(engine: Engine) -> int:
    with engine.connect() as connection:
        found = connection.scalar(text("SELECT pg_backend_pid()"))
    assert isinstance(found, int)
    return found


def test_a_server_process_that_stopped_is_left_at_the_deadline(engine: Engine) -> None:
    stopped = server_process(engine)
    os.kill(stopped, signal.SIGSTOP)
    try:
        start_s = time.monotonic()
        # The pool asks the old connection first, leaves it, and opens another.
        assert server_process(engine) != stopped
        assert DEADLINE_S <= time.monotonic() - start_s < 30
    finally:
        os.kill(stopped, signal.SIGCONT)
        engine.dispose()


def test_a_unit_in_the_middle_is_given_up(engine: Engine) -> None:
    records = DatabaseRecords(engine)
    stopped = server_process(engine)

    def stopped_halfway() -> None:
        with records.write() as unit:
            unit.audit.last()
            os.kill(stopped, signal.SIGSTOP)
            unit.audit.last()

    try:
        with pytest.raises(RecordsUnavailable) as refused:
            stopped_halfway()
        assert "did not answer within 1 s" in str(refused.value.__cause__)
    finally:
        os.kill(stopped, signal.SIGCONT)
    with records.write() as unit:
        unit.audit.last()
    records.close()
