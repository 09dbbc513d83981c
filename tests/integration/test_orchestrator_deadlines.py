"""Nobody holds the hub up: what takes too long is ended, streams that are read go on."""

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from orchestrator.api.deadlines import DeadlineMiddleware
from orchestrator.domain.idempotency import RUNNING_S
from orchestrator.domain.projection import Announcement
from orchestrator.services import feed
from orchestrator.services.nodes import NodeService
from orchestrator.services.queries import QueryService
from orchestrator.services.tokens import TokenService
from tests.integration.orchestrator_double_rig import Rig
from tests.integration.orchestrator_rig import NETWORKS
from tests.integration.orchestrator_server import serving

REQUEST_DEADLINE_S = 1.0
IDLE_DEADLINE_S = 1.0
DEADLINE_S = 60.0
ARTIFACT_BYTES = 64 << 20
"""More than the buffers of two sockets hold."""


def shorten(app: FastAPI) -> None:
    for middleware in app.user_middleware:
        if middleware.cls is DeadlineMiddleware:
            middleware.kwargs |= {
                "request_deadline_s": REQUEST_DEADLINE_S,
                "idle_deadline_s": IDLE_DEADLINE_S,
            }


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path, prepare=shorten)
    yield rig
    rig.close()


@pytest.fixture
def url(rig: Rig) -> Iterator[str]:
    with serving(rig) as url:
        yield url


def eventually(look: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + DEADLINE_S
    while not look():
        assert time.monotonic() < deadline_s, "it did not happen in time"
        time.sleep(0.02)


@contextmanager
def never_reading(url: str, rig: Rig, path: str) -> Iterator[socket.socket]:
    """Somebody who asks for something and reads nothing of it."""
    host, _, port = url.removeprefix("http://").rpartition(":")
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect((host, int(port)))
        token = rig.conductor.headers["Authorization"]
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: hub\r\nAuthorization: {token}\r\n\r\n".encode())
        yield connection


def is_open(file: Path) -> bool:
    """Whether this process has a file open."""
    descriptors = Path("/proc/self/fd")
    for descriptor in descriptors.iterdir():
        try:
            if os.readlink(descriptor) == str(file):
                return True
        except OSError:
            continue
    return False


def large_artifact(rig: Rig) -> tuple[str, Path]:
    digest = rig.put(b"it will be large")
    file = rig.artifacts._required_path(digest)
    file.chmod(0o600)
    os.truncate(file, ARTIFACT_BYTES)
    return digest, file


def test_what_hangs_is_told_after_its_deadline_and_others_are_served(
    rig: Rig, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    real = QueryService.task

    def hanging(service: QueryService, task: int) -> Any:
        assert go_on.wait(DEADLINE_S)
        return real(service, task)

    monkeypatch.setattr(QueryService, "task", hanging)
    with httpx.Client(base_url=url, headers=rig.conductor.headers, timeout=DEADLINE_S) as client:
        try:
            answer = client.get("/v1/tasks/1")
            assert client.get("/v1/tasks").status_code == 200
        finally:
            go_on.set()
    assert (answer.status_code, answer.json()["code"]) == (503, "deadline_exceeded")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-correlation-id"] == answer.json()["correlation_id"]
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_what_was_done_late_is_not_done_twice(rig: Rig, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on, done = threading.Event(), threading.Event()
    real = NodeService.admit

    def slow(*arguments: Any) -> Any:
        assert go_on.wait(DEADLINE_S)
        try:
            return real(*arguments)
        finally:
            done.set()

    monkeypatch.setattr(NodeService, "admit", slow)
    address = NETWORKS[0].address
    body = {"node": address, "signer": address, "group": 1, "name": "aurora"}
    headers = {**rig.admin.headers, "Idempotency-Key": "k"}
    with httpx.Client(base_url=url, headers=headers, timeout=DEADLINE_S) as client:
        assert client.post("/v1/nodes", json=body).status_code == 503
        assert client.post("/v1/nodes", json=body).json()["code"] == "request_still_running"
        go_on.set()
        assert done.wait(DEADLINE_S)
        eventually(lambda: client.post("/v1/nodes", json=body).status_code == 202)
        again = client.post("/v1/nodes", json=body)
        assert again.headers["idempotency-replayed"] == "true"
        assert len(rig.get("/v1/intents")["items"]) == again.json()["intent"] == 1


def test_a_secret_that_was_made_late_is_not_made_twice(
    rig: Rig, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    real = TokenService.create

    def slow(*arguments: Any) -> Any:
        assert go_on.wait(DEADLINE_S)
        return real(*arguments)

    monkeypatch.setattr(TokenService, "create", slow)
    before = len(rig.get("/v1/tokens")["items"])
    body, headers = {"name": "export", "role": "auditor"}, {**rig.admin.headers, "Idempotency-Key": "k"}
    with httpx.Client(base_url=url, headers=headers, timeout=DEADLINE_S) as client:
        assert client.post("/v1/tokens", json=body).status_code == 503
        go_on.set()
        eventually(lambda: client.post("/v1/tokens", json=body).json()["code"] == "answer_not_kept")
    rig.clock.unix_s += RUNNING_S
    answer = rig.admin.post("/v1/tokens", json=body, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (409, "answer_not_kept")
    assert len(rig.get("/v1/tokens")["items"]) == before + 1


def test_a_download_that_nobody_reads_is_ended(rig: Rig, url: str) -> None:
    digest, file = large_artifact(rig)
    with never_reading(url, rig, f"/v1/artifacts/{digest}"):
        eventually(lambda: is_open(file))
        eventually(lambda: not is_open(file))


def test_a_download_that_is_read_lasts_as_long_as_it_takes(rig: Rig, url: str) -> None:
    digest, _ = large_artifact(rig)
    started_s, read_bytes = time.monotonic(), 0
    with (
        httpx.Client(base_url=url, headers=rig.conductor.headers, timeout=DEADLINE_S) as client,
        client.stream("GET", f"/v1/artifacts/{digest}") as answer,
    ):
        for piece in answer.iter_raw(1 << 20):
            read_bytes += len(piece)
            # Evenly spread over more than a request may take.
            due_s = started_s + 2 * REQUEST_DEADLINE_S * read_bytes / ARTIFACT_BYTES
            eventually(lambda due_s=due_s: time.monotonic() >= due_s)  # type: ignore[misc]
    assert read_bytes == ARTIFACT_BYTES
    assert time.monotonic() - started_s > REQUEST_DEADLINE_S


def test_a_stream_of_events_that_nobody_reads_is_ended(rig: Rig, url: str) -> None:
    with rig.records.write() as unit:
        for _ in range(4_000):
            unit.stream.append(Announcement("round.training", facts={"text": "x" * 4_000}), 0)
    followers = rig.app.state.services.feed
    with never_reading(url, rig, "/v1/events?after=0"):
        eventually(lambda: followers.followers == 1)
        eventually(lambda: followers.followers == 0)


def test_a_stream_of_events_that_is_read_lasts(rig: Rig, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "_HEARTBEAT_S", 0.2)
    started_s = time.monotonic()
    with (
        httpx.Client(base_url=url, headers=rig.conductor.headers, timeout=DEADLINE_S) as client,
        client.stream("GET", "/v1/events") as answer,
    ):
        lines = answer.iter_lines()
        while time.monotonic() - started_s < 2 * REQUEST_DEADLINE_S:
            assert next(lines) in ("id: 0", "", ": still here")
        with rig.records.write() as unit:
            unit.stream.append(Announcement("round.training"), 0)
        data = next(line for line in lines if line.startswith("data: "))
    assert json.loads(data.removeprefix("data: "))["kind"] == "round.training"
