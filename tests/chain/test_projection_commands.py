"""``collegium projection …`` on a real chain: the exit codes, and what the audit log says of it."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from orchestrator.adapters.database import DatabaseRecords
from orchestrator.cli import app
from orchestrator.services.indexer import Indexer
from tests.chain.world import World
from tests.integration.databases import new_database, open_quick_records
from tests.integration.orchestrator_double_rig import ClockDouble

runner = CliRunner()


class Hub:
    """A hub's database that has read a chain, and its settings."""

    def __init__(self, world: World, folder: Path) -> None:
        self.url = new_database(folder)
        self.file = folder / "hub.sqlite3"
        self.scratch = folder / "scratch"
        self.scratch.mkdir()
        self.records: DatabaseRecords = open_quick_records(self.url)
        deployment = folder / "deployment.json"
        deployment.write_bytes(world.deployment.to_json())
        self.environment = {
            "COLLEGIUM_DATABASE_URL": self.url,
            "COLLEGIUM_RPC_URL": world.anvil.rpc_url,
            "COLLEGIUM_DEPLOYMENT_FILE": str(deployment),
            "COLLEGIUM_CONFIRMATIONS": "2",
        }
        Indexer(self.records, world.reader, ClockDouble(), world.deployment.block, 2).run_once()

    def run(self, *arguments: str, **environment: str) -> tuple[int, dict[str, Any]]:
        """The exit code and the envelope of a command."""
        done = runner.invoke(
            app, ["projection", *arguments, "--json"], env={**self.environment, **environment}
        )
        envelope: dict[str, Any] = json.loads(done.stdout)
        return done.exit_code, envelope

    def execute(self, statement: str) -> None:
        """Change the database behind the hub's back."""
        with closing(sqlite3.connect(self.file)) as connection, connection:
            assert connection.execute(statement).rowcount > 0

    def audited(self) -> list[str]:
        """The operations in the audit log."""
        with self.records.read() as unit:
            return [row.operation for row in unit.audit.rows(1, 100)]


@pytest.fixture
def hub(played: World, tmp_path: Path) -> Iterator[Hub]:
    hub = Hub(played, tmp_path)
    yield hub
    hub.records.close()


def test_a_difference_is_found_and_mended(hub: Hub) -> None:
    code, envelope = hub.run("check")
    assert (code, envelope["ok"]) == (0, True)
    hub.execute("UPDATE rounds SET reward = '1' WHERE round = 1")
    code, envelope = hub.run("check")
    assert (code, envelope["error"]["code"]) == (1, "projection_differs")
    assert envelope["error"]["message"].startswith("rounds, task 1, round 1: reward is 1, and ")
    assert "collegium projection rebuild" in envelope["error"]["message"]
    code, envelope = hub.run("rebuild", "--scratch", str(hub.scratch))
    assert (code, envelope["ok"]) == (0, True)
    assert list(hub.scratch.iterdir()) == []
    assert hub.run("check")[0] == 0
    assert hub.audited() == ["check_projection", "check_projection", "rebuild_projection", "check_projection"]
    with hub.records.read() as unit:
        lease = unit.lease.current()
    assert lease is not None
    assert lease.expires_unix_s == 0, "a worker takes over at once"


def test_a_chain_that_does_not_answer_is_no_verdict(hub: Hub) -> None:
    for command in (["check"], ["rebuild", "--scratch", str(hub.scratch)]):
        code, envelope = hub.run(*command, COLLEGIUM_RPC_URL="http://127.0.0.1:1")
        assert (code, envelope["error"]["code"]) == (1, "chain_error")
    assert hub.audited() == []


def test_what_is_not_set_up_is_said(hub: Hub, tmp_path: Path) -> None:
    code, envelope = hub.run("check", COLLEGIUM_DATABASE_URL=f"sqlite:///{tmp_path}/other.sqlite3")
    assert (code, envelope["error"]["code"]) == (2, "not_migrated")
    code, envelope = hub.run("check", COLLEGIUM_DEPLOYMENT_FILE=str(tmp_path / "none.json"))
    assert (code, envelope["error"]["code"]) == (2, "bad_settings")
