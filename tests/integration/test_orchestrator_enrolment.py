"""Enrolment: an invite lets one network's statement in, and the council's word puts the node on chain."""

import json
import stat
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from eth_utils.crypto import keccak
from typer.testing import CliRunner, Result

from contracts.accounts import Account
from contracts.digests import ZERO_DIGEST, sha256_digest
from contracts.messages import Domain, Enrolment
from deploy.local.ports import free_ports
from orchestrator.adapters.flower import FlowerCommandNodes
from orchestrator.cli import app as hub_app
from orchestrator.services.enrolment import invite_digest
from tests.integration.databases import Databases, all_rows
from tests.integration.orchestrator_double_rig import DEPLOYMENT, Rig
from tier_global.cli import app as node_app

DEADLINE_S = 30.0
FLOWER_KEY = "ecdsa-sha2-nistp384 " + "A" * 180
OTHER_FLOWER_KEY = "ecdsa-sha2-nistp384 " + "B" * 180
CERTIFICATE = sha256_digest(b"certificate")
ACCOUNT_KEY, SIGNING_KEY, OTHER_KEY = (
    bytes(keccak(text=name)) for name in ("account", "signing key", "other account")
)
ACCOUNT, SIGNER, OTHER = (str(Account.from_key(key).address) for key in (ACCOUNT_KEY, SIGNING_KEY, OTHER_KEY))
run = CliRunner()


@pytest.fixture
def rig(tmp_path: Path, databases: Databases) -> Iterator[Rig]:
    rig = Rig(tmp_path, databases.new(tmp_path))
    yield rig
    rig.close()


def invite(rig: Rig, network: str = "aurora", **changes: Any) -> str:
    """A new invite's secret."""
    answer = rig.post("/v1/enrolments/invites", {"network": network, "group": 1, **changes})
    assert answer["expires_unix_s"] == rig.clock.unix_s + changes.get("lasts_s", 72 * 3600)
    return str(answer["secret"])


def statement(
    secret: str, key: bytes = ACCOUNT_KEY, domain: Domain = DEPLOYMENT.registry_domain, **changes: str
) -> dict[str, Any]:
    """A signed statement, as the API takes it."""
    fields = {
        "node": str(Account.from_key(key).address),
        "signer": SIGNER,
        "network": "aurora",
        "flower_key": FLOWER_KEY,
        "certificate": CERTIFICATE,
        "invite": invite_digest(secret),
    }
    message = Enrolment.parse(fields | changes)
    return {
        "invite": secret,
        "message": message.model_dump(mode="json"),
        "signature": message.sign(domain, key),
    }


def enrol(rig: Rig, body: dict[str, Any]) -> Any:
    """Hand a statement in, without any token."""
    return rig.anonymous.post("/v1/enrolments", json=body)


def test_from_the_invite_to_the_chain(rig: Rig) -> None:
    secret = invite(rig)
    body = statement(secret)
    answer = enrol(rig, body)
    assert answer.status_code == 201, answer.text
    assert answer.json()["status"] == "pending"
    assert rig.get("/v1/nodes")["items"] == []
    kept = rig.get("/v1/enrolments/1")
    assert (kept["statement"], kept["signature"]) == (body["message"], body["signature"])
    approved = rig.post("/v1/enrolments/1/approval", {})
    assert (approved["enrolment"]["status"], approved["intent"]["kind"]) == ("approved", "admit")
    rig.turn_until(lambda: ACCOUNT in rig.chain.state.nodes)
    assert rig.chain.state.nodes[ACCOUNT].signer == SIGNER
    rig.worker.run_once()
    node = rig.get(f"/v1/nodes/{ACCOUNT}")
    assert (node["name"], node["signer"], node["group"]) == ("aurora", SIGNER, 1)
    assert rig.post("/v1/enrolments/1/approval", {})["intent"] == rig.get(
        f"/v1/intents/{approved['intent']['intent']}"
    )
    said = [
        (row["principal"], row["role"], row["operation"], row["node"])
        for row in rig.get("/v1/audit")["items"]
    ]
    assert said == [
        ("admin", "admin", "invite_network", None),
        ("aurora", "invited network", "enrol", ACCOUNT),
        ("admin", "admin", "approve_enrolment", None),
    ]


def test_the_secret_is_shown_once_and_kept_nowhere(rig: Rig) -> None:
    secret = invite(rig)
    enrol(rig, statement(secret))
    assert secret not in json.dumps([rig.get("/v1/enrolments"), rig.get("/v1/audit")])
    assert secret not in repr(all_rows(rig.database_url))


def test_the_same_statement_again_changes_nothing(rig: Rig) -> None:
    body = statement(invite(rig))
    first = enrol(rig, body).json()
    again = enrol(rig, body)
    assert (again.status_code, again.json()) == (201, first)
    assert len(rig.get("/v1/audit")["items"]) == 2


def test_what_does_not_fit_is_refused_and_recorded(rig: Rig) -> None:
    secret, foreign = invite(rig), invite(rig, "borealis")
    elsewhere = Domain(chain_id=1, verifying_contract=DEPLOYMENT.registry)
    forged = statement(secret) | {"signature": statement(secret, OTHER_KEY)["signature"]}
    cases = (
        (statement("collegium_invite_guessed"), 401, "invite_unknown"),
        (statement(secret, invite=invite_digest(foreign)), 422, "foreign_invite"),
        (statement(foreign), 422, "foreign_invite"),
        (statement(secret, network="borealis"), 422, "foreign_invite"),
        (forged, 422, "bad_signature"),
        (statement(secret, domain=elsewhere), 422, "bad_signature"),
        (statement(secret) | {"signature": "0x" + "11" * 65}, 422, "bad_signature"),
        (statement(secret) | {"more": 1}, 422, "invalid_request"),
        ({**statement(secret), "message": {}}, 422, "invalid_request"),
        ([], 422, "invalid_request"),
    )
    for body, status, code in cases:
        answer = rig.anonymous.post("/v1/enrolments", json=body)
        assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert rig.get("/v1/enrolments")["items"] == []
    rows = rig.get("/v1/audit?operation=enrol")["items"]
    assert [row["reason"] for row in rows] == [code for _, _, code in cases]
    assert [row["principal"] for row in rows] == [
        *("anonymous", "aurora", "borealis", "aurora", "aurora", "aurora", "aurora"),
        *("anonymous",) * 3,
    ]
    assert enrol(rig, statement(secret)).status_code == 201


def test_an_invite_works_once_and_until_it_expires(rig: Rig) -> None:
    used, late = invite(rig), invite(rig, "borealis", lasts_s=3600)
    assert enrol(rig, statement(used)).status_code == 201
    again = enrol(rig, statement(used, OTHER_KEY))
    assert (again.status_code, again.json()["code"]) == (409, "invite_used")
    rig.clock.unix_s += 3600
    expired = enrol(rig, statement(late, OTHER_KEY, network="borealis"))
    assert (expired.status_code, expired.json()["code"]) == (403, "invite_expired")
    assert [item["id"] for item in rig.get("/v1/enrolments")["items"]] == [1]


@pytest.mark.parametrize(
    ("key", "changes", "shared"),
    [
        (ACCOUNT_KEY, {"signer": OTHER}, "account or signing key"),
        (OTHER_KEY, {}, "account or signing key"),
        (OTHER_KEY, {"signer": ACCOUNT}, "account or signing key"),
        (SIGNING_KEY, {"signer": OTHER}, "account or signing key"),
        (OTHER_KEY, {"signer": OTHER}, "Flower key"),
        (OTHER_KEY, {"signer": OTHER, "flower_key": OTHER_FLOWER_KEY}, "certificate"),
    ],
)
def test_no_key_is_taken_over_silently(rig: Rig, key: bytes, changes: dict[str, str], shared: str) -> None:
    assert enrol(rig, statement(invite(rig))).status_code == 201
    body = statement(invite(rig, "borealis"), key, network="borealis", **changes)
    answer = enrol(rig, body)
    assert (answer.status_code, answer.json()["code"]) == (409, "key_taken")
    assert shared in answer.json()["detail"]


def test_networks_without_flower_keys_and_certificates_do_not_share_them(rig: Rig) -> None:
    none = {"flower_key": "", "certificate": ZERO_DIGEST}
    assert enrol(rig, statement(invite(rig), **none)).status_code == 201
    body = statement(invite(rig, "borealis"), OTHER_KEY, network="borealis", signer=OTHER, **none)
    assert enrol(rig, body).status_code == 201


def test_who_is_refused_may_come_again_with_another_invite(rig: Rig) -> None:
    enrol(rig, statement(invite(rig)))
    refused = rig.post("/v1/enrolments/1/refusal", {"reason": "the account is not the one on paper"})
    assert (refused["status"], refused["reason"]) == ("refused", "the account is not the one on paper")
    for path, body in (("approval", {}), ("refusal", {"reason": "again"})):
        answer = rig.admin.post(f"/v1/enrolments/1/{path}", json=body)
        assert (answer.status_code, answer.json()["code"]) == (409, "enrolment_decided")
    assert enrol(rig, statement(invite(rig))).json()["id"] == 2
    rig.post("/v1/enrolments/2/approval", {})
    assert rig.get("/v1/enrolments/1")["status"] == "refused"


def test_a_node_that_was_admitted_otherwise_is_not_replaced(rig: Rig) -> None:
    enrol(rig, statement(invite(rig)))
    rig.post("/v1/nodes", {"node": ACCOUNT, "signer": OTHER, "group": 1, "name": "aurora"})
    answer = rig.admin.post("/v1/enrolments/1/approval")
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    assert rig.get("/v1/enrolments/1")["status"] == "pending"
    again = rig.admin.post("/v1/enrolments/invites", json={"network": "aurora", "group": 1})
    assert again.status_code == 409


def test_only_the_council_invites_reads_and_decides(rig: Rig) -> None:
    enrol(rig, statement(invite(rig)))
    operator = rig.operator(OTHER)
    for client, status in ((rig.anonymous, 401), (operator, 403), (rig.conductor, 403)):
        for method, path in (
            ("POST", "/v1/enrolments/invites"),
            ("GET", "/v1/enrolments"),
            ("GET", "/v1/enrolments/1"),
            ("POST", "/v1/enrolments/1/approval"),
            ("POST", "/v1/enrolments/1/refusal"),
        ):
            body = {"network": "x", "group": 1} if path.endswith("invites") else {"reason": "x"}
            json_body = body if method == "POST" else None
            assert client.request(method, path, json=json_body).status_code == status, path
    assert rig.auditor.get("/v1/enrolments/1").json() == rig.get("/v1/enrolments/1")
    assert rig.auditor.post("/v1/enrolments/1/approval").status_code == 403
    assert rig.admin.get("/v1/enrolments/2").status_code == 404
    for changes in (
        {"group": 0},
        {"lasts_s": 1},
        {"lasts_s": 1 << 40},
        {"network": ""},
        {"network": "\u00e9"},
    ):
        body = {"network": "x", "group": 1, **changes}
        assert rig.admin.post("/v1/enrolments/invites", json=body).status_code == 422


def test_a_copied_invite_is_no_race(rig: Rig) -> None:
    """Two statements at once for one invite: one comes in."""
    secret = invite(rig)
    bodies = [
        statement(secret),
        statement(secret, OTHER_KEY, signer=OTHER, flower_key="", certificate=ZERO_DIGEST),
    ]
    with ThreadPoolExecutor(2) as threads:
        answers = list(threads.map(lambda body: enrol(rig, body).status_code, bodies))
    assert sorted(answers) == [201, 409]


# Over HTTP, with the commands of both sides


@pytest.fixture
def hub_url(rig: Rig) -> Iterator[str]:
    """The rig's API behind a socket."""
    (port,) = free_ports(1)
    server = uvicorn.Server(uvicorn.Config(rig.app, host="127.0.0.1", port=port, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    deadline_s = time.monotonic() + DEADLINE_S
    while not server.started:
        assert time.monotonic() < deadline_s, "the server did not start"
        time.sleep(0.01)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(DEADLINE_S)


def ask_hub(url: str, rig: Rig, folder: Path, *arguments: str) -> Result:
    """A command of the council's."""
    token = folder / "admin-token"
    token.write_text(rig.admin.headers["Authorization"].removeprefix("Bearer "))
    return run.invoke(hub_app, ["enrolment", *arguments, "--url", url, "--token-file", str(token), "--json"])


def test_both_sides_by_their_commands(
    rig: Rig, hub_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "deployment.json").write_bytes(DEPLOYMENT.to_json())
    (tmp_path / "network.json").write_text("{}")
    node, invite_file = tmp_path / "node", tmp_path / "invite"
    made = run.invoke(
        node_app,
        [
            *("init", "--json", "--folder", str(node), "--rpc-url", "http://127.0.0.1:1"),
            *("--deployment", str(tmp_path / "deployment.json"), "--network", str(tmp_path / "network.json")),
        ],
    )
    account = json.loads(made.stdout)["data"]["address"]
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=aurora"),
            *("-days", "1", "-keyout", str(tmp_path / "tls.key"), "-out", str(tmp_path / "tls.pem")),
        ],
        check=True,
        capture_output=True,
    )
    fingerprint = subprocess.run(
        ["openssl", "x509", "-in", str(tmp_path / "tls.pem"), "-noout", "-fingerprint", "-sha256"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.partition("=")[2]
    (tmp_path / "flower.pub").write_text(f"{FLOWER_KEY} somebody@somewhere\n")

    invited = ask_hub(
        hub_url, rig, tmp_path, "invite", "--name", "aurora", "--group", "1", "--out", str(invite_file)
    )
    assert invited.exit_code == 0, invited.output
    secret = invite_file.read_text().strip()
    assert secret not in invited.output
    assert stat.S_IMODE(invite_file.stat().st_mode) == 0o600

    enrolling = [
        *("enrol", "--json", "--config", str(node / "node.json"), "--name", "aurora"),
        *("--invite-file", str(invite_file), "--orchestrator-url", hub_url),
        *("--flower-key", str(tmp_path / "flower.pub"), "--certificate", str(tmp_path / "tls.pem")),
    ]
    enrolled = run.invoke(node_app, enrolling)
    assert enrolled.exit_code == 0, enrolled.output
    assert secret not in enrolled.output
    kept = rig.get("/v1/enrolments/1")["statement"]
    assert (kept["node"], kept["signer"], kept["flower_key"]) == (account, account, FLOWER_KEY)
    assert kept["certificate"] == "0x" + fingerprint.strip().replace(":", "").lower()

    # The SuperLink's side; the real one is asked in test_global_flower.py.
    at_the_superlink: dict[str, str] = {}

    def register(_: object, node: str, key: str) -> bool:
        if key == at_the_superlink.get(node):
            return False
        at_the_superlink[node] = key
        return True

    monkeypatch.setattr(FlowerCommandNodes, "register", register)
    assert ask_hub(hub_url, rig, tmp_path, "register-flower-keys").exit_code == 2
    monkeypatch.setenv("COLLEGIUM_FLOWER_HOME", str(tmp_path))
    assert ask_hub(hub_url, rig, tmp_path, "register-flower-keys").exit_code == 0
    assert at_the_superlink == {}, "nobody has approved it yet"

    listed = ask_hub(hub_url, rig, tmp_path, "list")
    assert json.loads(listed.stdout)["data"]["items"][0]["status"] == "pending"
    with ThreadPoolExecutor(1) as threads:
        approved = threads.submit(ask_hub, hub_url, rig, tmp_path, "approve", "1")
        deadline_s = time.monotonic() + DEADLINE_S
        while not approved.done():
            assert time.monotonic() < deadline_s, "the admission took too long"
            rig.turn()
        assert approved.result().exit_code == 0
    for new in (True, False):
        registered = ask_hub(hub_url, rig, tmp_path, "register-flower-keys")
        (item,) = json.loads(registered.stdout)["data"]["items"]
        assert item == {"node": account, "network": "aurora", "new": new}
    assert at_the_superlink == {account: FLOWER_KEY}
    refused = ask_hub(hub_url, rig, tmp_path, "refuse", "1", "--reason", "too late")
    assert refused.exit_code == 3

    other = tmp_path / "other"
    other.write_text("collegium_invite_guessed\n")
    for changed, code in (
        ([*enrolling[:6], "--invite-file", str(other), *enrolling[8:]], 3),
        ([*enrolling[:6], "--invite-file", str(tmp_path / "none"), *enrolling[8:]], 2),
        ([*enrolling, "--certificate", str(invite_file)], 2),
        ([*enrolling, "--flower-key", str(invite_file)], 2),
    ):
        assert run.invoke(node_app, changed).exit_code == code
    again = ask_hub(
        hub_url, rig, tmp_path, "invite", "--name", "b", "--group", "1", "--out", str(invite_file)
    )
    assert again.exit_code == 2
    assert invite_file.read_text().strip() == secret
