"""What strangers and broken clients send to the hub's process: it refuses, and still answers afterwards."""

import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from contracts.digests import sha256_digest
from deploy.local.ports import free_ports
from orchestrator.adapters.database import open_records
from orchestrator.composition import SystemClock
from orchestrator.services.tokens import TokenService
from tests.integration.databases import new_database
from tests.integration.orchestrator_double_rig import DEPLOYMENT

COLLEGIUM = Path(sys.executable).with_name("collegium")
DEADLINE_S = 60.0
COMMITS = "/v1/tasks/1/rounds/1/commits"
JSON = {"Content-Type": "application/json"}
LEVELS = 400_000
SLOW_UPLOADS = 45
"""More than the API has threads."""
MOST_UPLOADS = 16
QUICK_S = 10.0
"""Much less than the slow uploads may take, also on a busy machine."""


@dataclass
class Server:
    """``collegium serve`` as a process of its own."""

    process: subprocess.Popen[bytes]
    anonymous: httpx.Client
    conductor: httpx.Client


def eventually(look: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + DEADLINE_S
    while not look():
        assert time.monotonic() < deadline_s, "it did not happen in time"
        time.sleep(0.02)


def answers(server: Server) -> bool:
    try:
        return server.anonymous.get("/healthz").status_code == 200
    except httpx.TransportError:
        assert server.process.poll() is None, f"the hub ended with {server.process.returncode}"
        return False


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("hub")
    database_url = new_database(folder)
    records = open_records(database_url)
    token = TokenService(records, SystemClock()).issue("conductor", "conductor")
    records.close()
    (folder / "deployment.json").write_bytes(DEPLOYMENT.to_json())
    port = free_ports(1)[0]
    environment = os.environ | {
        "COLLEGIUM_MODE": "development",
        "COLLEGIUM_DATABASE_URL": database_url,
        "COLLEGIUM_ARTIFACT_FOLDER": str(folder / "artifacts"),
        "COLLEGIUM_DEPLOYMENT_FILE": str(folder / "deployment.json"),
        "COLLEGIUM_PORT": str(port),
    }
    url = f"http://127.0.0.1:{port}"
    with (
        (folder / "serve.log").open("wb") as log,
        subprocess.Popen([COLLEGIUM, "serve"], env=environment, stdout=log, stderr=log) as process,
        httpx.Client(base_url=url, timeout=DEADLINE_S) as anonymous,
        httpx.Client(
            base_url=url, timeout=DEADLINE_S, headers={"Authorization": f"Bearer {token}"}
        ) as conductor,
    ):
        running = Server(process, anonymous, conductor)
        try:
            eventually(lambda: answers(running))
            yield running
        finally:
            process.kill()


@pytest.mark.parametrize("body", [b"[" * LEVELS, b"[" * LEVELS + b"]" * LEVELS, b'{"a":' * (LEVELS // 4)])
def test_deeply_nested_json_does_not_end_the_process(server: Server, body: bytes) -> None:
    assert server.anonymous.post(COMMITS, content=body, headers=JSON).status_code == 401
    assert server.conductor.post(COMMITS, content=body, headers=JSON).status_code in (400, 422)
    assert answers(server)
    assert server.process.poll() is None


def test_slow_uploads_do_not_keep_others_waiting(server: Server) -> None:
    address = (server.anonymous.base_url.host, server.anonymous.base_url.port)
    token = server.conductor.headers["Authorization"]
    with ExitStack() as stack:
        slow = [stack.enter_context(socket.create_connection(address)) for _ in range(SLOW_UPLOADS)]
        for number, connection in enumerate(slow):
            path = f"/v1/artifacts/0x{number:064x}"
            head = f"PUT {path} HTTP/1.1\r\nHost: hub\r\nAuthorization: {token}\r\nContent-Length: 1000000"
            connection.sendall(f"{head}\r\n\r\nx".encode())
        # All that have no place are told so; then the others hold what they can hold.
        eventually(lambda: len(readable(slow)) >= SLOW_UPLOADS - MOST_UPLOADS)
        answered = [connection.recv(100) for connection in readable(slow)]
        assert sum(answer.startswith(b"HTTP/1.1 503") for answer in answered) == SLOW_UPLOADS - MOST_UPLOADS
        started_s = time.monotonic()
        assert answers(server)
        assert server.conductor.get("/v1/tasks").status_code == 200
        assert time.monotonic() - started_s < QUICK_S
    eventually(lambda: server.conductor.put(f"/v1/artifacts/{sha256_digest(b'x')}", content=b"x").is_success)


def readable(connections: list[socket.socket]) -> list[socket.socket]:
    return select.select(connections, [], [], 0)[0]


@pytest.mark.parametrize("body", [b"{", b"", b"\xff", b"[]"])
def test_a_strangers_body_is_not_parsed(server: Server, body: bytes) -> None:
    answer = server.anonymous.post(COMMITS, content=body, headers=JSON)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
