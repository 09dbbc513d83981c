"""What is removed after a while, and what never is."""

import json
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from contracts.digests import sha256_digest
from orchestrator.adapters.artifacts import FolderArtifactStore
from orchestrator.adapters.artifacts import folder as folder_module
from orchestrator.adapters.database import open_records
from orchestrator.cli import app
from orchestrator.commands.output import ExitCode
from orchestrator.domain.chain import Block
from orchestrator.services.retention import UNFINISHED_KEPT_S, ChainNotCurrent, RetentionService
from tests.integration.databases import Databases
from tests.integration.orchestrator_double_rig import Rig, new_database
from tests.integration.orchestrator_rig import BY_ADDRESS, GENESIS, REPORT, adapter, task_spec

DAY_S = 24 * 3600
KEPT_S = 30 * DAY_S


@pytest.fixture
def rig(tmp_path: Path, databases: Databases) -> Iterator[Rig]:
    rig = Rig(tmp_path, databases.new(tmp_path))
    yield rig
    rig.close()


def retention(rig: Rig) -> RetentionService:
    return RetentionService(rig.records, rig.artifacts, rig.clock, KEPT_S)


def age(rig: Rig, days: float) -> None:
    """Make every file as old as that."""
    for file in rig.artifacts._folder.rglob("*"):
        if file.is_file():
            os.utime(file, (0, rig.clock.unix_s - days * DAY_S))


def is_stored(rig: Rig, digest: str) -> bool:
    return rig.conductor.head(f"/v1/artifacts/{digest}").status_code == 200


def test_what_nothing_names_is_removed_after_its_time(rig: Rig) -> None:
    rig.turn()
    digest = rig.put(b"nobody names this")
    age(rig, 29)
    assert retention(rig).sweep().artifacts == ()
    age(rig, 31)
    assert [each.digest for each in retention(rig).sweep(only_look=True).artifacts] == [digest]
    assert is_stored(rig, digest)
    swept = retention(rig).sweep()
    assert (swept.freed_bytes, is_stored(rig, digest)) == (len(b"nobody names this"), False)
    assert retention(rig).sweep().artifacts == ()


def test_what_is_put_again_counts_as_new(rig: Rig) -> None:
    rig.turn()
    digest = rig.put(b"nobody names this")
    age(rig, 31)
    file = rig.artifacts._required_path(digest)
    os.utime(file, (0, rig.clock.unix_s))
    assert not rig.artifacts.remove_untouched(digest, rig.clock.unix_s - KEPT_S)
    assert is_stored(rig, digest)
    rig.put(b"nobody names this")
    assert file.stat().st_atime > 0


def test_what_a_killed_sweep_had_in_hand_is_given_back(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.turn()
    digest = rig.put(b"nobody names this, and somebody has just put it again")
    file = rig.artifacts._required_path(digest)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(folder_module, "_give_back", killed)
        with pytest.raises(KeyboardInterrupt):
            rig.artifacts.remove_untouched(digest, int(file.stat().st_mtime))
    assert not is_stored(rig, digest)
    rig.clock.unix_s = int(file.parent.stat().st_mtime)
    last = Block(9, "0x" + "01" * 32, "0x" + "02" * 32, rig.clock.unix_s)
    with rig.records.write() as unit:
        unit.projection.set_last_block(last, 0)
    assert retention(rig).sweep().artifacts == ()
    assert is_stored(rig, digest)
    assert list((rig.artifacts._folder / "incoming").iterdir()) == []


def test_everything_that_a_round_leaves_is_kept(rig: Rig) -> None:
    rig.start_task()
    first = rig.play_round(1)
    unnamed = rig.put(b"nobody names this")
    age(rig, 400)
    assert [each.digest for each in retention(rig).sweep().artifacts] == [unnamed]
    for digest in (
        task_spec().digest,
        sha256_digest(GENESIS),
        sha256_digest(REPORT),
        first["aggregate_digest"],
        *(BY_ADDRESS[node] and sha256_digest(BY_ADDRESS[node].adapter(1)) for node in first["proposers"]),
    ):
        assert is_stored(rig, digest)


def test_what_is_on_its_way_to_the_chain_is_kept(rig: Rig) -> None:
    rig.turn()
    rig.order_task()
    age(rig, 400)
    assert retention(rig).sweep().artifacts == ()
    assert is_stored(rig, sha256_digest(GENESIS))


def test_an_evaluated_adapter_is_kept(rig: Rig) -> None:
    rig.start_task()
    digest = rig.put(adapter(77.0))
    body = {"name": "n", "digest": digest, "records": 1, "correct": 1, "loss_nats": 1.0}
    body |= {"accuracy": 1.0, "interval_low": 0.5, "interval_high": 1.0}
    rig.post("/v1/tasks/1/rounds/0/evaluations", body)
    age(rig, 400)
    assert [each.digest for each in retention(rig).sweep().artifacts] == [sha256_digest(REPORT)]
    assert is_stored(rig, digest)


def test_nothing_is_removed_while_the_chain_is_not_known(rig: Rig) -> None:
    rig.put(b"nobody names this")
    with pytest.raises(ChainNotCurrent):
        retention(rig).sweep()
    rig.turn()
    rig.clock.unix_s += 2 * DAY_S
    age(rig, 400)
    with pytest.raises(ChainNotCurrent):
        retention(rig).sweep()
    with rig.records.write() as unit:
        unit.projection.clear()
    with pytest.raises(ChainNotCurrent):
        retention(rig).sweep()


def test_what_unfinished_uploads_left_goes_after_a_day(rig: Rig) -> None:
    rig.turn()
    digest = sha256_digest(b"0123456789")
    headers = {"Content-Range": "bytes 0-4/10"}
    assert rig.conductor.put(f"/v1/artifacts/{digest}", content=b"01234", headers=headers).status_code == 202
    incoming = rig.artifacts._folder / "incoming"
    (part,) = incoming.iterdir()
    os.utime(part, (0, rig.clock.unix_s - UNFINISHED_KEPT_S))
    assert retention(rig).sweep().unfinished_uploads == 0
    os.utime(part, (0, rig.clock.unix_s - UNFINISHED_KEPT_S - 1))
    assert retention(rig).sweep().unfinished_uploads == 1
    assert list(incoming.iterdir()) == []


def test_the_worker_sweeps(rig: Rig) -> None:
    rig.turn()
    digest = rig.put(b"nobody names this")
    age(rig, 31)
    replace(rig.worker, retention=retention(rig)).run_once()
    assert not is_stored(rig, digest)
    assert [
        (row["principal"], row["role"], row["operation"], row["body_digest"])
        for row in rig.get("/v1/audit")["items"]
    ] == [
        ("conductor", "conductor", "put_artifact", digest),
        ("retention", "host", "remove_artifact", digest),
    ]


def test_the_sweep_at_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database_url = new_database(tmp_path)
    folder = tmp_path / "artifacts"
    monkeypatch.setenv("COLLEGIUM_DATABASE_URL", database_url)
    monkeypatch.setenv("COLLEGIUM_ARTIFACT_FOLDER", str(folder))
    store = FolderArtifactStore(folder, 1_000)
    store.put(sha256_digest(b"x"), [b"x"])
    os.utime(store._required_path(sha256_digest(b"x")), (0, 0))

    def sweep(*options: str) -> tuple[int, Any]:
        done = CliRunner().invoke(app, ["artifacts", "sweep", "--json", *options])
        envelope = json.loads(done.stdout)
        return done.exit_code, envelope.get("data") or envelope["error"]["code"]

    assert sweep() == (ExitCode.REFUSED, "chain_not_current")
    records = open_records(database_url)
    with records.write() as unit:
        last = Block(5, sha256_digest(b"5"), sha256_digest(b"4"), int(time.time()))
        unit.projection.set_last_block(last, last.number)
    records.close()
    removed = {"removed": [sha256_digest(b"x")], "freed_bytes": 1}
    assert sweep("--dry-run") == (ExitCode.DONE, removed | {"only_looked": True})
    assert sweep() == (ExitCode.DONE, removed | {"only_looked": False})
    assert sweep()[1]["removed"] == []
    monkeypatch.setenv("COLLEGIUM_ARTIFACT_RETENTION_DAYS", "0")
    assert sweep()[0] == ExitCode.DONE
