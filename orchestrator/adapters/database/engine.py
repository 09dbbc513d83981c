"""Connections to the two databases that are supported, set up so that one writes while others read.

A transaction that writes holds one lock of the database from its first statement to its end, on both: what it
reads before it writes stays true, it never has to be tried again, and rows are numbered in the order in which
they become visible. Nobody waits for that lock for longer than ten seconds.
"""

import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url

_LONGEST_WAIT_MS = 10_000
_WRITES = "collegium_writes"
_WRITE_LOCK = int.from_bytes(b"colleg")
"""PostgreSQL's advisory locks are numbers, counted in each database apart."""
_POSTGRESQL_CONNECTION = {
    "connect_timeout": 10,
    # A server that vanished without a word is noticed within a minute.
    "keepalives_idle": 20,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
    # A process that stopped in the middle of a transaction does not hold the others up for ever.
    "options": f"-c lock_timeout={_LONGEST_WAIT_MS} -c idle_in_transaction_session_timeout=60000",
}


def open_engine(database_url: str) -> Engine:
    """An engine for the database at a SQLAlchemy URL; a SQLite file's folder is made when missing."""
    url = make_url(database_url)
    return _open_sqlite(url) if url.get_backend_name() == "sqlite" else _open_postgresql(url)


def writing(engine: Engine) -> Engine:
    """The same engine, whose transactions take the write lock at their start."""
    if engine.dialect.name == "sqlite":
        return engine.execution_options(**{_WRITES: True})
    # What a statement sees is taken when it begins, hence after the lock was given.
    return engine.execution_options(**{_WRITES: True}, isolation_level="READ COMMITTED")


def _open_sqlite(url: URL) -> Engine:
    if url.database:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    # Parameters of a statement that failed would stand in the log, and some are secrets.
    engine = create_engine(url, hide_parameters=True)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _open_postgresql(url: URL) -> Engine:
    settings = {name: value for name, value in _POSTGRESQL_CONNECTION.items() if name not in url.query}
    # A reading unit sees one state from its first statement to its last.
    engine = create_engine(
        url,
        pool_pre_ping=True,
        isolation_level="REPEATABLE READ",
        connect_args=settings,
        hide_parameters=True,
    )
    event.listen(engine, "begin", _begin_postgresql)
    return engine


def _prepare_sqlite(connection: sqlite3.Connection, _: Any) -> None:
    # The driver's own transaction control starts transactions late and cannot take the write lock first.
    connection.isolation_level = None
    for pragma in (
        "journal_mode = WAL",
        "foreign_keys = ON",
        f"busy_timeout = {_LONGEST_WAIT_MS}",
        "synchronous = FULL",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE" if _writes(connection) else "BEGIN")


def _begin_postgresql(connection: Connection) -> None:
    if _writes(connection):
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITE_LOCK})")


def _writes(connection: Connection) -> bool:
    return bool(connection.get_execution_options().get(_WRITES, False))
