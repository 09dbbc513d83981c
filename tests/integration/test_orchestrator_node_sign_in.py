"""Nodes sign in: the node's own code against the hub's, and everything that must not work."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from contracts.accounts import Account
from contracts.messages import Rotation
from contracts.sign_in import SignIn
from orchestrator.services import node_sign_in
from orchestrator.services.node_sign_in import CHALLENGE_S, TOKEN_S
from tests.integration.databases import Databases
from tests.integration.orchestrator_double_rig import DEPLOYMENT, Rig
from tests.integration.orchestrator_rig import NETWORKS
from tests.integration.test_orchestrator_membership import NEW_KEY, header, signed
from tier_global import sign_in as node_side
from tier_global.errors import HubRefused, NodeRefusal
from tier_global.keys import SigningKey

URL = "http://127.0.0.1:8080"
NODE = NETWORKS[0]
KEY = "0x" + NODE.key.hex()


@pytest.fixture
def rig(tmp_path: Path, databases: Databases, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    rig = Rig(tmp_path, databases.new(tmp_path))
    monkeypatch.setattr(node_side.time, "time", lambda: float(rig.clock.unix_s))
    rig.admit_networks()
    rig.worker.run_once()
    yield rig
    rig.close()


def through(client: TestClient) -> httpx.MockTransport:
    """The node's HTTP client talks to the hub in this process."""

    def handle(request: httpx.Request) -> httpx.Response:
        answer = client.request(
            request.method,
            request.url.path,
            content=request.read(),
            headers={"Content-Type": "application/json"},
        )
        return httpx.Response(answer.status_code, content=answer.content)

    return httpx.MockTransport(handle)


def sign_in(rig: Rig, url: str = URL, key: bytes = NODE.key, node: str = NODE.address) -> str:
    return node_side.sign_in(
        url, node, DEPLOYMENT, SigningKey("0x" + key.hex()), transport=through(rig.anonymous)
    )


def challenge(rig: Rig, node: str = NODE.address) -> SignIn:
    answer = rig.anonymous.post("/v1/sign-in/challenges", json={"node": node})
    assert answer.status_code == 201, answer.text
    fields = answer.json()
    text = fields.pop("text")
    asked = SignIn(**fields)
    assert asked.text == text
    return asked


def redeem(rig: Rig, nonce: str, signature: str) -> tuple[int, Any]:
    answer = rig.anonymous.post("/v1/sign-in/tokens", json={"nonce": nonce, "signature": signature})
    return answer.status_code, answer.json()


def who(rig: Rig, token: str) -> httpx.Response:
    return rig.anonymous.get("/v1/tokens/current", headers={"Authorization": f"Bearer {token}"})


def test_a_node_signs_in_for_an_hour(rig: Rig) -> None:
    token = sign_in(rig)
    found = who(rig, token).json()
    assert (found["role"], found["node"]) == ("operator", NODE.address)
    assert found["expires_unix_s"] == rig.clock.unix_s + TOKEN_S
    renewal = rig.anonymous.post(
        f"/v1/tokens/{found['token']}/rotation", headers={"Authorization": f"Bearer {token}"}
    )
    assert renewal.status_code == 403, "an hour is not prolonged without the key"
    rig.clock.unix_s += TOKEN_S
    assert who(rig, token).status_code == 401


def test_the_text_names_all_that_it_is_good_for(rig: Rig) -> None:
    lines = challenge(rig).text.splitlines()
    assert lines[0] == "127.0.0.1:8080 wants you to sign in with your Ethereum account:"
    assert lines[1] == NODE.address
    assert NODE.address in lines[3]
    assert DEPLOYMENT.registry in lines[3]
    assert f"URI: {URL}" in lines
    assert f"Chain ID: {DEPLOYMENT.chain_id}" in lines


def test_a_challenge_works_once(rig: Rig) -> None:
    asked = challenge(rig)
    signature = asked.sign(KEY)
    assert redeem(rig, asked.nonce, signature)[0] == 201
    status, problem = redeem(rig, asked.nonce, signature)
    assert (status, problem["code"]) == (401, "unauthenticated")


def test_a_wrong_answer_uses_the_challenge_up(rig: Rig) -> None:
    asked = challenge(rig)
    assert redeem(rig, asked.nonce, asked.sign("0x" + NEW_KEY.key.hex()))[0] == 401
    assert redeem(rig, asked.nonce, asked.sign(KEY))[0] == 401


def test_a_challenge_ends(rig: Rig) -> None:
    asked = challenge(rig)
    rig.clock.unix_s += CHALLENGE_S
    assert redeem(rig, asked.nonce, asked.sign(KEY))[0] == 401


@pytest.mark.parametrize(
    "change",
    [
        {"url": "http://evil.test"},
        {"url": "https://127.0.0.1:8080"},
        {"node": NETWORKS[1].address},
        {"chain_id": 1},
        {"registry": "0x" + "99" * 20},
        {"nonce": "0" * 32},
        {"expires_unix_s": 1},
    ],
)
def test_a_signature_for_elsewhere_is_refused(rig: Rig, change: dict[str, Any]) -> None:
    asked = challenge(rig)
    if "expires_unix_s" in change:
        change = {"expires_unix_s": asked.expires_unix_s - 1}
    signature = replace(asked, **change).sign(KEY)
    assert redeem(rig, asked.nonce, signature)[0] == 401


@pytest.mark.parametrize(
    ("nonce", "signature", "status"),
    [
        ("0" * 32, "0x" + "11" * 65, 401),
        ("short", "0x" + "11" * 65, 422),
        ("0" * 32, "0x11", 422),
        ("0" * 32, "not hex", 422),
    ],
)
def test_nonsense_is_refused(rig: Rig, nonce: str, signature: str, status: int) -> None:
    assert redeem(rig, nonce, signature)[0] == status


def test_a_signature_that_no_account_could_have_made(rig: Rig) -> None:
    status, problem = redeem(rig, challenge(rig).nonce, "0x" + "ff" * 65)
    assert (status, problem["code"]) == (401, "unauthenticated")


def test_a_replaced_key_is_refused_at_once(rig: Rig) -> None:
    before, asked = sign_in(rig), challenge(rig)
    assert who(rig, before).status_code == 200
    session = rig.anonymous.post("/dashboard/tickets", headers={"Authorization": f"Bearer {before}"}).json()
    rig.anonymous.get(session["url"])
    assert rig.anonymous.get("/", headers={"accept": "text/html"}).status_code == 200
    rotation = Rotation(**header(), signer=NEW_KEY.address)
    rig.post(f"/v1/nodes/{NODE.address}/rotations", signed(rotation))
    rig.turn_until(lambda: rig.get(f"/v1/nodes/{NODE.address}")["signer"] == NEW_KEY.address)
    assert who(rig, before).status_code == 401
    assert redeem(rig, asked.nonce, asked.sign(KEY))[0] == 401
    with pytest.raises(HubRefused, match="signing key"):
        sign_in(rig)
    shown = TestClient(rig.app, cookies=rig.anonymous.cookies, follow_redirects=False)
    assert shown.get("/", headers={"accept": "text/html"}).headers["location"] == "/login"
    assert who(rig, sign_in(rig, key=NEW_KEY.key)).status_code == 200


def test_strangers_get_no_challenge(rig: Rig) -> None:
    key = bytes(Account.create().key)
    with pytest.raises(HubRefused, match="unknown_node"):
        sign_in(rig, key=key, node=Account.from_key(key).address)


def test_a_node_signs_for_the_hub_that_it_dialled_only(rig: Rig) -> None:
    with pytest.raises(NodeRefusal, match="calls itself"):
        sign_in(rig, url="http://other.test")


def test_a_node_does_not_sign_into_the_future(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_side.time, "time", lambda: 0.0)
    with pytest.raises(NodeRefusal, match="clock"):
        sign_in(rig)


def test_open_challenges_are_bounded(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_sign_in, "MOST_CHALLENGES", 2)
    challenge(rig)
    challenge(rig)
    body = {"node": NODE.address}
    assert rig.anonymous.post("/v1/sign-in/challenges", json=body).status_code == 503
    rig.clock.unix_s += CHALLENGE_S
    challenge(rig)
