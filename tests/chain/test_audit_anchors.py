"""Anchoring on a real chain, and the command that holds a log against it."""

import json
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from contracts.accounts import Account
from contracts.audit import AuditEntry, epoch_root
from contracts.verify.anchors import read_anchors
from contracts.verify.errors import ChainUnavailable
from orchestrator.adapters.database import DatabaseRecords
from orchestrator.cli import app
from orchestrator.commands import audit as commands
from orchestrator.domain.chain import AnchorEpoch, CallRefused
from orchestrator.domain.outbox import IntentStatus, OutboxRules
from orchestrator.services.anchoring import AuditAnchoring
from orchestrator.services.outbox import OutboxProcessor
from tests.chain.anvil import RICH_KEYS
from tests.chain.world import World, wait_until
from tests.integration.databases import new_database, open_quick_records
from tests.integration.orchestrator_double_rig import ClockDouble

COUNCIL = str(Account.from_key(RICH_KEYS[0]).address)
ENTRY = AuditEntry(
    time_unix_s=1_000, principal="a", role="admin", operation="o", outcome="done", correlation_id="c"
)
OTHER_ENTRY = ENTRY.model_copy(update={"principal": "nobody"})
runner = CliRunner()


class Log:
    """A hub's log in a database, and the worker that anchors it on a chain."""

    def __init__(self, world: World, folder: Path) -> None:
        self.world = world
        self.folder = folder
        self.url = new_database(folder)
        self.records: DatabaseRecords = open_quick_records(self.url)
        self.clock = ClockDouble(unix_s=1_000)
        self.anchoring = AuditAnchoring(self.records, self.clock, epoch_s=600, epoch_rows=5)
        self.outbox = self.new_outbox()
        self.deployment_file = folder / "deployment.json"
        self.deployment_file.write_bytes(world.deployment.to_json())

    def new_outbox(self) -> OutboxProcessor:
        """The outbox of a worker that has just been started."""
        return OutboxProcessor(
            self.records, self.world.lanes, self.world.reader, self.clock, OutboxRules(confirmations=1)
        )

    def write(self, count: int, entry: AuditEntry = ENTRY) -> None:
        """Append rows."""
        with self.records.write() as unit:
            for _ in range(count):
                unit.audit.append(entry)

    def anchor(self) -> AnchorEpoch | None:
        """Let the worker anchor what is due, until it is on chain."""
        intent = self.anchoring.run_once()
        if intent is None:
            return None
        assert isinstance(intent.call, AnchorEpoch)

        def is_mined() -> bool:
            self.outbox.run_once()
            with self.records.read() as unit:
                known = unit.outbox.by_id(intent.id)
                assert known is not None
                return known.is_on_chain

        wait_until(is_mined, "the anchor")
        return intent.call

    def verify(self, *arguments: str) -> tuple[int, str]:
        """What the command says of the database, held against the chain."""
        done = runner.invoke(
            app,
            ["audit", "verify", *(arguments or ("--from-database",))],
            env={
                "COLLEGIUM_MODE": "development",
                "COLLEGIUM_DATABASE_URL": self.url,
                "COLLEGIUM_RPC_URL": self.world.anvil.rpc_url,
                "COLLEGIUM_DEPLOYMENT_FILE": str(self.deployment_file),
            },
        )
        return done.exit_code, done.stderr

    def tamper(self, *statements: str) -> None:
        """What somebody with the database's password can do."""
        with sqlite3.connect(self.folder / "hub.sqlite3") as connection:
            for statement in statements:
                connection.execute(statement)


@pytest.fixture
def log(make_world: Callable[..., World], tmp_path: Path) -> Iterator[Log]:
    log = Log(make_world(groups=(1,)), tmp_path)
    yield log
    log.records.close()


@pytest.fixture
def anchored(log: Log) -> Log:
    """Ten rows in two epochs, and two rows behind them."""
    log.write(12)
    assert log.anchor() is not None
    assert log.anchor() is not None
    assert log.anchor() is None
    return log


def test_epochs_end_by_rows_or_by_time_and_only_with_rows(log: Log) -> None:
    log.clock.unix_s = 1_000_000
    assert log.anchor() is None
    log.clock.unix_s = 1_000
    log.write(4)
    assert log.anchor() is None
    log.write(3)
    with log.records.read() as unit:
        rows = list(unit.audit.rows(1, 100))
    assert log.anchor() == AnchorEpoch(epoch_root(rows[:5]), 1, 5)
    log.clock.unix_s = 1_599
    assert log.anchor() is None
    log.clock.unix_s = 1_600
    assert log.anchor() == AnchorEpoch(epoch_root(rows[5:]), 6, 7)
    assert log.anchor() is None
    found = read_anchors(log.world.anvil.rpc_url, log.world.deployment)
    assert [(each.sender, each.epoch, each.first, each.last) for each in found] == [
        (COUNCIL, 1, 1, 5),
        (COUNCIL, 2, 6, 7),
    ]


def test_two_workers_and_a_crash_between_the_steps_anchor_once(log: Log) -> None:
    log.write(5)
    first = log.anchoring.run_once()
    assert first is not None
    other = AuditAnchoring(log.records, log.clock, epoch_s=600, epoch_rows=5)
    assert other.run_once() is None  # waits for the first epoch's transaction
    log.outbox.run_once()
    again = log.new_outbox()

    def is_mined() -> bool:
        again.run_once()
        return other.run_once() is None and bool(read_anchors(log.world.anvil.rpc_url, log.world.deployment))

    wait_until(is_mined, "the anchor")
    assert len(read_anchors(log.world.anvil.rpc_url, log.world.deployment)) == 1


def test_the_contract_replaces_no_epoch(anchored: Log) -> None:
    for call in (AnchorEpoch("0x" + "11" * 32, 1, 5), AnchorEpoch("0x" + "11" * 32, 12, 12)):
        with pytest.raises(CallRefused, match="RowsOutOfOrder"):
            anchored.world.broadcast(call)


def test_what_anybody_else_anchors_does_not_count(anchored: Log) -> None:
    world = anchored.world
    stranger = world.lanes.relayer
    transaction = stranger.sign(AnchorEpoch("0x" + "11" * 32, 1, 12), stranger.next_nonce())
    stranger.broadcast(transaction)
    assert world.receipt(transaction).succeeded
    assert anchored.verify()[0] == 0
    code, words = anchored.verify("--from-database", "--anchored-by", stranger.sender)
    assert (code, "rewritten" in words) == (1, True)


def test_a_log_as_it_was_written_is_fine(anchored: Log) -> None:
    code, words = anchored.verify()
    assert (code, words) == (0, "12 rows follow one another; 10 of them, in 2 epochs, are as on chain\n")


def test_a_log_that_grows_and_is_anchored_while_it_is_verified_is_fine(
    anchored: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_epochs = commands._epochs

    def after_one_more(*arguments: Any) -> Any:
        anchored.write(5)
        assert anchored.anchor() is not None
        return read_epochs(*arguments)

    monkeypatch.setattr(commands, "_epochs", after_one_more)
    code, words = anchored.verify()
    assert (code, words) == (0, "17 rows follow one another; 15 of them, in 3 epochs, are as on chain\n")


@pytest.mark.parametrize(
    ("statements", "words"),
    [
        (["UPDATE audit_log SET principal = 'nobody' WHERE number = 4"], "row 4 was edited"),
        (["UPDATE audit_log SET time_unix_s = -1 WHERE number = 12"], "row 12 was edited"),
        (["DELETE FROM audit_log WHERE number = 7"], "row 7 is missing"),
        (["DELETE FROM audit_log WHERE number > 8"], "rows 9 to 10 are missing"),
        (["DELETE FROM audit_log"], "rows 1 to 10 are missing"),
        (
            [
                "UPDATE audit_log SET number = 0 WHERE number = 3",
                "UPDATE audit_log SET number = 3 WHERE number = 4",
                "UPDATE audit_log SET number = 4 WHERE number = 0",
            ],
            "row 3 was edited",
        ),
        (
            [
                "UPDATE audit_log SET number = 13 WHERE number = 12",
                "INSERT INTO audit_log SELECT 12, time_unix_s, 'nobody', role, operation, task, round, node,"
                " outcome, reason, correlation_id, body_digest, '0xab', hash"
                " FROM audit_log WHERE number = 11",
            ],
            "row 12 was edited",
        ),
    ],
)
def test_whatever_is_done_to_the_table_is_found_and_named(
    anchored: Log, statements: list[str], words: str
) -> None:
    anchored.tamper(*statements)
    code, said = anchored.verify()
    assert code == 1
    assert words in said


def test_a_log_written_anew_from_row_two_is_found_by_the_chain_alone(anchored: Log) -> None:
    anchored.tamper("DELETE FROM audit_log WHERE number > 1")
    anchored.write(11, OTHER_ENTRY)
    assert (
        runner.invoke(
            app, ["audit", "verify", "--from-database"], env={"COLLEGIUM_DATABASE_URL": anchored.url}
        ).exit_code
        == 0
    )
    code, said = anchored.verify()
    assert code == 1
    assert "rows 1 to 5 are not what" in said
    assert "rows 6 to 10 are not what" in said


def test_an_export_says_the_same_and_shows_tampering(anchored: Log, tmp_path: Path) -> None:
    out = tmp_path / "log.jsonl"
    done = runner.invoke(
        app,
        ["audit", "export", "--from-database", "--out", str(out), "--json"],
        env={"COLLEGIUM_DATABASE_URL": anchored.url},
    )
    assert json.loads(done.stdout)["data"]["rows"] == 12
    assert anchored.verify(str(out))[0] == 0
    lines = out.read_text().splitlines()
    for changed, words in (
        ([*lines[:3], *lines[4:]], "row 4 is missing"),
        ([*lines[:3], lines[4], lines[3], *lines[5:]], "row 4 stands behind row 5"),
        ([*lines[:4], lines[3], *lines[4:]], "there are 2 rows 4"),
        ([*lines[:3], lines[3].replace('"admin"', '"other"'), *lines[4:]], "row 4 was edited"),
        ([*lines[:3], "{}", *lines[4:]], "line 4"),
        (lines[:9], "row 10 is missing"),
    ):
        out.write_text("\n".join(changed) + "\n")
        code, said = anchored.verify(str(out))
        assert code == 1
        assert words in said


def test_what_cannot_be_checked_is_no_verdict(anchored: Log, tmp_path: Path) -> None:
    cases: tuple[tuple[list[str], str], ...] = (
        ([str(tmp_path / "nothing.jsonl")], "No such file"),
        (["--from-database", "--rpc-url", "http://127.0.0.1:1"], "RPC endpoint"),
        (["--from-database", "--anchored-by", "0x12"], "no address"),
        (["--from-database", "--deployment", str(tmp_path / "none.json")], "No such file"),
        ([], "say where the log is"),
    )
    for arguments, words in cases:
        code, said = anchored.verify(*arguments) if arguments else _verify_nothing()
        assert code == 2, said
        assert words in said


def _verify_nothing() -> tuple[int, str]:
    done = runner.invoke(app, ["audit", "verify"])
    return done.exit_code, done.stderr


def test_another_contract_in_its_place_is_not_believed(anchored: Log) -> None:
    deployment = anchored.world.deployment
    elsewhere = deployment.model_copy(update={"anchors": deployment.token})
    with pytest.raises(ChainUnavailable, match="not the Anchors contract"):
        read_anchors(anchored.world.anvil.rpc_url, elsewhere)


def test_a_database_from_before_an_anchor_is_noticed(anchored: Log) -> None:
    """A hub that came back from an old copy must not anchor anything in place of what is on chain."""
    anchored.tamper(
        "DELETE FROM audit_log WHERE number > 6",
        "DELETE FROM audit_epochs WHERE first_row > 5",
        "DELETE FROM outbox WHERE key = 'anchor:6'",
    )
    anchored.write(4, OTHER_ENTRY)
    intent: Any = anchored.anchoring.run_once()
    assert isinstance(intent.call, AnchorEpoch)
    anchored.outbox.run_once()
    with anchored.records.read() as unit:
        refused = unit.outbox.by_id(intent.id)
    assert refused is not None
    assert (refused.status, refused.error) == (IntentStatus.REFUSED, "RowsOutOfOrder")
    code, said = anchored.verify()
    assert (code, "rows 6 to 10 are not what" in said) == (1, True)
