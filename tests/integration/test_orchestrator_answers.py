"""Remembered answers: given again without reading, and never after what they depend on has changed."""

import asyncio
import sqlite3
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from limits import parse
from starlette.types import Message, Receive, Scope, Send

from orchestrator.adapters.database import open_records
from orchestrator.api import answers
from orchestrator.domain.ports import Unit
from orchestrator.services.tokens import TokenService
from tests.integration.orchestrator_double_rig import Rig
from tests.integration.orchestrator_rig import NETWORKS

READS_OF_A_LIST = 2
"""The token, and the list."""


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path)
    yield rig
    rig.close()


class Reads:
    """Counts the units that are read, for as long as it stands in."""

    def __init__(self, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        honest = rig.records.read

        @contextmanager
        def counted() -> Iterator[Unit]:
            self.count += 1
            with honest() as unit:
                yield unit

        monkeypatch.setattr(rig.records, "read", counted)


def test_the_same_question_is_not_read_twice(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.start_task()
    rig.play_round()
    reads = Reads(rig, monkeypatch)
    first = rig.auditor.get("/v1/tasks/1/rounds/1")
    read = reads.count
    second = rig.auditor.get("/v1/tasks/1/rounds/1")
    assert (first.json(), reads.count) == (second.json(), read)
    assert read > 0
    ids = [each.headers["x-correlation-id"] for each in (first, second)]
    assert ids[0] != ids[1]
    assert len(second.headers.get_list("x-correlation-id")) == 1


def test_what_another_process_writes_is_seen_at_once(rig: Rig) -> None:
    rig.admit_networks()
    other = open_records(rig.database_url)
    for name in ("first", "second"):
        with other.write() as unit:
            unit.names.set_name(NETWORKS[0].address, name)
        for _ in range(2):
            assert rig.get(f"/v1/nodes/{NETWORKS[0].address}")["name"] == name
    other.close()


def test_a_token_that_is_revoked_opens_nothing_more(rig: Rig) -> None:
    tokens = TokenService(rig.records, rig.clock)
    token = tokens.issue("auditor", "short", None)
    headers = {"Authorization": f"Bearer {token}"}
    for _ in range(2):
        assert rig.anonymous.get("/v1/nodes", headers=headers).status_code == 200
    holder = tokens.authenticate(token)
    assert holder is not None
    assert holder.token is not None
    tokens.revoke(holder, holder.token)
    assert rig.anonymous.get("/v1/nodes", headers=headers).status_code == 401


def test_a_token_that_has_expired_opens_nothing_more(rig: Rig) -> None:
    token = TokenService(rig.records, rig.clock).issue("auditor", "short", rig.clock.unix_s + 10)
    headers = {"Authorization": f"Bearer {token}"}
    for _ in range(2):
        assert rig.anonymous.get("/v1/nodes", headers=headers).status_code == 200
    rig.clock.unix_s += 10
    assert rig.anonymous.get("/v1/nodes", headers=headers).status_code == 401


def test_everybody_is_answered_for_themselves(rig: Rig) -> None:
    assert rig.admin.get("/v1/nodes").status_code == 200
    assert rig.anonymous.get("/v1/nodes").status_code == 401
    wrong = {"Authorization": "Bearer collegium_wrong"}
    for _ in range(2):
        assert rig.anonymous.get("/v1/nodes", headers=wrong).status_code == 401


def test_errors_are_not_remembered(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patched:
        patched.setattr(type(rig.app.state.services.listings), "slashes", broken)
        assert rig.admin.get("/v1/slashes").status_code == 500
    assert rig.admin.get("/v1/slashes").status_code == 200


def test_their_number_is_bounded(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "_MOST", 3)
    reads = Reads(rig, monkeypatch)
    for _ in range(2):
        for number in range(4):
            assert rig.admin.get(f"/v1/slashes?number={number}").status_code == 200
    # Each is pushed out by the third after it.
    assert reads.count == 8 * READS_OF_A_LIST
    rig.admin.get("/v1/slashes?number=3")
    assert reads.count == 8 * READS_OF_A_LIST


def test_every_operation_that_is_remembered_is_a_read_of_the_api(rig: Rig) -> None:
    description = rig.get("/v1/openapi.json")
    reads = {
        operation["operationId"]
        for path in description["paths"].values()
        for method, operation in path.items()
        if method == "get"
    }
    assert reads >= answers.OPERATIONS


@pytest.mark.parametrize("header", ["If-None-Match", "Range", "Cookie"])
def test_a_conditional_read_is_always_read(rig: Rig, monkeypatch: pytest.MonkeyPatch, header: str) -> None:
    rig.admin.get("/v1/slashes")
    reads = Reads(rig, monkeypatch)
    assert rig.admin.get("/v1/slashes", headers={header: '"x"'}).status_code == 200
    assert reads.count == READS_OF_A_LIST


def test_remembered_answers_are_counted_like_others(rig: Rig) -> None:
    for _ in range(3):
        rig.admin.get("/v1/slashes")
    told = rig.admin.get("/metrics").text
    assert 'collegium_http_requests_total{operation="list_slashes",status="2xx"} 3.0' in told


def test_remembered_answers_count_for_the_limit(rig: Rig) -> None:
    rig.app.state.services.throttle._requests = parse("3/minute")
    assert [rig.auditor.get("/v1/slashes").status_code for _ in range(5)] == [200, 200, 200, 429, 429]


def test_a_stream_is_not_held_in_memory(rig: Rig) -> None:
    pieces, piece_bytes = 64, 1 << 20

    async def streaming(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(pieces):
            await send({"type": "http.response.body", "body": bytes(piece_bytes), "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def receive() -> Message:
        raise AssertionError("nobody reads the request")

    async def send(message: Message) -> None:
        sent.append(len(message.get("body", b"")))

    sent: list[int] = []
    middleware = answers.RememberedAnswers(streaming, rig.records, rig.clock, rig.app.state.services.throttle)
    headers = [(b"authorization", b"Bearer x")]
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/v1/artifacts/0x",
        "query_string": b"",
        "headers": headers,
    }
    tracemalloc.start()
    asyncio.run(middleware(scope | {"headers": headers}, receive, send))
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sum(sent) == pieces * piece_bytes
    assert peak_bytes < 8 * piece_bytes


def test_without_a_version_everything_is_read(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rig.records, "version", lambda: None)
    reads = Reads(rig, monkeypatch)
    counts = []
    for _ in range(2):
        rig.get("/v1/nodes")
        counts.append(reads.count)
    assert counts[1] == 2 * counts[0]


def test_the_version_moves_with_every_commit(rig: Rig) -> None:
    versions = [rig.records.version()]
    for name in ("a", "b"):
        with rig.records.write() as unit:
            unit.names.set_name(NETWORKS[0].address, name)
        versions.append(rig.records.version())
    with sqlite3.connect(rig.database_url.removeprefix("sqlite:///")) as outside:
        outside.execute("DELETE FROM node_names")
    versions.append(rig.records.version())
    assert None not in versions
    assert len(set(versions)) == 4
    assert rig.records.version() == versions[-1]
