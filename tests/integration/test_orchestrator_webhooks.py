"""Webhooks: subscriptions, signed deliveries to a real receiver, retries, replay, and where they never go."""

import ipaddress
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook
from typer.testing import CliRunner

from orchestrator.adapters.notifications import HttpReceivers
from orchestrator.adapters.notifications.addresses import Address, is_public
from orchestrator.cli import app
from orchestrator.composition import WebhookOutlet
from orchestrator.domain.errors import WebhookRefused
from orchestrator.domain.ports import WebhookFailed
from orchestrator.domain.projection import Announcement
from orchestrator.domain.webhooks import MOST_ATTEMPTS, Subscription, is_kind_pattern, pause_s
from orchestrator.services.lease import LeaseLost
from orchestrator.services.webhooks import CLAIM_S, WebhookDeliveries, WebhookKey
from orchestrator.worker import Worker
from tests.integration.certificates import self_signed
from tests.integration.databases import Databases, all_rows
from tests.integration.orchestrator_double_rig import LEASE_S, Rig
from tests.integration.test_orchestrator_api import serving

DEADLINE_S = 60.0
KEY = WebhookKey(b"k" * 32)
PUBLIC = ipaddress.ip_address("93.184.215.14")
LOOPBACK = ipaddress.ip_address("127.0.0.1")


@dataclass
class Receiver:
    """A real HTTP server on this machine that keeps what it gets and answers as it is told."""

    statuses: list[int] = field(default_factory=list)
    """What to answer next; 204 when there is nothing left."""
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    hang: threading.Event | None = None

    def __post_init__(self) -> None:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.got.append(({k.lower(): v for k, v in self.headers.items()}, body))
                if receiver.hang is not None:
                    receiver.hang.wait(DEADLINE_S)
                status = receiver.statuses.pop(0) if receiver.statuses else 204
                self.send_response(status)
                if 300 <= status < 400:
                    self.send_header("Location", f"http://127.0.0.1:{receiver.port}/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_port
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    def close(self) -> None:
        if self.hang is not None:
            self.hang.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture
def rig(tmp_path: Path, databases: Databases) -> Iterator[Rig]:
    rig = Rig(tmp_path, databases.new(tmp_path), outlet=WebhookOutlet(HttpReceivers(development=True), KEY))
    # The standard's library compares with this machine's clock.
    rig.clock.unix_s = int(time.time())
    yield rig
    rig.close()


def deliveries_of(rig: Rig) -> WebhookDeliveries:
    assert rig.worker.webhooks is not None
    return rig.worker.webhooks


def happen(rig: Rig, kind: str, **facts: Any) -> int:
    with rig.records.write() as unit:
        unit.stream.append(Announcement(kind, 1, 2, None, facts), rig.clock.unix_s)
        return unit.stream.last_id()


def subscribe(rig: Rig, url: str, *kinds: str) -> Any:
    return rig.post("/v1/webhooks", {"url": url, "kinds": list(kinds)})


def log_of(rig: Rig, webhook: int) -> Any:
    return rig.get(f"/v1/webhooks/{webhook}/deliveries")["items"]


def work_until(rig: Rig, look: Callable[[], object]) -> None:
    give_up_s = time.monotonic() + DEADLINE_S
    while not look():
        assert time.monotonic() < give_up_s
        deliveries_of(rig).run_once()
        time.sleep(0.005)


def test_a_receiver_gets_what_it_asked_for_signed(rig: Rig, receiver: Receiver) -> None:
    happen(rig, "round.final")
    made = subscribe(rig, receiver.url, "round.*", "task.created")
    happen(rig, "node.admitted")
    event = happen(rig, "round.final", aggregate="0xab")
    happen(rig, "task.created")
    work_until(rig, lambda: [each["status"] for each in log_of(rig, made["id"])] == ["delivered"] * 2)
    bodies = [
        Webhook(made["secret"]).verify(body, headers)
        for headers, body in sorted(receiver.got, key=lambda g: g[1])
    ]
    assert [body["type"] for body in bodies] == ["round.final", "task.created"]
    assert bodies[0]["data"] == {
        "id": event,
        "task": 1,
        "round": 2,
        "node": None,
        "facts": {"aggregate": "0xab"},
    }
    assert {headers["webhook-id"] for headers, _ in receiver.got} == {
        f"event-{event}-{made['id']}",
        f"event-{event + 1}-{made['id']}",
    }


def test_the_secret_is_shown_once_and_is_not_in_the_database(rig: Rig, receiver: Receiver) -> None:
    made = subscribe(rig, receiver.url)
    other = subscribe(rig, receiver.url)
    assert made["secret"] != other["secret"]
    assert "secret" not in rig.get("/v1/webhooks")["items"][0]
    stored = repr(all_rows(rig.database_url))
    assert receiver.url in stored
    assert made["secret"].removeprefix("whsec_") not in stored
    assert KEY.key.decode() not in stored
    assert "kkkk" not in repr(KEY)


def test_what_fails_is_tried_again_under_the_same_id(rig: Rig, receiver: Receiver) -> None:
    receiver.statuses = [500, 404]
    made = subscribe(rig, receiver.url)
    happen(rig, "round.final")
    for attempt in (1, 2):
        work_until(rig, lambda n=attempt: _tried(rig, made, n))  # type: ignore[misc]
        (delivery,) = log_of(rig, made["id"])
        assert (delivery["status"], delivery["attempts"]) == ("pending", attempt)
        assert delivery["answered"] == (500, 404)[attempt - 1]
        assert delivery["next_unix_s"] == rig.clock.unix_s + pause_s(attempt)
        deliveries_of(rig).run_once()
        rig.clock.unix_s += pause_s(attempt)
    work_until(rig, lambda: log_of(rig, made["id"])[0]["status"] == "delivered")
    assert len(receiver.got) == 3
    assert len({headers["webhook-id"] for headers, _ in receiver.got}) == 1
    assert len({body for _, body in receiver.got}) == 1


def _tried(rig: Rig, made: Any, attempts: int) -> bool:
    (delivery,) = log_of(rig, made["id"]) or [{"attempts": 0, "next_unix_s": 0, "status": "pending"}]
    is_under_way = delivery["next_unix_s"] == rig.clock.unix_s + CLAIM_S and delivery["status"] == "pending"
    return bool(delivery["attempts"] == attempts and not is_under_way)


def test_what_keeps_failing_dies_and_can_be_replayed(rig: Rig, receiver: Receiver) -> None:
    receiver.statuses = [503] * MOST_ATTEMPTS
    made = subscribe(rig, receiver.url)
    happen(rig, "round.final")
    for attempt in range(1, MOST_ATTEMPTS + 1):
        work_until(rig, lambda n=attempt: _tried(rig, made, n))  # type: ignore[misc]
        rig.clock.unix_s += pause_s(attempt)
    (delivery,) = log_of(rig, made["id"])
    assert (delivery["status"], delivery["error"]) == ("dead", "the receiver answered with 503")
    deliveries_of(rig).run_once()
    assert len(receiver.got) == MOST_ATTEMPTS
    metrics = rig.auditor.get("/metrics").text
    assert 'collegium_webhook_deliveries{status="dead"} 1.0' in metrics
    rig.post(f"/v1/webhooks/{made['id']}/deliveries/{delivery['id']}/replay", {})
    work_until(rig, lambda: log_of(rig, made["id"])[0]["status"] == "delivered")
    assert len({headers["webhook-id"] for headers, _ in receiver.got}) == 1


def test_a_redirect_is_not_followed(rig: Rig, receiver: Receiver) -> None:
    receiver.statuses = [302]
    made = subscribe(rig, receiver.url)
    happen(rig, "round.final")
    work_until(rig, lambda: log_of(rig, made["id"]) and log_of(rig, made["id"])[0]["answered"] == 302)
    assert log_of(rig, made["id"])[0]["status"] == "pending"
    assert len(receiver.got) == 1


def test_a_receiver_that_is_gone_holds_up_nobody(rig: Rig, receiver: Receiver) -> None:
    gone = Receiver()
    gone.close()
    made, other = subscribe(rig, gone.url), subscribe(rig, receiver.url)
    happen(rig, "round.final")
    work_until(rig, lambda: len(receiver.got) == 1)
    work_until(rig, lambda: log_of(rig, made["id"])[0]["error"] is not None)
    work_until(rig, lambda: log_of(rig, other["id"])[0]["status"] == "delivered")


def test_a_worker_that_died_leaves_its_delivery_to_the_next(rig: Rig, receiver: Receiver) -> None:
    made = subscribe(rig, receiver.url)
    happen(rig, "round.final")
    deliveries_of(rig)._queue_new()
    with rig.records.write() as unit:
        now = rig.clock.unix_s
        (taken,) = unit.webhooks.claim(now, now + CLAIM_S, 10)
        assert unit.webhooks.claim(now, now + CLAIM_S, 10) == []
    assert taken.attempts == 1
    deliveries_of(rig).run_once()
    assert receiver.got == []
    rig.clock.unix_s += CLAIM_S
    work_until(rig, lambda: log_of(rig, made["id"])[0]["status"] == "delivered")
    assert log_of(rig, made["id"])[0]["attempts"] == 2


def test_two_workers_make_one_delivery_of_one_event(rig: Rig, receiver: Receiver) -> None:
    made = subscribe(rig, receiver.url)
    other = rig.new_worker().webhooks
    assert other is not None
    for _ in range(5):
        happen(rig, "round.final")
        deliveries_of(rig)._queue_new()
        other._queue_new()
    work_until(rig, lambda: [each["status"] for each in log_of(rig, made["id"])] == ["delivered"] * 5)
    other.run_once()
    other.close()
    assert len(receiver.got) == 5


@pytest.fixture
def leased(rig: Rig) -> Iterator[tuple[Worker, Worker]]:
    """Two workers of which one acts; the first has the lease."""
    pair = rig.new_worker_among_others("first"), rig.new_worker_among_others("second")
    pair[0].run_once()
    yield pair
    for worker in pair:
        assert worker.conductors is not None
        worker.conductors.close()
        webhooks_of(worker).close()


def webhooks_of(worker: Worker) -> WebhookDeliveries:
    assert worker.webhooks is not None
    return worker.webhooks


def test_a_worker_without_the_lease_queues_claims_and_forgets_nothing(
    rig: Rig, receiver: Receiver, leased: tuple[Worker, Worker]
) -> None:
    first, second = leased
    made = subscribe(rig, receiver.url)
    happen(rig, "round.final")
    with pytest.raises(LeaseLost):
        webhooks_of(second).run_once()
    assert log_of(rig, made["id"]) == []
    webhooks_of(first)._queue_new()
    with pytest.raises(LeaseLost):
        webhooks_of(second).run_once()
    assert log_of(rig, made["id"])[0]["attempts"] == 0
    webhooks_of(first).run_once()
    webhooks_of(first).close()
    assert (log_of(rig, made["id"])[0]["status"], len(receiver.got)) == ("delivered", 1)


def test_a_worker_that_lost_the_lease_tells_nobody_what_it_had_claimed(
    rig: Rig, receiver: Receiver, leased: tuple[Worker, Worker]
) -> None:
    first, second = leased
    made = subscribe(rig, receiver.url)
    happen(rig, "round.final")
    webhooks_of(first)._queue_new()
    (claimed,) = webhooks_of(first)._claim(10, rig.clock.unix_s)
    rig.clock.unix_s += LEASE_S
    second.run_once()
    webhooks_of(first)._deliver(claimed)
    assert receiver.got == []
    assert log_of(rig, made["id"])[0]["status"] == "pending"
    rig.clock.unix_s += CLAIM_S
    second.run_once()
    webhooks_of(second).close()
    (delivery,) = log_of(rig, made["id"])
    assert (delivery["status"], delivery["attempts"], len(receiver.got)) == ("delivered", 2, 1)


def test_a_worker_whose_lease_ends_while_a_receiver_hangs_overwrites_nothing(
    rig: Rig, receiver: Receiver, leased: tuple[Worker, Worker]
) -> None:
    first, second = leased
    receiver.hang, receiver.statuses = threading.Event(), [500, 204]
    made = subscribe(rig, receiver.url)
    happen(rig, "round.final")
    webhooks_of(first).run_once()
    give_up_s = time.monotonic() + DEADLINE_S
    while not receiver.got:
        assert time.monotonic() < give_up_s
        time.sleep(0.005)
    rig.clock.unix_s += LEASE_S
    second.run_once()
    before = log_of(rig, made["id"])
    receiver.hang.set()
    webhooks_of(first).close()
    assert log_of(rig, made["id"]) == before, "what the receiver answered to the first is not written"
    rig.clock.unix_s += CLAIM_S
    second.run_once()
    webhooks_of(second).close()
    (delivery,) = log_of(rig, made["id"])
    assert (delivery["status"], delivery["attempts"]) == ("delivered", 2)
    assert len({headers["webhook-id"] for headers, _ in receiver.got}) == 1


def test_what_was_removed_is_told_nothing(rig: Rig, receiver: Receiver) -> None:
    made = subscribe(rig, receiver.url)
    happen(rig, "round.final")
    deliveries_of(rig)._queue_new()
    assert rig.admin.delete(f"/v1/webhooks/{made['id']}").status_code == 204
    deliveries_of(rig).run_once()
    assert receiver.got == []
    assert rig.get("/v1/webhooks") == {"items": []}
    assert rig.admin.delete(f"/v1/webhooks/{made['id']}").status_code == 404
    assert rig.admin.get(f"/v1/webhooks/{made['id']}/deliveries").status_code == 404
    assert subscribe(rig, receiver.url)["id"] != made["id"]


def test_old_deliveries_are_forgotten(rig: Rig, receiver: Receiver) -> None:
    made = subscribe(rig, receiver.url)
    happen(rig, "round.final")
    work_until(rig, lambda: log_of(rig, made["id"]) and log_of(rig, made["id"])[0]["status"] == "delivered")
    rig.clock.unix_s += 31 * 24 * 3600
    deliveries_of(rig).run_once()
    assert log_of(rig, made["id"]) == []


def test_deliveries_are_listed_in_pages(rig: Rig, receiver: Receiver) -> None:
    made = subscribe(rig, receiver.url)
    for _ in range(3):
        happen(rig, "round.final")
    deliveries_of(rig)._queue_new()
    path = f"/v1/webhooks/{made['id']}/deliveries"
    first = rig.get(f"{path}?limit=2")["items"]
    rest = rig.get(f"{path}?limit=2&before={first[-1]['id']}")["items"]
    assert [each["event"] for each in first + rest] == [3, 2, 1]


@pytest.mark.parametrize("role", ["conductor", "auditor"])
def test_only_an_admin_may(rig: Rig, receiver: Receiver, role: str) -> None:
    made = subscribe(rig, receiver.url)
    client = rig.clients[role]
    one = f"/v1/webhooks/{made['id']}"
    assert client.post("/v1/webhooks", json={"url": receiver.url}).status_code == 403
    assert client.get("/v1/webhooks").status_code == 403
    assert client.delete(one).status_code == 403
    assert client.get(f"{one}/deliveries").status_code == 403
    assert client.post(f"{one}/deliveries/1/replay", json={}).status_code == 403


def test_without_a_key_there_are_none(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    try:
        answer = rig.admin.post("/v1/webhooks", json={"url": "https://example.org/"})
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert rig.worker.webhooks is None
    finally:
        rig.close()


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"url": ""},
        {"url": "https://example.org/" + "a" * 2000},
        {"url": 5},
        {"url": "http://127.0.0.1/", "kinds": ["Round"]},
        {"url": "http://127.0.0.1/", "kinds": ["round.*.x"]},
        {"url": "http://127.0.0.1/", "kinds": ["*"]},
        {"url": "http://127.0.0.1/", "kinds": [""]},
        {"url": "http://127.0.0.1/", "kinds": ["a"] * 51},
        {"url": "http://127.0.0.1/", "kinds": "round.*"},
        {"url": "http://127.0.0.1/", "secret": "mine"},
        {"url": "ftp://127.0.0.1/"},
    ],
)
def test_bad_subscriptions_are_refused(rig: Rig, body: dict[str, Any]) -> None:
    assert rig.admin.post("/v1/webhooks", json=body).status_code == 422


HOSTILE_URLS = (
    "http://example.org/",
    "ftp://example.org/",
    "file:///etc/passwd",
    "gopher://example.org/",
    "javascript:alert(1)",
    "//example.org/",
    "example.org/hook",
    "https:///hook",
    "https://",
    "https://user@example.org/",
    "https://user:password@example.org/",
    "https://example.org@127.0.0.1/",
    "https://example.org#@127.0.0.1/",
    "https://example.org/#fragment",
    "https://example.org\\@127.0.0.1/",
    "https://example.org/\r\nHost: 127.0.0.1",
    "https://example.org/ x",
    "https://example.org:notaport/",
    "https://example.org:99999/",
    "https://ex\u00e4mple.org/",
    "https://127.0.0.1/",
    "https://127.1/",
    "https://2130706433/",
    "https://0x7f000001/",
    "https://0x7f.1/",
    "https://0177.0.0.1/",
    "https://0/",
    "https://0.0.0.0/",
    "https://[::]/",
    "https://[::1]/",
    "https://[::ffff:127.0.0.1]/",
    "https://[::ffff:7f00:1]/",
    "https://[64:ff9b::7f00:1]/",
    "https://[64:ff9b:1::7f00:1]/",
    "https://[2002:7f00:1::]/",
    "https://[fe80::1]/",
    "https://[fd00::1]/",
    "https://[ff02::1]/",
    "https://[2001:db8::1]/",
    "https://10.0.0.1/",
    "https://172.16.0.1/",
    "https://172.31.255.255/",
    "https://192.168.0.1/",
    "https://100.64.0.1/",
    "https://169.254.169.254/latest/meta-data/",
    "https://[fd00:ec2::254]/",
    "https://192.0.0.192/",
    "https://198.18.0.1/",
    "https://192.0.2.1/",
    "https://203.0.113.1/",
    "https://224.0.0.1/",
    "https://255.255.255.255/",
    "https://240.0.0.1/",
    "https://localhost/",
    "https://localhost./",
    "https://LOCALHOST/",
)


@pytest.mark.parametrize("url", HOSTILE_URLS)
def test_hostile_addresses_are_refused(url: str) -> None:
    receivers = HttpReceivers(development=False)
    with pytest.raises(WebhookRefused):
        receivers.check(url)
    with pytest.raises(WebhookRefused):
        receivers.post(url, b"{}", {})


@pytest.mark.parametrize(
    "url",
    [
        "http://10.0.0.1/",
        "http://169.254.169.254/",
        "http://[fe80::1]/",
        "http://0.0.0.0/",
        "ftp://127.0.0.1/",
        "http://user@127.0.0.1/",
    ],
)
def test_development_lets_in_this_machine_and_nothing_else(url: str) -> None:
    receivers = HttpReceivers(development=True)
    receivers.check("http://127.0.0.1:8000/hook")
    receivers.check("http://[::1]:8000/hook")
    with pytest.raises(WebhookRefused):
        receivers.check(url)


@pytest.mark.parametrize(
    ("text", "public"),
    [
        ("1.1.1.1", True),
        ("93.184.215.14", True),
        ("2606:4700:4700::1111", True),
        ("::ffff:1.1.1.1", True),
        ("64:ff9b::1.1.1.1", True),
        ("64:ff9b::10.0.0.1", False),
        ("::ffff:10.0.0.1", False),
        ("::127.0.0.1", False),
        ("2001::1", False),
        ("fec0::1", False),
        ("192.88.99.1", False),
    ],
)
def test_what_is_public(text: str, public: bool) -> None:
    assert is_public(ipaddress.ip_address(text)) is public


def resolving(*answers: list[Address]) -> Callable[[str, int], list[Address]]:
    """A name server that gives these answers, one after the other, and the last for ever."""
    left = list(answers)
    return lambda host, port: left.pop(0) if len(left) > 1 else left[0]


def test_one_private_address_among_public_ones_is_enough() -> None:
    for addresses in ([PUBLIC, LOOPBACK], [LOOPBACK, PUBLIC], []):
        with pytest.raises(WebhookRefused):
            HttpReceivers(False, resolve=resolving(addresses)).check("https://receiver.test/")


def test_a_name_that_changes_its_mind_gains_nothing() -> None:
    receivers = HttpReceivers(False, resolve=resolving([PUBLIC], [LOOPBACK]))
    receivers.check("https://receiver.test/")
    with pytest.raises(WebhookRefused):
        receivers.post("https://receiver.test/", b"{}", {})


def test_a_name_that_does_not_resolve_is_refused() -> None:
    def unknown(host: str, port: int) -> list[Address]:
        raise OSError("no such name")

    with pytest.raises(WebhookRefused, match="does not resolve"):
        HttpReceivers(False, resolve=unknown).check("https://receiver.test/")


def test_the_connection_goes_to_the_checked_address(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A proxy of the environment would resolve the name again.
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    asked: list[str] = []

    def resolve(host: str, port: int) -> list[Address]:
        asked.append(host)
        return [LOOPBACK]

    receivers = HttpReceivers(True, resolve=resolve)
    assert receivers.post(f"http://receiver.test:{receiver.port}/hook?a=1", b"{}", {"x": "y"}) == 204
    ((headers, body),) = receiver.got
    assert (headers["host"], headers["x"], body) == (f"receiver.test:{receiver.port}", "y", b"{}")
    assert asked == ["receiver.test"]


def test_a_receiver_that_hangs_is_left(receiver: Receiver) -> None:
    receiver.hang = threading.Event()
    receivers = HttpReceivers(True, deadline_s=0.3)
    with pytest.raises(WebhookFailed, match="no answer within"):
        receivers.post(receiver.url, b"{}", {})


def test_the_certificate_is_checked_against_the_name(tmp_path: Path) -> None:
    named: list[str | None] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*self_signed(tmp_path, "receiver.test"))
    context.sni_callback = lambda _, server_name, __: named.append(server_name)
    receiver = Receiver()
    try:
        receiver.server.socket = context.wrap_socket(receiver.server.socket, server_side=True)
        receivers = HttpReceivers(True, resolve=resolving([LOOPBACK]))
        with pytest.raises(WebhookFailed, match="CERTIFICATE_VERIFY_FAILED"):
            receivers.post(f"https://receiver.test:{receiver.port}/hook", b"{}", {})
    finally:
        receiver.close()
    assert named == ["receiver.test"]
    assert receiver.got == []


def test_who_wants_what() -> None:
    def wants(*kinds: str) -> list[bool]:
        subscription = Subscription(1, "", kinds, b"", 0, 0)
        return [subscription.wants(kind) for kind in ("round.final", "round.draw", "rounds.x", "round")]

    assert wants() == [True] * 4
    assert wants("round.*") == [True, True, False, True]
    assert wants("round.final", "rounds.*") == [True, False, True, False]
    assert [is_kind_pattern(text) for text in ("a.b", "a_b.*", "a", "A.b", "a.b.c", "*", ".", "a.")] == [
        *(True, True, True),
        *(False,) * 5,
    ]


def test_pauses_grow_and_are_bounded() -> None:
    pauses = [pause_s(attempt) for attempt in range(1, 1000)]
    assert pauses[:4] == [5, 20, 80, 320]
    assert pauses == sorted(pauses)
    assert pauses[-1] == 6 * 3600


def test_the_commands(rig: Rig, receiver: Receiver, tmp_path: Path) -> None:
    secret_file, token_file = tmp_path / "secret", tmp_path / "token"
    token_file.write_text(rig.admin.headers["Authorization"].removeprefix("Bearer "))

    def command(url: str, *arguments: str, exit_code: int = 0) -> Any:
        options = ("--url", url, "--token-file", str(token_file), "--json")
        done = CliRunner().invoke(app, ["webhooks", *arguments, *options])
        assert done.exit_code == exit_code, done.output
        return json.loads(done.stdout)

    with serving(rig) as url:
        create = (
            "create",
            "--receiver",
            receiver.url,
            "--secret-file",
            str(secret_file),
            "--kind",
            "round.*",
        )
        made = command(url, *create)["data"]
        assert "secret" not in made
        assert secret_file.stat().st_mode & 0o777 == 0o600
        assert command(url, *create, exit_code=2)["error"]["code"] == "file_exists"
        webhook = ("--webhook", str(made["id"]))
        happen(rig, "round.final")
        work_until(rig, lambda: command(url, "deliveries", *webhook)["data"]["items"])
        work_until(rig, lambda: log_of(rig, made["id"])[0]["status"] == "delivered")
        ((headers, body),) = receiver.got
        assert Webhook(secret_file.read_text().strip()).verify(body, headers)["type"] == "round.final"
        (delivery,) = command(url, "deliveries", *webhook)["data"]["items"]
        command(url, "replay", *webhook, "--delivery", str(delivery["id"]))
        work_until(rig, lambda: len(receiver.got) == 2)
        assert receiver.got[1][0]["webhook-id"] == headers["webhook-id"]
        command(url, "delete", *webhook)
        assert command(url, "list")["data"] == {"items": []}
        command(url, "delete", *webhook, exit_code=2)


def test_a_replay_meanwhile_is_not_lost(rig: Rig, receiver: Receiver) -> None:
    receiver.hang = threading.Event()
    made = subscribe(rig, receiver.url)
    happen(rig, "round.final")
    work_until(rig, lambda: len(receiver.got) == 1)
    (delivery,) = log_of(rig, made["id"])
    rig.post(f"/v1/webhooks/{made['id']}/deliveries/{delivery['id']}/replay", {})
    receiver.hang.set()
    work_until(rig, lambda: len(receiver.got) == 2)
    work_until(rig, lambda: log_of(rig, made["id"])[0]["status"] == "delivered")
