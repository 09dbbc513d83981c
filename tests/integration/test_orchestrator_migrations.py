"""The schema through time: from each released one to the present and back, with data in it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Connection,
    Float,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    insert,
    null,
    select,
)

from orchestrator.adapters.database import open_records
from orchestrator.adapters.database.engine import open_engine
from orchestrator.adapters.database.migrate import alembic_config, migrate
from orchestrator.adapters.database.models import PROJECTION_TABLES, Base
from orchestrator.adapters.database.revision import is_migrated, newest_revision
from orchestrator.domain.chain import RequestRound
from orchestrator.domain.ports import EvaluationRecord, FlowerRunRecord, StreamEvent, TaskOrder
from orchestrator.domain.projection import Announcement
from tests.integration.databases import Databases

NODE = "0x" + "ab" * 20
DIGEST = "0x" + "ef" * 32
RAW = bytes(range(256))
MOST_NONCE = (1 << 63) - 1
MOST_BASE_UNITS = (1 << 256) - 1
PROJECTION = {table.__tablename__ for table in PROJECTION_TABLES}
SCRIPTS = ScriptDirectory.from_config(alembic_config())
REVISIONS = [script.revision for script in reversed(list(SCRIPTS.walk_revisions()))]
"""Oldest first."""

ROWS: Mapping[str, Mapping[str, object]] = {
    "node_names": {"node": NODE, "name": "Áurora '; --"},
    "task_orders": {"call_key": "create_task:x", "pool": str(MOST_BASE_UNITS), "spec_digest": DIGEST},
    "outbox": {
        "key": "request_round:1:1",
        "kind": "request_round",
        "payload": {"task": 1},
        "status": "mined",
        "sender": NODE,
        "nonce": MOST_NONCE,
        "position": 0,
        "transaction_hash": DIGEST,
        "raw": RAW,
    },
    "transactions": {"hash": DIGEST, "sender": NODE, "nonce": MOST_NONCE, "raw": RAW},
    "api_tokens": {"role": "admin", "token_hash": "0" * 64, "node": null(), "operations": null()},
    "evaluations": {"accuracy": 0.1, "loss_nats": 1 / 3},
    "flower_runs": {"run_id": "123", "status": "running"},
    "event_stream": {"facts": {"nested": {"list": [1, "two", None]}}},
}
"""What matters of each table's row; the other columns get any value of their type."""


def any_value(column: Column[Any]) -> object:
    match column.type:
        case Boolean():
            return True
        case Integer():
            return 1
        case Float():
            return 0.5
        case JSON():
            return {}
        case LargeBinary():
            return b"\x00\xff"
        case String(length=length):
            return "7" * min(length or 3, 3)
        case other:
            raise AssertionError(f"say what goes into {column}, of type {other}")


def tables_of(connection: Connection) -> Sequence[Table]:
    metadata = MetaData()
    metadata.reflect(connection)
    return [table for table in metadata.sorted_tables if table.name != "alembic_version"]


def fill(connection: Connection) -> None:
    """One row in every table."""
    for table in tables_of(connection):
        row = {column.name: any_value(column) for column in table.columns}
        row |= {name: value for name, value in ROWS.get(table.name, {}).items() if name in table.columns}
        connection.execute(insert(table).values(row))


def contents(connection: Connection) -> dict[str, list[dict[str, Any]]]:
    """Every table's rows."""
    return {
        table.name: [dict(row) for row in connection.execute(select(table)).mappings()]
        for table in tables_of(connection)
    }


def move(url: str, revision: str) -> dict[str, list[dict[str, Any]]]:
    """Bring a database to a revision, up or down; what is in it then."""
    engine = open_engine(url)
    with engine.begin() as connection:
        present = MigrationContext.configure(connection).get_current_revision()
        config = alembic_config()
        config.attributes["connection"] = connection
        is_up = present is None or REVISIONS.index(present) <= REVISIONS.index(revision)
        (command.upgrade if is_up else command.downgrade)(config, revision)
    with engine.connect() as connection:
        found = contents(connection)
    engine.dispose()
    return found


def require_kept(before: dict[str, list[dict[str, Any]]], after: dict[str, list[dict[str, Any]]]) -> None:
    """The hub's own rows are there as before; of the projection all is there, or nothing to be built on."""
    kept = set(before) & set(after)
    if not after["chain_cursor"]:
        assert not any(after[table] for table in PROJECTION & set(after))
        kept -= PROJECTION
    for table in kept:
        columns = [column for column in before[table][0] if column in after[table][0]]
        old = [[row[column] for column in columns] for row in before[table]]
        assert [[row[column] for column in columns] for row in after[table]] == old, table


@pytest.mark.parametrize("revision", REVISIONS)
def test_a_database_of_any_release_keeps_its_data(
    tmp_path: Path, databases: Databases, revision: str
) -> None:
    url = databases.empty(tmp_path)
    move(url, revision)
    engine = open_engine(url)
    with engine.begin() as connection:
        fill(connection)
        before = contents(connection)
    engine.dispose()

    assert migrate(url) == REVISIONS[-1]
    after = move(url, REVISIONS[-1])
    require_kept(before, after)
    require_readable(url)
    require_schema_of_models(url)

    down = move(url, REVISIONS[0])
    require_kept(after, down)
    # What the older schema had no place for is gone.
    require_kept(down, move(url, REVISIONS[-1]))
    require_readable(url)


def require_readable(url: str) -> None:
    """The repositories read what was written by hand."""
    records = open_records(url)
    with records.read() as unit:
        assert unit.names.names() == {NODE: "Áurora '; --"}
        assert unit.orders.all() == [TaskOrder(DIGEST, "777", "create_task:x", MOST_BASE_UNITS, 1)]
        intent = unit.outbox.by_key("request_round:1:1")
        assert intent is not None
        assert (intent.call, intent.transaction_hash) == (RequestRound(1), DIGEST)
        signed = unit.outbox.transactions_of(NODE, MOST_NONCE)
        assert [(each.hash, each.raw) for each in signed] == [(DIGEST, RAW)]
        assert unit.outbox.count_unsettled() == 0
        (token,) = unit.tokens.by_hashes(["0" * 64]).values()
        assert (token.id, token.name, token.role, token.expires_unix_s) == (1, "777", "admin", 1)
        assert unit.evaluations.of_task(1) == [
            EvaluationRecord(1, 1, "777", "777", 1, 1, 0.1, 0.5, 0.5, 1 / 3)
        ]
        assert unit.flower_runs.unfinished() == [FlowerRunRecord(1, 1, 1, "123", "running", 1, "777")]
        said = Announcement("777", 1, 1, "777", {"nested": {"list": [1, "two", None]}})
        assert unit.stream.after(0, 10) == [StreamEvent(1, 1, said)]
    records.close()


def require_schema_of_models(url: str) -> None:
    engine = open_engine(url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
    engine.dispose()


def test_migrating_twice_changes_nothing(tmp_path: Path, databases: Databases) -> None:
    url = databases.empty(tmp_path / "folder/made/on/the/way")
    assert not is_migrated(url)
    assert migrate(url) == migrate(url) == REVISIONS[-1] == newest_revision()
    assert is_migrated(url)
    require_schema_of_models(url)


def test_all_the_way_down_nothing_is_left(tmp_path: Path, databases: Databases) -> None:
    url = databases.new(tmp_path)
    engine = open_engine(url)
    with engine.begin() as connection:
        fill(connection)
        config = alembic_config()
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
        assert tables_of(connection) == []
    engine.dispose()
    assert migrate(url) == REVISIONS[-1]
