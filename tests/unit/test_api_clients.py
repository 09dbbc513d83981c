"""Both clients of the REST API, held to its committed description: what they send, and what they read."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import httpx
import jsonschema_rs
import pytest

from contracts.digests import sha256_digest
from contracts.messages import (
    Approval,
    Attestation,
    Commit,
    Exit,
    Migration,
    Proposal,
    Return,
    Reveal,
    Revocation,
    Rotation,
)
from orchestrator.client import answers
from orchestrator.client.api import Client
from orchestrator.client.errors import HubRefused, HubUnreachable
from tier_global import hub as node_hub
from tier_global.hub import HttpHub

DESCRIPTION = json.loads((Path(__file__).parents[2] / "docs" / "openapi.json").read_text())
NODE = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"
DATA = b"an artifact"
DIGEST = sha256_digest(DATA)
SIGNATURE = "0x" + "1b" * 65
HEADER = {"node": NODE, "task": 1, "round": 2, "context": "0x" + "a1" * 16}
NONCE = {"node": NODE, "nonce": 0, "expiry_unix_s": 1_767_225_600}


def operation_for(method: str, path: str) -> dict[str, Any]:
    for template, item in DESCRIPTION["paths"].items():
        if re.fullmatch(re.sub(r"\{[^}]+\}", "[^/]+", template), path) and method.lower() in item:
            found: dict[str, Any] = item[method.lower()]
            return found
    raise AssertionError(f"the API has no {method} {path}")


def is_valid(schema: dict[str, Any], value: Any) -> bool:
    return jsonschema_rs.validator_for({**schema, "components": DESCRIPTION["components"]}).is_valid(value)


class DescribedServer:
    """Answers with the description's own examples, and refuses what it does not describe."""

    def __init__(self) -> None:
        self.operations: list[str] = []

    def answer(self, request: httpx.Request) -> httpx.Response:
        operation = operation_for(request.method, request.url.path)
        self.operations.append(operation["operationId"])
        self._check(request, operation)
        if operation["operationId"] == "get_artifact":
            return httpx.Response(200, content=DATA)
        status = min(status for status in operation["responses"] if status.startswith("2"))
        content = operation["responses"][status].get("content", {})
        if status == "204":
            return httpx.Response(204)
        if "application/json" not in content:
            return httpx.Response(int(status), text="# a document")
        example = content["application/json"]["example"]
        if "next_cursor" in example:
            example = example | {"next_cursor": None}
        return httpx.Response(int(status), json=example)

    def _check(self, request: httpx.Request, operation: dict[str, Any]) -> None:
        queries = {each["name"] for each in operation.get("parameters", ()) if each["in"] == "query"}
        assert set(request.url.params) <= queries
        body = operation.get("requestBody")
        if body is None:
            assert request.content in (b"", b"{}", b"null")
        elif "application/json" in body["content"]:
            schema = body["content"]["application/json"]["schema"]
            assert is_valid(schema, json.loads(request.content)), request.content


CALLS: dict[str, Callable[[Client], Any]] = {
    "list_nodes": lambda api: list(api.nodes()),
    "get_node": lambda api: api.node(NODE),
    "admit_node": lambda api: api.admit_node(NODE, signer=NODE, group=1, name="aurora"),
    "withdraw_stake": lambda api: api.withdraw_stake(NODE),
    "claim_rewards": lambda api: api.claim_rewards(NODE),
    "list_tasks": lambda api: list(api.tasks()),
    "get_task": lambda api: api.task(1),
    "create_task": lambda api: api.create_task(
        spec_digest=DIGEST, name="small", config=api.task(1).config.model_dump(mode="json"), pool=5
    ),
    "pause_task": lambda api: api.pause_task(1),
    "unpause_task": lambda api: api.unpause_task(1, if_match='"x"'),
    "cancel_task": lambda api: api.cancel_task(1),
    "refund_task": lambda api: api.refund_task(1, NODE),
    "list_task_evaluations": lambda api: list(api.evaluations(1)),
    "record_evaluation": lambda api: api.record_evaluation(next(api.evaluations(1))),
    "list_rounds": lambda api: list(api.rounds(1)),
    "get_round": lambda api: api.round(1, 2),
    "list_proposals": lambda api: list(api.proposals(1, 2)),
    "list_votes": lambda api: list(api.votes(1, 2)),
    "list_reports": lambda api: list(api.reports(1, 2)),
    "list_intents": lambda api: list(api.intents(status="mined", task=1)),
    "get_intent": lambda api: api.intent(1),
    "list_rewards": lambda api: list(api.rewards(task=1, node=NODE)),
    "list_slashes": lambda api: list(api.slashes(task=1, node=NODE)),
    "waive_slash": lambda api: api.waive_slash(0),
    "execute_slash": lambda api: api.execute_slash(0),
    "list_models": lambda api: list(api.models()),
    "get_model": lambda api: api.model(DIGEST),
    "get_model_card": lambda api: api.model_card(DIGEST),
    "put_artifact": lambda api: api.upload_bytes(DIGEST, DATA),
    "list_approvals": lambda api: list(api.approvals(1)),
    "list_policies": lambda api: list(api.policies(NODE)),
    "list_enrolments": lambda api: list(api.enrolments()),
    "invite_network": lambda api: api.invite_network("aurora", group=1, lasts_s=3_600),
    "approve_enrolment": lambda api: api.approve_enrolment(1),
    "refuse_enrolment": lambda api: api.refuse_enrolment(1, "not the key on paper"),
    "list_tokens": lambda api: list(api.tokens()),
    "get_current_token": lambda api: api.current_token(),
    "create_token": lambda api: api.create_token("export", "auditor", lasts_s=60, operations=["list_tasks"]),
    "rotate_token": lambda api: api.rotate_token(1),
    "revoke_token": lambda api: api.revoke_token(1),
    "revoke_current_token": lambda api: api.revoke_token(),
    "list_users": lambda api: list(api.users()),
    "remove_user": lambda api: api.remove_user("ada"),
    "list_sessions": lambda api: list(api.sessions()),
    "end_session": lambda api: api.end_session(1),
    "list_webhooks": lambda api: list(api.webhooks()),
    "create_webhook": lambda api: api.create_webhook("https://hooks.example.org/", ["round.*"]),
    "delete_webhook": lambda api: api.delete_webhook(1),
    "list_deliveries": lambda api: list(api.deliveries(1)),
    "replay_delivery": lambda api: api.replay_delivery(1, 2),
    "createDashboardTicket": lambda api: api.dashboard_ticket(),
}


@pytest.mark.parametrize("operation", CALLS)
def test_the_typed_client_sends_and_reads_what_is_described(operation: str) -> None:
    server = DescribedServer()
    with Client("http://hub.test", "token", transport=httpx.MockTransport(server.answer)) as api:
        answer = CALLS[operation](api)
    assert operation in server.operations
    first = answer[0] if isinstance(answer, list) else answer
    if isinstance(first, answers.Answer):
        assert first.model_dump(mode="json")
    else:
        assert first is None or isinstance(first, str)


NAMED_OTHERWISE = {"Statement": "Enrolment", "OpenSession": "SessionAnswer"}


def described_answer(name: str) -> dict[str, Any]:
    """What the description says of the answer that the client calls so."""
    schemas = DESCRIPTION["components"]["schemas"]
    names = (NAMED_OTHERWISE.get(name), f"{name}Answer", f"{name}-Output", name)
    return next(schemas[each] for each in names if each in schemas)


def test_every_answer_has_the_fields_that_are_described() -> None:
    checked = 0
    for name, model in vars(answers).items():
        if not (isinstance(model, type) and issubclass(model, answers.Answer)) or model is answers.Answer:
            continue
        # The number of an event is the stream's own.
        numbered = {"id"} if name == "Event" else set()
        assert set(model.model_fields) == set(described_answer(name)["properties"]) | numbered, name
        checked += 1
    assert checked > 20


NODE_CALLS: dict[str, Callable[[HttpHub], Any]] = {
    "get_round": lambda hub: hub.round(1, 2),
    "get_task": lambda hub: hub.spec_digest(1),
    "list_nodes": lambda hub: hub.signers(),
    "check_signature": lambda hub: hub.accepts(NODE, DIGEST, SIGNATURE),
    "get_artifact": lambda hub: hub.artifact(DIGEST),
    "put_artifact": lambda hub: hub.store_artifact(DATA),
    "propose": lambda hub: hub.propose(
        Proposal(**HEADER, parent_digest=DIGEST, adapter_digest=DIGEST, report_digest=DIGEST), SIGNATURE
    ),
    "commit": lambda hub: hub.commit(Commit(**HEADER, commitment=DIGEST), SIGNATURE),
    "reveal": lambda hub: hub.reveal(Reveal(**HEADER, scores_micronats=(1, -2), salt=DIGEST)),
    "attest": lambda hub: hub.attest(
        Attestation(**HEADER, aggregate_digest=DIGEST, score_micronats=5), SIGNATURE
    ),
    "approve_task": lambda hub: hub.hand_in(
        Approval(**NONCE, task=1, spec_digest=DIGEST, policy_digest=DIGEST), SIGNATURE
    ),
    "revoke_task": lambda hub: hub.hand_in(Revocation(**NONCE, task=1), SIGNATURE),
    "return_node": lambda hub: hub.hand_in(Return(**NONCE), SIGNATURE),
    "rotate_signer": lambda hub: hub.hand_in(Rotation(**NONCE, signer=NODE), SIGNATURE),
    "exit_stake": lambda hub: hub.hand_in(Exit(**NONCE, amount=5), SIGNATURE),
    "migrate_stake": lambda hub: hub.hand_in(Migration(**NONCE, successor=NODE), SIGNATURE),
    "withdraw_stake": lambda hub: hub.withdraw(NODE),
    "claim_rewards": lambda hub: hub.claim(NODE),
}


@pytest.mark.parametrize("operation", NODE_CALLS)
def test_the_nodes_client_sends_and_reads_what_is_described(operation: str) -> None:
    server = DescribedServer()
    NODE_CALLS[operation](HttpHub("http://hub.test", "token", httpx.MockTransport(server.answer)))
    assert server.operations == [operation]


def test_every_message_of_a_node_is_tried() -> None:
    assert len(get_args(node_hub.NodeMessage)) == 6


# --- the client alone


def client(*told: httpx.Response | Exception, seen: list[httpx.Request] | None = None) -> Client:
    left = list(told)

    def answer(request: httpx.Request) -> httpx.Response:
        if seen is not None:
            seen.append(request)
        next_one = left.pop(0)
        if isinstance(next_one, Exception):
            raise next_one
        return next_one

    return Client("http://hub.test", "token", transport=httpx.MockTransport(answer))


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.client.session.time.sleep", lambda _: None)


INTENT = DESCRIPTION["paths"]["/v1/intents/{intent}"]["get"]["responses"]["200"]["content"][
    "application/json"
]["example"]


def test_a_post_is_sent_again_with_the_same_key() -> None:
    seen: list[httpx.Request] = []
    busy = httpx.Response(503, json={"code": "unavailable", "detail": "later"})
    api = client(httpx.ReadError("gone"), busy, httpx.Response(202, json=INTENT), seen=seen)
    assert api.pause_task(1).intent == INTENT["intent"]
    assert len({request.headers["Idempotency-Key"] for request in seen}) == 1
    api = client(httpx.Response(202, json=INTENT), seen=seen)
    api.pause_task(1)
    assert seen[-1].headers["Idempotency-Key"] != seen[0].headers["Idempotency-Key"]


def test_it_does_not_ask_for_ever() -> None:
    with pytest.raises(HubUnreachable):
        client(*(httpx.ConnectError("no") for _ in range(3))).pause_task(1)
    with pytest.raises(HubUnreachable):
        client(httpx.ConnectError("no")).task(1)


def test_a_refusal_keeps_its_code() -> None:
    problem = {"code": "wrong_phase", "detail": "too late", "correlation_id": "abc"}
    with pytest.raises(HubRefused) as refused:
        client(httpx.Response(409, json=problem)).task(1)
    error = refused.value
    assert (error.status, error.code, str(error), error.correlation_id) == (
        409,
        "wrong_phase",
        "too late",
        "abc",
    )
    for body in (b"", b"<html>", b"[]", b'{"code": 1}'):
        with pytest.raises(HubRefused) as refused:
            client(httpx.Response(502, content=body)).task(1)
        assert refused.value.code == "unexpected_answer"


def test_an_answer_that_is_none() -> None:
    with pytest.raises(HubUnreachable):
        client(httpx.Response(200, json={"task": "one"})).task(1)
    assert client(httpx.Response(404, json={"code": "x", "detail": "y"})).node(NODE) is None


def test_it_imports_nothing_of_the_hub() -> None:
    code = (
        "import sys, orchestrator.client.api\n"
        "heavy = {'fastapi', 'sqlalchemy', 'web3', 'numpy', 'eth_account', 'contracts', 'orchestrator.api'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "[]\n"
