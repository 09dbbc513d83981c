"""Connections to the two databases that are supported, set up so that one writes while others read.

A transaction that writes holds one lock of the database from its first statement to its end, on both: what it
reads before it writes stays true, it never has to be tried again, and rows are numbered in the order in which
they become visible. Nobody waits for that lock for longer than ten seconds.
"""

import sqlite3
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Dialect, Engine, create_engine, event, make_url

LONGEST_WAIT_S = 10.0
_LONGEST_WAIT_MS = int(1000 * LONGEST_WAIT_S)
LOOK_AGAIN_S = 0.001
"""How soon a process looks again whether another one still writes to a SQLite file."""
_PRIMARY_CODE = 0xFF
"""SQLite's error codes carry details above their first byte."""
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


def open_engine(database_url: str, *, is_patient: bool = False) -> Engine:
    """An engine for the database at a SQLAlchemy URL; a SQLite file's folder is made when missing.

    One that ``is_patient`` waits for a statement as long as it takes.
    """
    url = make_url(database_url)
    return _open_sqlite(url) if url.get_backend_name() == "sqlite" else _open_postgresql(url, is_patient)


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


def _open_postgresql(url: URL, is_patient: bool) -> Engine:
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
    if not is_patient:
        event.listen(engine, "do_connect", _connect_with_deadline)
    return engine


def _connect_with_deadline(
    _dialect: Dialect, _record: Any, arguments: Sequence[Any], options: Mapping[str, Any]
) -> object:
    # Here, because who runs on SQLite need not have PostgreSQL's driver.
    from orchestrator.adapters.database.postgresql_deadline import DeadlineConnection

    return DeadlineConnection.connect(*arguments, **options)


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
    if _writes(connection):
        _take_write_lock(connection)
    else:
        connection.exec_driver_sql("BEGIN")


def _take_write_lock(connection: Connection) -> None:
    """Begin to write once no other process does.

    SQLite itself would look again after pauses of up to a tenth of a second, in which others write one after
    the other: whoever has waited longest would wait on.
    """
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    give_up_s = time.monotonic() + LONGEST_WAIT_S
    driver.execute("PRAGMA busy_timeout = 0")
    try:
        while time.monotonic() < give_up_s:
            try:
                driver.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & _PRIMARY_CODE != sqlite3.SQLITE_BUSY:
                    break
                time.sleep(LOOK_AGAIN_S)
            else:
                return
        # Once more, for an error in SQLAlchemy's words.
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    finally:
        driver.execute(f"PRAGMA busy_timeout = {_LONGEST_WAIT_MS}")


def _begin_postgresql(connection: Connection) -> None:
    if _writes(connection):
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITE_LOCK})")


def _writes(connection: Connection) -> bool:
    return bool(connection.get_execution_options().get(_WRITES, False))
