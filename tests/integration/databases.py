"""The databases that the orchestrator supports: a test that takes ``databases`` runs on each."""

import tempfile
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import MetaData, event, select

from orchestrator.adapters.database import DatabaseRecords, open_records
from orchestrator.adapters.database.engine import open_engine
from orchestrator.adapters.database.migrate import migrate
from tests.integration.postgresql import PostgresqlServer
from tests.integration.postgresql_pool import DatabasePool


class Databases(Protocol):
    """One kind of database, and the databases that one test made."""

    def empty(self, folder: Path) -> str:
        """The URL of a new database without tables."""

    def new(self, folder: Path) -> str:
        """The URL of a new database of the present schema."""

    def close(self) -> None:
        """Remove what was made."""


class SqliteDatabases:
    """Files in the test's folder."""

    def empty(self, folder: Path) -> str:
        """A file that does not exist yet."""
        return f"sqlite:///{folder}/hub.sqlite3"

    def new(self, folder: Path) -> str:
        """A copy of one that was migrated once."""
        return new_database(folder)

    def close(self) -> None:
        """They go with their folder."""


class PostgresqlDatabases:
    """Databases of a running server."""

    def __init__(self, pool: DatabasePool) -> None:
        self._pool = pool
        self._taken: list[str] = []
        self._made: list[str] = []

    def empty(self, folder: Path) -> str:
        """A database made for this test."""
        self._made.append(self._pool.server.create_database())
        return self._pool.server.url(self._made[-1])

    def new(self, folder: Path) -> str:
        """One that was migrated once, and emptied since."""
        self._taken.append(self._pool.take())
        return self._pool.server.url(self._taken[-1])

    def close(self) -> None:
        """Drop what was made, empty what was taken."""
        for name in self._made:
            self._pool.server.drop_database(name)
        for name in self._taken:
            self._pool.give_back(name)


def migrated_template(server: PostgresqlServer) -> str:
    """The name of a new database of the present schema, to copy."""
    name = server.create_database()
    migrate(server.url(name))
    return name


@cache
def _migrated_file() -> bytes:
    """An empty SQLite database of the present schema; made once, because migrating takes a while."""
    with tempfile.TemporaryDirectory() as folder:
        migrate(f"sqlite:///{folder}/template.sqlite3")
        return (Path(folder) / "template.sqlite3").read_bytes()


def new_database(folder: Path) -> str:
    """The URL of a new, migrated SQLite database."""
    (folder / "hub.sqlite3").write_bytes(_migrated_file())
    return f"sqlite:///{folder}/hub.sqlite3"


def open_quick_records(database_url: str) -> DatabaseRecords:
    """Records that do not wait for the disk at each commit: nobody pulls the plug of a test."""
    records = open_records(database_url)
    if database_url.startswith("sqlite"):
        event.listen(records._reading, "connect", _do_not_sync)
    return records


def all_rows(database_url: str) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table, in an order that depends on the rows alone."""
    engine = open_engine(database_url)
    metadata = MetaData()
    with engine.connect() as connection:
        metadata.reflect(connection)
        rows = {
            table.name: sorted((tuple(row) for row in connection.execute(select(table))), key=repr)
            for table in metadata.sorted_tables
        }
    engine.dispose()
    return rows


def _do_not_sync(connection: Any, _: object) -> None:
    connection.execute("PRAGMA synchronous = OFF")
