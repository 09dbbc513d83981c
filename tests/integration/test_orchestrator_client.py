"""The typed client against the app behind a real server: pages, files that break off, refusals."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from contracts.digests import sha256_digest
from orchestrator.cli import app
from orchestrator.client import artifacts
from orchestrator.client.api import Client
from orchestrator.client.errors import HubRefused, HubUnreachable, WrongBytes
from orchestrator.client.session import Session
from orchestrator.commands.output import ExitCode
from tests.integration.orchestrator_double_rig import Rig
from tests.integration.orchestrator_rig import NETWORKS, POOL, STAKE, task_spec
from tests.integration.orchestrator_server import serving

DATA = bytes(range(256)) * 200
DIGEST = sha256_digest(DATA)


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    rig = Rig(tmp_path_factory.mktemp("client"))
    rig.start_task()
    rig.play_round(1)
    yield rig
    rig.close()


@pytest.fixture(scope="module")
def url(rig: Rig) -> Iterator[str]:
    with serving(rig) as url:
        yield url


@pytest.fixture
def api(rig: Rig, url: str) -> Iterator[Client]:
    token = str(rig.conductor.headers["Authorization"]).removeprefix("Bearer ")
    with Client(url, token) as client:
        yield client


def test_what_it_reads(api: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    real = Session.get

    def get(session: Session, path: str, **query: Any) -> Any:
        asked.append(path)
        return real(session, path, **query | ({"limit": 2} if path == "/v1/nodes" else {}))

    monkeypatch.setattr(Session, "get", get)
    nodes = list(api.nodes())
    assert asked == ["/v1/nodes"] * 2
    assert {node.node for node in nodes} == {network.address for network in NETWORKS}
    assert {node.stake for node in nodes} == {STAKE}
    task = api.task(1)
    assert (task.spec_digest, task.contributed) == (task_spec().digest, POOL)
    played = api.round(1, 1)
    assert played is not None
    assert played.phase == "final"
    assert list(api.proposals(1, 1)) == list(played.proposals)
    assert sum(line.amount for line in api.rewards(task=1)) == sum(node.earned for node in nodes)
    (model,) = api.models()
    assert model.digest == played.aggregate_digest
    assert api.model_card(model.digest).startswith("# Model")
    assert api.round(1, 99) is None
    with pytest.raises(HubRefused) as refused:
        api.task(99)
    assert (refused.value.status, refused.value.code) == (404, "not_found")


@contextmanager
def breaking(monkeypatch: pytest.MonkeyPatch, at: list[int]) -> Iterator[list[int]]:
    """Let uploads break off after so many bytes, one after the other; where they began."""
    begun: list[int] = []
    real = artifacts._chunks

    def chunks(file: Path, start: int) -> Iterator[bytes]:
        begun.append(start)
        whole = b"".join(real(file, start))
        if len(begun) <= len(at):
            yield whole[: at[len(begun) - 1] - start]
            raise httpx.WriteError("the connection broke")
        yield whole

    monkeypatch.setattr(artifacts, "_chunks", chunks)
    yield begun


def test_an_upload_that_breaks_off_goes_on(
    api: Client, rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(artifacts, "PIECES_FROM_BYTES", 1_000)
    file = tmp_path / "file"
    file.write_bytes(DATA)
    with breaking(monkeypatch, [10_000, 30_000]) as begun:
        api.upload(DIGEST, file)
    assert begun[0] == 0
    assert len(begun) == 3
    assert begun == sorted(begun)
    assert rig.conductor.get(f"/v1/artifacts/{DIGEST}").content == DATA
    api.upload(DIGEST, file)
    assert len(begun) == 3, "what is stored is not sent again"


def test_an_upload_that_gets_nowhere_ends(
    api: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(artifacts, "PIECES_FROM_BYTES", 1_000)
    file = tmp_path / "file"
    file.write_bytes(DATA[1:])
    with breaking(monkeypatch, [0] * 9), pytest.raises(HubUnreachable):
        api.upload(sha256_digest(DATA[1:]), file)


def test_a_download_is_whole_or_not_there(
    api: Client, rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = rig.put(DATA[2:])
    api.download(digest, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == DATA[2:]

    real, asked = Session.stream, []

    @contextmanager
    def breaking_off(session: Session, method: str, path: str, **arguments: Any) -> Iterator[httpx.Response]:
        asked.append(arguments["headers"])
        with real(session, method, path, **arguments) as response:
            if len(asked) > 2:
                yield response
            else:
                first = next(response.iter_bytes(10_000))

                def some(_: int) -> Iterator[bytes]:
                    yield first
                    raise HubUnreachable("gone")

                response.iter_bytes = some  # type: ignore[assignment, method-assign]
                yield response

    monkeypatch.setattr(Session, "stream", breaking_off)
    api.download(digest, tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == DATA[2:]
    assert asked == [{}, {"Range": "bytes=10000-"}, {"Range": "bytes=20000-"}]
    assert {file.name for file in tmp_path.iterdir()} >= {"file", "again"}


def test_other_bytes_than_asked_for_are_not_kept(api: Client, rig: Rig, tmp_path: Path) -> None:
    digest = rig.put(DATA[3:])
    rig.artifacts._required_path(digest).write_bytes(b"altered on the disk")
    with pytest.raises(WrongBytes):
        api.download(digest, tmp_path / "file")
    assert list(tmp_path.iterdir()) == []


def test_what_it_orders_is_done_once(rig: Rig, url: str) -> None:
    token = str(rig.admin.headers["Authorization"]).removeprefix("Bearer ")
    with Client(url, token) as api:
        intent = api.pause_task(1)
        assert api.intent(intent.intent) == intent
        with pytest.raises(HubRefused) as refused:
            api.cancel_task(1, if_match='"another-version"')
        assert refused.value.code == "precondition_failed"


def test_files_at_the_command_line(rig: Rig, url: str, tmp_path: Path) -> None:
    token, file = tmp_path / "token", tmp_path / "file"
    token.write_text(str(rig.conductor.headers["Authorization"]).removeprefix("Bearer "))
    file.write_bytes(DATA[5:])

    def collegium(*arguments: str) -> tuple[int, Any]:
        options = ["--url", url, "--token-file", str(token), "--json"]
        done = CliRunner().invoke(app, ["artifacts", *arguments, *options])
        envelope = json.loads(done.stdout)
        return done.exit_code, envelope.get("data") or envelope["error"]["code"]

    digest, out = sha256_digest(DATA[5:]), tmp_path / "out"
    assert collegium("put", "--file", str(file)) == (ExitCode.DONE, {"digest": digest})
    assert collegium("get", "--digest", digest, "--out", str(out))[0] == ExitCode.DONE
    assert out.read_bytes() == DATA[5:]
    assert collegium("get", "--digest", sha256_digest(b"?"), "--out", str(out)) == (
        ExitCode.BAD_INPUT,
        "not_found",
    )
    assert collegium("put", "--file", str(tmp_path / "none")) == (ExitCode.BAD_INPUT, "bad_file")
    token.write_text("line\nline")
    assert collegium("put", "--file", str(file)) == (ExitCode.BAD_INPUT, "bad_token_file")
