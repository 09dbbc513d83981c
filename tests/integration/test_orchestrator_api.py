"""The REST API's edges: tokens and roles, limits, problems, artifacts, events, orders, evaluations."""

import json
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from contracts.aggregation.spec import TrimmedMean
from contracts.digests import ZERO_DIGEST, sha256_digest
from contracts.phase import Phase
from orchestrator.api.limits import BODY_LIMIT_BYTES
from orchestrator.api.uploads import Uploads
from orchestrator.domain.state import AttestationState, ProposalState
from orchestrator.services.tokens import TokenService
from tests.integration.databases import Databases, all_rows
from tests.integration.orchestrator_double_rig import ARTIFACT_LIMIT_BYTES, DEPLOYMENT, DOMAIN, Rig
from tests.integration.orchestrator_rig import (
    BY_ADDRESS,
    GENESIS,
    NETWORKS,
    POOL,
    REPORT,
    task_spec,
    terms_of,
)
from tests.integration.orchestrator_server import serving

DEADLINE_S = 60.0


@pytest.fixture
def rig(tmp_path: Path, databases: Databases) -> Iterator[Rig]:
    rig = Rig(tmp_path, databases.new(tmp_path))
    yield rig
    rig.close()


# --- tokens


def paths(rig: Rig) -> list[tuple[str, str]]:
    description = rig.get("/v1/openapi.json")
    found = []
    for path, methods in description["paths"].items():
        filled = path.replace("{digest}", "0x" + "00" * 32)
        for name in ("task", "round_number", "intent"):
            filled = filled.replace("{" + name + "}", "1")
        found += [(method.upper(), filled) for method in methods]
    return found


def test_every_endpoint_but_health_needs_a_token(rig: Rig) -> None:
    open_paths = {"/healthz", "/readyz"}
    # An invite or a signature in the body stands for the token.
    proof_in_body = {"/v1/enrolments", "/v1/sign-in/challenges", "/v1/sign-in/tokens"}
    asked = [
        (method, path)
        for method, path in paths(rig)
        if path.startswith("/v1/") and (method != "POST" or path not in proof_in_body)
    ]
    assert len(asked) > 15
    for method, path in asked:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic YTpi"}):
            response = rig.anonymous.request(method, path, headers=headers, json={})
            assert response.status_code == 401, path
            assert method == "HEAD" or response.json()["code"] == "unauthenticated"
            assert response.headers["www-authenticate"] == "Bearer"
    assert rig.anonymous.get("/v1/openapi.json").status_code == 401
    assert {rig.anonymous.get(path).status_code for path in open_paths} <= {200, 503}


def test_a_network_hands_in_its_own_approval(rig: Rig) -> None:
    rig.admit_networks()
    rig.order_task()
    rig.turn_until(lambda: rig.chain.state.tasks)
    rig.worker.run_once()
    path, until_unix_s = "/v1/tasks/1/approvals", rig.clock.unix_s + 100
    body = NETWORKS[0].approval(DEPLOYMENT, 1, task_spec().digest, until_unix_s)
    assert rig.anonymous.post(path, json=body).status_code == 401
    operator, other = rig.operator(NETWORKS[0].address), rig.operator(NETWORKS[1].address)
    for stranger in (rig.auditor, other):
        refused = stranger.post(path, json=body)
        assert (refused.status_code, refused.json()["code"]) == (403, "not_allowed")
    forged = body | {
        "signature": NETWORKS[1].approval(DEPLOYMENT, 1, task_spec().digest, until_unix_s)["signature"]
    }
    assert operator.post(path, json=forged).status_code == 422
    assert operator.post(path, json=body).status_code == 202
    approved = rig.turn_until(lambda: rig.get("/v1/tasks/1")["approved"])
    assert approved == [NETWORKS[0].address]


def test_bootstrap_writes_private_files_and_keeps_only_hashes(rig: Rig, tmp_path: Path) -> None:
    service = TokenService(rig.records, rig.clock)
    first = {file.name: file.read_text().strip() for file in service.bootstrap(tmp_path / "tokens")}
    files = service.bootstrap(tmp_path / "tokens")
    assert [file.name for file in files] == ["admin", "conductor", "auditor"]
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    assert (tmp_path / "tokens").stat().st_mode & 0o777 == 0o700
    for file in files:
        token = file.read_text().strip()
        principal = service.authenticate(token)
        assert principal is not None
        assert principal.role == file.name
        assert service.authenticate(first[file.name]) is None
        assert token not in repr(all_rows(rig.database_url))


# --- problems and limits


def test_problems_have_one_shape(rig: Rig) -> None:
    answers = [
        rig.admin.get("/v1/tasks/1"),
        rig.admin.get("/v1/tasks/0"),
        rig.admin.get("/v1/nothing"),
        rig.admin.delete("/v1/tasks"),
        rig.admin.post("/v1/tasks", content=b"{", headers={"Content-Type": "application/json"}),
    ]
    assert [answer.status_code for answer in answers] == [404, 422, 404, 405, 422]
    for answer in answers:
        assert answer.headers["content-type"] == "application/problem+json"
        problem = answer.json()
        assert set(problem) == {"type", "title", "status", "code", "detail", "correlation_id"}
        assert problem["status"] == answer.status_code
        assert problem["correlation_id"] == answer.headers["x-correlation-id"]


def test_correlation_ids_of_callers_are_kept_when_harmless(rig: Rig) -> None:
    kept = rig.admin.get("/v1/tasks/1", headers={"X-Correlation-Id": "abc-123"})
    assert kept.json()["correlation_id"] == kept.headers["x-correlation-id"] == "abc-123"
    replaced = rig.admin.get("/v1/tasks/1", headers={"X-Correlation-Id": 'a b"c'})
    assert len(replaced.headers["x-correlation-id"]) == 32


def test_what_was_sent_is_not_repeated_in_errors(rig: Rig) -> None:
    body = {"node": "my-secret", "signer": "my-secret", "group": 1, "name": "x"}
    assert "my-secret" not in rig.admin.post("/v1/nodes", json=body).text


def test_an_unexpected_error_says_nothing_of_the_inside(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("secret path /etc/hub")

    monkeypatch.setattr("orchestrator.services.listings.ListingService.tasks", broken)
    response = rig.admin.get("/v1/tasks")
    assert (response.status_code, response.json()["code"]) == (500, "internal")
    assert "secret" not in response.text


def test_large_bodies_are_refused(rig: Rig) -> None:
    large = b'{"x": "' + b"y" * BODY_LIMIT_BYTES + b'"}'
    response = rig.admin.post("/v1/tasks", content=large)
    assert (response.status_code, response.json()["code"]) == (413, "too_large")
    pieces = (large[start : start + 65_536] for start in range(0, len(large), 65_536))
    assert rig.admin.post("/v1/tasks", content=pieces).status_code == 413
    data = b"z" * (ARTIFACT_LIMIT_BYTES + 1)
    response = rig.conductor.put(f"/v1/artifacts/{sha256_digest(data)}", content=data)
    assert (response.status_code, response.json()["code"]) == (413, "too_large")


def test_readiness_names_what_is_missing(rig: Rig) -> None:
    response = rig.anonymous.get("/readyz")
    assert response.status_code == 503
    assert "worker" in response.json()["not_ready"][0]
    rig.turn()
    assert rig.anonymous.get("/readyz").json() == {"not_ready": [], "warnings": []}
    assert rig.anonymous.get("/healthz").json() == {"status": "ok"}


# --- artifacts


def test_artifact_answers(rig: Rig) -> None:
    digest = sha256_digest(REPORT)
    assert rig.conductor.put(f"/v1/artifacts/{digest}", content=REPORT).status_code == 201
    assert rig.conductor.put(f"/v1/artifacts/{digest}", content=REPORT).status_code == 200
    response = rig.conductor.get(f"/v1/artifacts/{digest}")
    assert response.content == REPORT
    assert response.headers["content-length"] == str(len(REPORT))
    assert response.headers["etag"] == f'"{digest}"'
    missing = rig.conductor.get(f"/v1/artifacts/{sha256_digest(b'?')}")
    assert (missing.status_code, missing.json()["code"]) == (404, "not_found")


def test_a_reader_gets_an_adapter_only_when_its_proposal_phase_is_over(rig: Rig) -> None:
    rig.start_task()
    state = rig.round_in("training")
    first = BY_ADDRESS[state["proposers"][0]]
    digest = rig.put(first.adapter(1))
    path = f"/v1/artifacts/{digest}"

    def reader_gets() -> tuple[int, str]:
        response = rig.auditor.get(path)
        return response.status_code, "" if response.is_success else response.json()["code"]

    assert reader_gets() == (403, "not_public_yet")
    rig.post("/v1/tasks/1/rounds/1/proposals", first.proposal(DOMAIN, state))
    rig.turn()
    assert rig.get("/v1/tasks/1/rounds/1")["proposals"][0]["adapter_digest"] == digest
    assert reader_gets() == (403, "not_public_yet")
    assert rig.conductor.get(path).content == first.adapter(1)
    rig.propose_all()
    rig.round_in("committing")
    assert reader_gets() == (200, "")
    assert rig.auditor.get(f"/v1/artifacts/{sha256_digest(REPORT)}").content == REPORT
    for public in (task_spec().digest, sha256_digest(GENESIS)):
        assert rig.auditor.get(f"/v1/artifacts/{public}").status_code == 200
    never_named = rig.put(b"nobody named this")
    assert rig.auditor.get(f"/v1/artifacts/{never_named}").status_code == 403


NAMED_ELSEWHERE: dict[str, Callable[[str], dict[str, Any]]] = {
    "a proposal": lambda digest: {
        "phase": Phase.COMMITTING,
        "proposals": (ProposalState(NETWORKS[3].address, digest, ZERO_DIGEST),),
    },
    "a report": lambda digest: {
        "phase": Phase.COMMITTING,
        "proposals": (ProposalState(NETWORKS[3].address, ZERO_DIGEST, digest),),
    },
    "an attestation": lambda digest: {
        "phase": Phase.ATTESTING,
        "attestations": (AttestationState(NETWORKS[3].address, digest, 0),),
    },
    "an aggregate": lambda digest: {"phase": Phase.FINAL, "aggregate_digest": digest},
}


@pytest.mark.parametrize("name", NAMED_ELSEWHERE)
def test_another_tasks_node_cannot_make_a_proposal_public_early(rig: Rig, name: str) -> None:
    rig.start_task()
    state = rig.round_in("training")
    first = BY_ADDRESS[state["proposers"][0]]
    path = f"/v1/artifacts/{rig.put(first.adapter(1))}"
    rig.post("/v1/tasks/1/rounds/1/proposals", first.proposal(DOMAIN, state))
    rig.turn()
    with rig.records.write() as unit:
        task, open_round = unit.projection.task(1), unit.projection.round(1, 1)
        assert task is not None
        assert open_round is not None
        changes = NAMED_ELSEWHERE[name](open_round.proposals[0].adapter_digest)
        unit.projection.save_task(replace(task, task=2))
        unit.projection.save_round(replace(open_round, **{"task": 2, "proposals": (), **changes}))
    assert rig.auditor.get(path).json()["code"] == "not_public_yet"
    with rig.records.write() as unit:
        unit.projection.save_round(replace(open_round, phase=Phase.COMMITTING))
    assert rig.auditor.get(path).status_code == 200


# --- nodes and orders


def test_admitting_a_node_again_is_the_same_and_otherwise_a_conflict(rig: Rig) -> None:
    node = NETWORKS[0]
    body = {"node": node.address.lower(), "signer": node.address, "group": 1, "name": "aurora"}
    first, again = rig.admin.post("/v1/nodes", json=body), rig.admin.post("/v1/nodes", json=body)
    assert first.status_code == again.status_code == 202
    assert first.json()["intent"] == again.json()["intent"]
    assert first.json()["node"] == node.address
    assert rig.admin.post("/v1/nodes", json=body | {"group": 2}).status_code == 409
    other = {"node": NETWORKS[1].address, "signer": NETWORKS[1].address, "group": 2, "name": "aurora"}
    assert rig.admin.post("/v1/nodes", json=other).status_code == 409
    assert rig.admin.post("/v1/nodes", json=body | {"group": 0}).status_code == 422


def order(**changes: Any) -> dict[str, Any]:
    spec = task_spec()
    body = {"spec_digest": spec.digest, "name": spec.name, "config": terms_of(spec), "pool": str(POOL)}
    return body | changes


def test_an_order_needs_its_artifacts(rig: Rig) -> None:
    assert rig.admin.post("/v1/tasks", json=order()).json()["code"] == "artifact_missing"
    rig.put(task_spec().canonical_bytes())
    assert rig.admin.post("/v1/tasks", json=order()).json()["code"] == "artifact_missing"
    rig.put(GENESIS)
    first = rig.admin.post("/v1/tasks", json=order())
    assert first.json() == {
        "spec_digest": task_spec().digest,
        "task": None,
        "status": "queued",
        "error": None,
    }
    assert rig.admin.post("/v1/tasks", json=order()).json() == first.json()
    assert rig.admin.post("/v1/tasks", json=order(pool="1")).json()["code"] == "conflict"
    rig.turn_until(lambda: rig.admin.post("/v1/tasks", json=order()).json()["task"] == 1)


def test_wrong_orders(rig: Rig) -> None:
    rig.put(task_spec().canonical_bytes())
    rig.put(GENESIS)
    spec = task_spec()

    def code(body: dict[str, Any]) -> str:
        response = rig.admin.post("/v1/tasks", json=body)
        assert response.status_code == 422, response.text
        return str(response.json()["code"])

    assert code(order(spec_digest=sha256_digest(b"other"))) == "invalid_request"
    assert code(order(pool="-1")) == "invalid_request"
    assert code(order(pool=1.5)) == "invalid_request"
    assert code(order(config=terms_of(spec, min_proposals=4))) == "wrong_terms"
    assert code(order(config=terms_of(spec, attestation_quorum_bps=4_999))) == "wrong_terms"
    assert code(order(config=terms_of(spec) | {"genesis_digest": sha256_digest(b"x")})) == "wrong_terms"
    robust = spec.model_copy(update={"aggregation": TrimmedMean(rule="trimmed_mean", trim=2)})
    rig.put(robust.canonical_bytes())
    too_few = order(spec_digest=robust.digest, config=terms_of(robust))
    assert code(too_few) == "wrong_terms"
    pretty = json.dumps(json.loads(spec.canonical_bytes()), indent=1).encode()
    body = order(spec_digest=rig.put(pretty))
    body["config"]["spec_digest"] = body["spec_digest"]
    assert code(body) == "wrong_terms"
    body = order(spec_digest=rig.put(b"{}"))
    body["config"]["spec_digest"] = body["spec_digest"]
    assert code(body) == "invalid_task_spec"


def test_an_order_that_the_chain_refuses_is_shown_with_the_reason(rig: Rig) -> None:
    rig.put(task_spec().canonical_bytes())
    rig.put(GENESIS)
    rig.chain.refuses_tasks = True
    rig.post("/v1/tasks", order())
    rig.turn()
    (shown,) = rig.get("/v1/tasks")["items"]
    assert (shown["task"], shown["status"], shown["error"]) == (None, "refused", "InvalidConfig")


# --- evaluations


EVALUATION = {
    "name": "public test set",
    "digest": sha256_digest(GENESIS),
    "records": 300,
    "correct": 21,
    "accuracy": 0.07,
    "interval_low": 0.05,
    "interval_high": 0.1,
    "loss_nats": 3.2,
}


def test_evaluations(rig: Rig) -> None:
    path = "/v1/tasks/1/rounds/0/evaluations"
    assert rig.admin.post(path, json=EVALUATION).status_code == 404
    rig.start_task()
    assert rig.admin.post(path, json=EVALUATION).status_code == 201
    assert rig.admin.post(path, json=EVALUATION | {"correct": 22}).status_code == 201
    (item,) = rig.get(path)["items"]
    assert (item["round"], item["correct"], item["loss_nats"]) == (0, 22, 3.2)
    assert rig.get("/v1/tasks/1/evaluations")["items"] == [item]
    assert rig.admin.post("/v1/tasks/1/rounds/7/evaluations", json=EVALUATION).status_code == 404
    assert rig.admin.post(path, json=EVALUATION | {"correct": 301}).status_code == 422
    assert rig.admin.post(path, json=EVALUATION | {"interval_high": 0.01}).status_code == 422


# --- uploads


def begin_upload(rig: Rig, url: str, data: bytes) -> socket.socket:
    """A PUT that sends a part of its body."""
    address = httpx.URL(url)
    connection = socket.create_connection((address.host, address.port or 0), timeout=DEADLINE_S)
    path, token = f"/v1/artifacts/{sha256_digest(data)}", rig.conductor.headers["Authorization"]
    head = f"PUT {path} HTTP/1.1\r\nHost: hub\r\nAuthorization: {token}\r\nContent-Length: {len(data)}"
    connection.sendall(f"{head}\r\n\r\n".encode() + data[:1])
    return connection


def test_an_upload_that_stops_is_ended(rig: Rig, server: str) -> None:
    rig.app.state.uploads = Uploads(piece_deadline_s=0.3)
    with begin_upload(rig, server, b"never whole") as connection:
        answer = b"".join(iter(lambda: connection.recv(4096), b""))
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"application/problem+json" in answer
    assert b'"code":"too_slow"' in answer
    assert not any((rig.artifacts._folder / "incoming").iterdir())


def test_an_upload_that_trickles_is_ended(rig: Rig, server: str) -> None:
    rig.app.state.uploads = Uploads(piece_deadline_s=0.3)
    with begin_upload(rig, server, b"x" * 10_000) as connection:
        deadline_s = time.monotonic() + DEADLINE_S
        # A byte now and then, each well within the deadline.
        while not select.select([connection], [], [], 0.01)[0]:
            assert time.monotonic() < deadline_s
            connection.sendall(b"x")
        assert connection.recv(100).startswith(b"HTTP/1.1 408")


def test_a_client_that_hangs_up_is_no_error(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    uploads = rig.app.state.uploads
    with serving(rig) as url:
        with begin_upload(rig, url, b"never whole"):
            deadline_s = time.monotonic() + DEADLINE_S
            while not uploads._running:
                assert time.monotonic() < deadline_s
                time.sleep(0.01)
        while uploads._running:
            assert time.monotonic() < deadline_s
            time.sleep(0.01)
    assert [record for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")] == []


def test_the_number_of_uploads_is_bounded(rig: Rig) -> None:
    rig.app.state.uploads = Uploads(most=0)
    response = rig.conductor.put(f"/v1/artifacts/{sha256_digest(b'x')}", content=b"x")
    assert (response.status_code, response.json()["code"]) == (503, "unavailable")


# --- events


@pytest.fixture
def server(rig: Rig) -> Iterator[str]:
    """The app behind a real server: streams do not end by themselves."""
    with serving(rig) as url:
        yield url


def read_events(server: str, rig: Rig, count: int, headers: dict[str, str], query: str = "") -> list[Any]:
    """The first events of a stream, as (id, kind, data)."""
    token = str(rig.auditor.headers["Authorization"])
    found: list[Any] = []
    event: dict[str, str] = {}
    with httpx.stream(
        "GET", f"{server}/v1/events{query}", headers=headers | {"Authorization": token}, timeout=DEADLINE_S
    ) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        for line in response.iter_lines():
            if line:
                name, _, value = line.partition(": ")
                event[name] = value
            else:
                # The first says only where the stream begins.
                if "event" in event:
                    found.append((int(event["id"]), event["event"], json.loads(event["data"])))
                event = {}
                if len(found) == count:
                    return found
    raise AssertionError("the stream ended")


def test_events_are_replayed_after_an_id_and_followed(rig: Rig, server: str) -> None:
    rig.admit_networks()
    rig.worker.run_once()
    whole = read_events(server, rig, 8, {"Last-Event-ID": "0"})
    assert [kind for _, kind, _ in whole] == ["node.admitted"] * 4 + ["node.stake_changed"] * 4
    assert whole[0][2]["node"] in BY_ADDRESS
    assert read_events(server, rig, 2, {"Last-Event-ID": str(whole[5][0])}) == whole[6:]
    assert read_events(server, rig, 2, {}, f"?after={whole[5][0]}") == whole[6:]

    later = threading.Timer(0.3, rig.order_task)
    later.start()
    ((number, kind, _),) = read_events(server, rig, 1, {})
    later.join()
    assert kind == "task.ordered"
    assert number > whole[-1][0]


def test_the_number_of_followers_is_bounded(rig: Rig) -> None:
    rig.app.state.services.feed.most_followers = 0
    response = rig.auditor.get("/v1/events")
    assert (response.status_code, response.json()["code"]) == (503, "unavailable")
