"""The log: a JSON object a line from everybody, what is bound stands in it, and secrets do not."""

import io
import json
import logging
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
from structlog.contextvars import clear_contextvars

from orchestrator.domain.chain import RequestRound
from orchestrator.domain.outbox import Intent, IntentStatus
from orchestrator.logs import BLOT, log_handler
from orchestrator.services.correlation import about, begin, correlation_id

TOKEN = "collegium_" + "Zx9" * 14
WEBHOOK_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class Log:
    """A logger of a library, and what was written of it."""

    def __init__(self, development: bool = False) -> None:
        self.stream = io.StringIO()
        self.logger = logging.getLogger("library.of.somebody")
        self.logger.handlers[:] = [log_handler(development, self.stream)]
        self.logger.propagate = False
        self.logger.setLevel(logging.INFO)

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]


@pytest.fixture
def log() -> Iterator[Log]:
    clear_contextvars()
    log = Log()
    yield log
    log.logger.handlers.clear()
    log.logger.propagate = True
    clear_contextvars()


def test_a_line_is_an_object(log: Log) -> None:
    log.logger.warning("block %d\nof %s", 7, "two lines", extra={"height": 7})
    (line,) = log.lines
    assert datetime.fromisoformat(line.pop("time")).tzinfo is not None
    assert line == {
        "level": "warning",
        "logger": "library.of.somebody",
        "event": "block 7\nof two lines",
        "height": 7,
    }


def test_an_exception_stays_in_its_line(log: Log) -> None:
    try:
        raise RuntimeError(f"refused: {TOKEN}")
    except RuntimeError:
        log.logger.exception("trying again")
    (line,) = log.lines
    assert "RuntimeError: refused: " + BLOT in line["exception"]
    assert "test_orchestrator_logs.py" in line["exception"]


def test_what_is_bound_stands_in_the_line(log: Log) -> None:
    begin("request-1")
    intent = Intent(5, "k", RequestRound(1), IntentStatus.QUEUED, 1, 0, correlation_id="request-0")
    log.logger.info("before")
    with about(intent):
        assert correlation_id() == "request-0"
        log.logger.info("meanwhile")
    begin("request-2")
    log.logger.info("after")
    shown = [(line["correlation_id"], line.get("intent"), line.get("kind")) for line in log.lines]
    assert shown == [("request-1", None, None), ("request-0", 5, "request_round"), ("request-2", None, None)]


@pytest.mark.parametrize(
    ("said", "written"),
    [
        (f"token {TOKEN}.", f"token {BLOT}."),
        ({"authorization": f"Bearer {TOKEN}"}, "{'authorization': 'Bearer " + BLOT + "'}"),
        ("Authorization: bearer abcdefgh.ijkl-mn", f"Authorization: bearer {BLOT}"),
        (f"secret={WEBHOOK_SECRET}", f"secret={BLOT}"),
        ("postgresql://hub:pa55-word@db/hub", f"postgresql://{BLOT}@db/hub"),
        ("http://:pass@rpc:8545/", f"http://{BLOT}@rpc:8545/"),
        ("0x" + "ab" * 32, "0x" + "ab" * 32),
        ("http://rpc:8545/a@b", "http://rpc:8545/a@b"),
        ("a bearer token is needed", "a bearer token is needed"),
    ],
)
def test_what_looks_like_a_secret_is_blotted_out(log: Log, said: object, written: str) -> None:
    log.logger.info("%s", said)
    log.logger.info("in a field", extra={"field": str(said)})
    first, second = log.lines
    assert first["event"] == second["field"] == written


def test_development_has_lines_for_reading() -> None:
    log = Log(development=True)
    try:
        log.logger.info("block %d %s", 7, TOKEN)
    finally:
        log.logger.handlers.clear()
        log.logger.propagate = True
    text = log.stream.getvalue()
    assert f"block 7 {BLOT}" in text
    assert not text.startswith("{")
