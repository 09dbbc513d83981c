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

    def __init__(self, server: PostgresqlServer, template: str) -> None:
        self.server = server
        self._template = template
        self._names: list[str] = []

    def empty(self, folder: Path) -> str:
        """A database made for this test."""
        return self._created("template0")

    def new(self, folder: Path) -> str:
        """A copy of one that was migrated once."""
        return self._created(self._template)

    def close(self) -> None:
        """Drop them."""
        for name in self._names:
            self.server.drop_database(name)

    def _created(self, template: str) -> str:
        self._names.append(self.server.create_database(template))
        return self.server.url(self._names[-1])


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
