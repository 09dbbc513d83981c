"""The orchestrator's client: what it sends, what it checks, and how refusals and outages differ."""

import json

import httpx
import pytest

from contracts.digests import sha256_digest
from contracts.messages import Exit, Migration, Return, Reveal, Revocation, Rotation
from contracts.phase import Phase
from tier_global.errors import HubRefused, HubUnavailable
from tier_global.hub import HttpHub, NodeMessage

NODE = "0x" + "11" * 20
DIGEST = "0x" + "22" * 32
HEADER = {"node": NODE, "nonce": 3, "expiry_unix_s": 1_800_000_000}
ROUND = {
    "task": 1,
    "round": 2,
    "phase": "training",
    "parent_digest": DIGEST,
    "aggregate_digest": None,
    "context": "0x" + "33" * 16,
    "deadline_unix_s": 1_700_000_000,
    "reward": "5",
    "proposers": [NODE],
    "voters": [NODE],
    "proposals": [{"node": NODE, "adapter_digest": DIGEST, "report_digest": DIGEST, "standing": None}],
    "votes": [{"node": NODE, "committed": True, "revealed": False, "scores_micronats": None}],
    "attestations": [],
    "gas": {"advance": 3},
}


class Server:
    """Answers with what it is told, and remembers the requests."""

    def __init__(self, *answers: httpx.Response) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []

    def hub(self) -> HttpHub:
        return HttpHub("http://hub.test", "the-token", httpx.MockTransport(self._answer))

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return self.answers.pop(0)


def test_a_round_is_read_and_more_fields_do_not_disturb() -> None:
    server = Server(httpx.Response(200, json=ROUND))

    view = server.hub().round(1, 2)

    assert view.phase is Phase.TRAINING
    assert view.votes[0].committed
    assert server.requests[0].url.path == "/v1/tasks/1/rounds/2"
    assert server.requests[0].headers["Authorization"] == "Bearer the-token"


@pytest.mark.parametrize("change", [{"phase": "resting"}, {"parent_digest": "0x1"}, {"proposers": ["me"]}])
def test_a_round_that_cannot_be_read_is_an_outage(change: dict[str, object]) -> None:
    with pytest.raises(HubUnavailable):
        Server(httpx.Response(200, json=ROUND | change)).hub().round(1, 2)


def test_signers_by_node() -> None:
    server = Server(httpx.Response(200, json={"items": [{"node": NODE, "signer": NODE, "name": "north"}]}))
    assert len(server.hub().signers()) == 1


def test_an_artifact_is_checked() -> None:
    data = b"an artifact"
    hub = Server(httpx.Response(200, content=data), httpx.Response(200, content=data + b"!")).hub()

    assert hub.artifact(sha256_digest(data)) == data
    with pytest.raises(HubRefused, match="other bytes"):
        hub.artifact(sha256_digest(data))


def test_a_missing_artifact_is_a_refusal() -> None:
    problem = httpx.Response(404, json={"code": "not_found", "detail": "no such artifact"})
    with pytest.raises(HubRefused, match="no such artifact") as refusal:
        Server(problem).hub().artifact(DIGEST)
    assert (refusal.value.status, refusal.value.code) == (404, "not_found")


def test_an_artifact_larger_than_any_adapter_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tier_global.hub.MAX_ARTIFACT_BYTES", 10)
    with pytest.raises(HubRefused):
        Server(httpx.Response(200, content=b"x" * 11)).hub().artifact(sha256_digest(b"x" * 11))


def test_storing_names_the_digest() -> None:
    server = Server(httpx.Response(201))

    digest = server.hub().store_artifact(b"data")

    assert digest == sha256_digest(b"data")
    assert (server.requests[0].method, server.requests[0].url.path) == ("PUT", f"/v1/artifacts/{digest}")
    assert server.requests[0].content == b"data"


def test_a_reveal_goes_without_a_signature() -> None:
    server = Server(httpx.Response(202, json={"intent": 1, "status": "queued"}))
    reveal = Reveal(
        node=NODE, task=1, round=2, context="0x" + "33" * 16, scores_micronats=(1, -2), salt="0x" + "44" * 32
    )

    server.hub().reveal(reveal)

    body = json.loads(server.requests[0].content)
    assert server.requests[0].url.path == "/v1/tasks/1/rounds/2/reveals"
    assert Reveal.parse(body["message"]) == reveal
    assert body.keys() == {"message"}


@pytest.mark.parametrize(
    ("message", "path"),
    [
        (Revocation(**HEADER, task=7), "/v1/tasks/7/revocations"),
        (Return(**HEADER), f"/v1/nodes/{NODE}/returns"),
        (Rotation(**HEADER, signer=NODE), f"/v1/nodes/{NODE}/rotations"),
        (Exit(**HEADER, amount=5), f"/v1/nodes/{NODE}/exits"),
        (Migration(**HEADER, successor=NODE), f"/v1/nodes/{NODE}/migrations"),
    ],
)
def test_what_a_node_says_outside_rounds_has_its_place(message: NodeMessage, path: str) -> None:
    server = Server(httpx.Response(202, json={"intent": 1}))

    server.hub().hand_in(message, "0x" + "11" * 65)

    body = json.loads(server.requests[0].content)
    assert server.requests[0].url.path == path
    assert type(message).parse(body["message"]) == message
    assert body["signature"] == "0x" + "11" * 65


def test_payments_are_asked_for_without_a_body() -> None:
    server = Server(httpx.Response(202), httpx.Response(202))
    hub = server.hub()
    hub.withdraw(NODE)
    hub.claim(NODE)
    assert [each.url.path for each in server.requests] == [
        f"/v1/nodes/{NODE}/withdrawals",
        f"/v1/nodes/{NODE}/claims",
    ]


@pytest.mark.parametrize("status", [500, 502, 503, 429])
def test_an_outage_is_not_a_refusal(status: int) -> None:
    with pytest.raises(HubUnavailable):
        Server(httpx.Response(status)).hub().round(1, 2)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422, 302])
def test_a_refusal_is_not_an_outage(status: int) -> None:
    with pytest.raises(HubRefused):
        Server(httpx.Response(status, text="<html>")).hub().round(1, 2)


def test_the_token_is_in_no_error() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    with pytest.raises(HubUnavailable) as outage:
        HttpHub("http://hub.test", "the-token", httpx.MockTransport(refuse)).round(1, 2)
    assert "the-token" not in str(outage.value)
