"""From a request to its transaction by one id; what processes write holds no secret that they were given."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from deploy.local.ports import free_ports
from orchestrator.adapters.database import open_records
from orchestrator.domain.chain import RequestRound
from orchestrator.domain.outbox import IntentStatus
from orchestrator.services.correlation import begin, correlation_id
from orchestrator.services.tokens import TokenService
from tests.integration.databases import new_database
from tests.integration.orchestrator_double_rig import DEPLOYMENT, ClockDouble, Rig
from tests.integration.orchestrator_rig import NETWORKS

COLLEGIUM = Path(sys.executable).with_name("collegium")
DEADLINE_S = 90.0
KEY = "0x" + "5ec7e1" * 10 + "5ec7"
PASSWORD = "planted-password"


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path)
    yield rig
    rig.close()


class Heard(logging.Handler):
    """What the log's lines belong to."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[tuple[str, str | None]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append((record.getMessage(), correlation_id()))


def admission(index: int) -> dict[str, Any]:
    network = NETWORKS[index]
    return {"node": network.address, "signer": network.address, "group": index + 1, "name": network.name}


def test_an_intent_and_the_lines_about_it_carry_the_id_of_their_request(rig: Rig) -> None:
    begin("of the worker itself")
    heard, logger = Heard(), logging.getLogger("orchestrator.services.outbox")
    logger.addHandler(heard)
    logger.setLevel(logging.INFO)
    try:
        answers = [
            rig.admin.post("/v1/nodes", json=admission(i), headers={"X-Correlation-Id": f"ticket-{i}"})
            for i in (0, 1)
        ]
        intents = [answer.json() for answer in answers]
        assert [intent["correlation_id"] for intent in intents] == ["ticket-0", "ticket-1"]
        for _ in range(3):
            rig.turn()
    finally:
        logger.removeHandler(heard)
        logger.setLevel(logging.NOTSET)
    for i, intent in enumerate(intents):
        settled = rig.get(f"/v1/intents/{intent['intent']}")
        assert settled["correlation_id"] == f"ticket-{i}"
        about_it = [line for line in heard.lines if line[1] == f"ticket-{i}"]
        assert any(settled["transaction_hash"] in said for said, _ in about_it)
        assert any("is in block" in said for said, _ in about_it)
    assert {identifier for _, identifier in heard.lines} >= {"ticket-0", "ticket-1"}


def test_what_the_hub_decides_by_itself_has_an_id_too(rig: Rig) -> None:
    rig.start_task()
    rig.round_in("training")
    with rig.records.read() as unit:
        found = [unit.outbox.by_id(number) for number in range(1, 40)]
    intents = [each for each in found if each is not None]
    assert any(isinstance(each.call, RequestRound) for each in intents)
    identifiers = [each.correlation_id for each in intents]
    assert None not in identifiers
    assert len(set(identifiers)) == len(identifiers)


def test_who_asks_again_is_who_it_is_for(rig: Rig) -> None:
    rig.order_admission(0)
    with rig.records.write() as unit:
        intent = unit.outbox.queued()[0]
        unit.outbox.add("other", intent.call, None, 0, "first")
        other = unit.outbox.by_key("other")
        assert other is not None
        unit.outbox.save(replace(other, status=IntentStatus.REFUSED), IntentStatus.QUEUED)
        again = unit.outbox.requeue(other, intent.call, 0, "second")
    assert (other.correlation_id, again.correlation_id) == ("first", "second")


class Process:
    """``collegium serve`` or ``collegium worker`` with its log."""

    def __init__(self, folder: Path, command: str, environment: dict[str, str]) -> None:
        self.log = folder / f"{command}.log"
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [COLLEGIUM, command], env=os.environ | environment, stdout=output, stderr=output
            )

    def eventually(self, look: Callable[[], object]) -> None:
        give_up_s = time.monotonic() + DEADLINE_S
        while not look():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < give_up_s, self.log.read_text()
            time.sleep(0.05)

    def end(self) -> str:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(DEADLINE_S)
        return self.log.read_text()


def test_processes_write_json_without_the_secrets_that_they_were_given(tmp_path: Path) -> None:
    port = free_ports(1)[0]
    for name in ("relayer", "council"):
        (tmp_path / name).touch(mode=0o600)
        (tmp_path / name).write_text(KEY)
    (tmp_path / "deployment.json").write_bytes(DEPLOYMENT.to_json())
    environment = {
        "COLLEGIUM_MODE": "development",
        "COLLEGIUM_DATABASE_URL": new_database(tmp_path),
        "COLLEGIUM_ARTIFACT_FOLDER": str(tmp_path / "artifacts"),
        "COLLEGIUM_DEPLOYMENT_FILE": str(tmp_path / "deployment.json"),
        # Nobody listens on port 1.
        "COLLEGIUM_RPC_URL": f"http://hub:{PASSWORD}@127.0.0.1:1",
        "COLLEGIUM_RELAYER_KEY_FILE": str(tmp_path / "relayer"),
        "COLLEGIUM_COUNCIL_KEY_FILE": str(tmp_path / "council"),
        "COLLEGIUM_PORT": str(port),
    }
    records = open_records(environment["COLLEGIUM_DATABASE_URL"])
    token = TokenService(records, ClockDouble()).issue("admin", "planted")
    records.close()
    server = Process(tmp_path, "serve", environment)
    worker = Process(tmp_path, "worker", environment)
    try:
        url = f"http://127.0.0.1:{port}"
        server.eventually(lambda: _answers(url))
        with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}) as session:
            assert session.get(f"/v1/nodes?token={token}").is_success
            # What is wrong in a request may be a secret that went to the wrong place.
            assert session.post("/v1/nodes", json={"node": KEY, "token": token}).status_code == 422
            assert session.get(f"/v1/{token}").status_code == 404
        worker.eventually(lambda: "trying again" in worker.log.read_text())
    finally:
        written = [process.end() for process in (server, worker)]
    for text in written:
        lines = [json.loads(line) for line in text.splitlines()]
        assert lines
        assert all({"time", "level", "logger", "event"} <= set(line) for line in lines)
        for secret in (token, KEY, KEY[2:], PASSWORD):
            assert secret not in text
    assert any(json.loads(line)["logger"].startswith("uvicorn") for line in written[0].splitlines())


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz").is_success
    except httpx.TransportError:
        return False
