"""Connections and transactions: a unit is one transaction; a writing one takes SQLite's write lock first."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError
from sqlalchemy.orm import Session

from orchestrator.adapters.database.hub_records import (
    SqlEvaluationRepository,
    SqlFlowerRunRepository,
    SqlNodeNameRepository,
    SqlStreamRepository,
    SqlTaskOrderRepository,
    SqlTokenRepository,
)
from orchestrator.adapters.database.idempotency import SqlIdempotencyRepository
from orchestrator.adapters.database.outbox import SqlOutboxRepository
from orchestrator.adapters.database.projection import SqlProjectionRepository
from orchestrator.domain.errors import Conflict
from orchestrator.domain.ports import RecordsUnavailable

_BUSY_TIMEOUT_MS = 10_000
_WRITES = "collegium_writes"


class SqlUnit:
    """``Unit`` over one session."""

    def __init__(self, session: Session) -> None:
        self.projection = SqlProjectionRepository(session)
        self.outbox = SqlOutboxRepository(session)
        self.stream = SqlStreamRepository(session)
        self.orders = SqlTaskOrderRepository(session)
        self.names = SqlNodeNameRepository(session)
        self.tokens = SqlTokenRepository(session)
        self.evaluations = SqlEvaluationRepository(session)
        self.flower_runs = SqlFlowerRunRepository(session)
        self.idempotency = SqlIdempotencyRepository(session)


class DatabaseRecords:
    """``Records`` over a database that SQLAlchemy knows."""

    def __init__(self, engine: Engine) -> None:
        self._reading = engine
        self._writing = engine.execution_options(**{_WRITES: True})

    @contextmanager
    def read(self) -> Iterator[SqlUnit]:
        """A unit that sees one consistent state and changes nothing."""
        with _translated(), Session(self._reading) as session:
            yield SqlUnit(session)

    @contextmanager
    def write(self) -> Iterator[SqlUnit]:
        """A unit that is committed at the end of its block, or undone by an error."""
        with _translated(), Session(self._writing) as session, session.begin():
            yield SqlUnit(session)

    def close(self) -> None:
        """Close all connections."""
        self._reading.dispose()


def open_records(database_url: str) -> DatabaseRecords:
    """The records in the database at a SQLAlchemy URL; a SQLite file's folder is made when missing."""
    return DatabaseRecords(open_engine(database_url))


def open_engine(database_url: str) -> Engine:
    """An engine; SQLite gets write-ahead logging, foreign keys and a busy timeout."""
    url = make_url(database_url)
    if url.get_backend_name() != "sqlite":
        return create_engine(url, pool_pre_ping=True)
    if url.database:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except OperationalError as error:
        raise RecordsUnavailable("the database cannot be used at the moment") from error
    except IntegrityError as error:
        raise Conflict("somebody else recorded the same at the same time; ask again") from error
    except DBAPIError as error:
        if error.connection_invalidated:
            raise RecordsUnavailable("the connection to the database is lost") from error
        raise


def _prepare_sqlite(connection: sqlite3.Connection, _: Any) -> None:
    # The driver's own transaction control starts transactions late and cannot take the write lock first.
    connection.isolation_level = None
    for pragma in (
        "journal_mode = WAL",
        "foreign_keys = ON",
        f"busy_timeout = {_BUSY_TIMEOUT_MS}",
        "synchronous = FULL",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that reads and then writes could meet another writer in between and would have to give up;
    # one that takes the lock at its start only waits.
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
