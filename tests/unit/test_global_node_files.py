"""The node's folder of a round, its lock, its configuration, and the pauses of the conductor."""

import json
from pathlib import Path
from typing import Any

import pytest

from contracts.manifest import adapter_digest
from tests.unit.global_sim import GENESIS, SimClock
from tier_global.backoff import FIRST_PAUSE_S, LONGEST_PAUSE_S, Backoff
from tier_global.connection_book import ConnectionBookFile
from tier_global.errors import NodeRefusal, SetupError
from tier_global.node_config import NodeConfig
from tier_global.phases import Stage
from tier_global.round_folder import RoundFolder

CONFIG: dict[str, Any] = {
    "address": "0x" + "11" * 20,
    "key_file": "node.key",
    "rpc_url": "http://127.0.0.1:8545",
    "deployment_file": "/etc/deployment.json",
    "state_folder": "state",
    "network_file": "network.json",
    "inner_command": ["python", "-m", "tier_local"],
    "allowed_bundles": ["0x" + "ab" * 32],
}


# The folder


def test_an_adapter_is_found_by_its_digest(tmp_path: Path) -> None:
    folder = RoundFolder(tmp_path, 1, 1)
    folder.keep_adapter(GENESIS)

    assert RoundFolder(tmp_path, 1, 1).adapter(adapter_digest(GENESIS)) == GENESIS
    assert folder.adapter("0x" + "00" * 32) is None


def test_bytes_that_went_bad_are_not_given_out_and_can_be_replaced(tmp_path: Path) -> None:
    folder = RoundFolder(tmp_path, 1, 1)
    folder.keep_adapter(GENESIS).write_bytes(GENESIS[:-1] + b"!")

    assert folder.adapter(adapter_digest(GENESIS)) is None
    folder.keep_adapter(GENESIS)
    assert folder.adapter(adapter_digest(GENESIS)) == GENESIS


def test_only_earlier_rounds_of_the_task_are_forgotten(tmp_path: Path) -> None:
    folders = {key: RoundFolder(tmp_path, *key).path for key in ((1, 1), (1, 2), (1, 10), (11, 1), (2, 1))}

    RoundFolder(tmp_path, 1, 2).forget_earlier_rounds()

    assert {key for key, path in folders.items() if path.exists()} == {(1, 2), (1, 10), (11, 1), (2, 1)}


def test_what_a_killed_job_left_behind_is_removed(tmp_path: Path) -> None:
    folder = RoundFolder(tmp_path, 1, 1)
    stale = folder.path / "train-killed"
    stale.mkdir()
    with folder.work_folder(Stage.TRAIN) as work:
        assert not stale.exists()
        assert list(work.iterdir()) == []
    assert not work.exists()


def test_a_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RoundFolder(tmp_path, 1, 1)
    folder.write("task.json", b"old")

    def full(_: int) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="no space"):
        folder.write("task.json", b"new")
    assert folder.read("task.json") == b"old"
    assert [path.name for path in folder.path.iterdir() if path.is_file()] == ["task.json"]


def test_one_worker_at_a_time(tmp_path: Path) -> None:
    clock = SimClock()
    deadline_unix_s = clock.now_unix_s() + 5
    one, other = RoundFolder(tmp_path, 1, 1), RoundFolder(tmp_path, 1, 1)
    with one.sole_worker(Stage.TRAIN, deadline_unix_s, clock):
        with (
            pytest.raises(NodeRefusal, match="still running"),
            other.sole_worker(Stage.TRAIN, deadline_unix_s, clock),
        ):
            raise AssertionError("two workers at once")
        assert clock.now_unix_s() >= deadline_unix_s
        # Other stages and other rounds are not held up.
        with other.sole_worker(Stage.COMMIT, deadline_unix_s, clock):
            pass
    with other.sole_worker(Stage.TRAIN, deadline_unix_s, clock):
        pass


# The configuration


def test_paths_start_at_the_file(tmp_path: Path) -> None:
    file = tmp_path / "node.json"
    file.write_text(json.dumps(CONFIG))

    config = NodeConfig.load(file)

    assert config.key_file == tmp_path / "node.key"
    assert config.deployment_file == Path("/etc/deployment.json")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"address": "0x12"}, "address"),
        ({"rpc_url": "file:///etc/passwd"}, "rpc_url"),
        ({"inner_command": []}, "inner_command"),
        ({"allowed_bundles": []}, "allowed_bundles"),
        ({"allowed_bundles": ["ab" * 32]}, "allowed_bundles"),
        ({"private_key": "0x"}, "private_key"),
    ],
)
def test_a_wrong_field_is_named(tmp_path: Path, change: dict[str, object], named: str) -> None:
    file = tmp_path / "node.json"
    file.write_text(json.dumps(CONFIG | change))

    with pytest.raises(SetupError, match=named):
        NodeConfig.load(file)


def test_a_missing_configuration_is_named(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"node\.json cannot be read"):
        NodeConfig.load(tmp_path / "node.json")


# Known connections


def test_the_book_is_read_as_it_was_written(tmp_path: Path) -> None:
    book = ConnectionBookFile(tmp_path / "connections.json")
    assert book.read() == {}
    book.write({1 << 63: CONFIG["address"]})

    assert ConnectionBookFile(tmp_path / "connections.json").read() == {1 << 63: CONFIG["address"]}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"x": "0x"}', "null"])
def test_a_broken_book_is_no_book(tmp_path: Path, text: str) -> None:
    (tmp_path / "connections.json").write_text(text)
    assert ConnectionBookFile(tmp_path / "connections.json").read() == {}


def test_a_book_that_cannot_be_written_does_no_harm(tmp_path: Path) -> None:
    ConnectionBookFile(tmp_path / "missing" / "connections.json").write({1: "0x"})


# Pauses


def test_pauses_double_and_end() -> None:
    clock = SimClock()
    backoff = Backoff[str](clock)
    assert backoff.is_over("a")
    pauses_s = []
    for _ in range(8):
        backoff.count("a")
        assert not backoff.is_over("a")
        assert backoff.is_over("b")
        began_unix_s = clock.now_unix_s()
        while not backoff.is_over("a"):
            clock.sleep(1)
        pauses_s.append(clock.now_unix_s() - began_unix_s)
    assert pauses_s == sorted(pauses_s)
    assert (pauses_s[0], pauses_s[1], pauses_s[-1]) == (FIRST_PAUSE_S, 2 * FIRST_PAUSE_S, LONGEST_PAUSE_S)
