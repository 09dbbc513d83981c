"""``Idempotency-Key``: the same request is answered again, another one is refused, a dead one is let go."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from httpx import Response

from orchestrator.domain.idempotency import KEPT_S, RUNNING_S
from orchestrator.services.idempotency import IdempotencyService
from orchestrator.services.nodes import NodeService
from orchestrator.services.tokens import TokenService
from tests.integration.databases import Databases
from tests.integration.orchestrator_double_rig import Rig
from tests.integration.orchestrator_rig import NETWORKS

DEADLINE_S = 60.0


@pytest.fixture
def rig(tmp_path: Path, databases: Databases) -> Iterator[Rig]:
    rig = Rig(tmp_path, databases.new(tmp_path))
    yield rig
    rig.close()


def node(index: int = 0, **changes: Any) -> dict[str, Any]:
    address = NETWORKS[index].address
    return {"node": address, "signer": address, "group": index + 1, "name": NETWORKS[index].name} | changes


def admit(client: TestClient, key: str, body: dict[str, Any] | None = None) -> Response:
    return client.post("/v1/nodes", json=body or node(), headers={"Idempotency-Key": key})


def code(response: Response) -> tuple[int, str]:
    assert response.headers["content-type"] == "application/problem+json"
    return response.status_code, response.json()["code"]


def test_the_same_request_is_answered_again(rig: Rig) -> None:
    first = admit(rig.admin, "k")
    rig.turn()
    again = admit(rig.admin, "k")
    assert (first.status_code, first.json()["status"]) == (202, "queued")
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert again.headers["content-type"] == first.headers["content-type"]
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert rig.get("/v1/intents/1")["status"] == "mined"


def test_another_request_with_the_key_is_refused_and_not_done(rig: Rig) -> None:
    admit(rig.admin, "k")
    assert code(admit(rig.admin, "k", node(1))) == (422, "idempotency_key_reused")
    assert rig.admin.get("/v1/intents/2").status_code == 404
    assert admit(rig.admin, "other", node(1)).json()["intent"] == 2


def test_another_path_of_the_operation_is_another_request(rig: Rig) -> None:
    headers = {"Idempotency-Key": "k"}
    first = rig.admin.post(f"/v1/nodes/{NETWORKS[0].address}/claims", headers=headers)
    assert code(first) == (404, "unknown_node")
    second = rig.admin.post(f"/v1/nodes/{NETWORKS[1].address}/claims", headers=headers)
    assert code(second) == (422, "idempotency_key_reused")


def test_a_refusal_is_an_answer_too(rig: Rig) -> None:
    path, headers = "/v1/tasks/1/pause", {"Idempotency-Key": "k"}
    first = rig.admin.post(path, headers=headers)
    rig.start_task()
    assert rig.admin.post(path, headers=headers).content == first.content
    assert code(first) == (404, "not_found")
    assert rig.admin.post(path).status_code == 202


def test_keys_belong_to_the_caller_and_the_operation(rig: Rig) -> None:
    admit(rig.admin, "k")
    other_admin = TokenService(rig.records, rig.clock).issue("admin", "another admin")
    by_other = rig.anonymous.post(
        "/v1/nodes",
        json=node(1),
        headers={"Idempotency-Key": "k", "Authorization": f"Bearer {other_admin}"},
    )
    assert by_other.status_code == 202
    assert rig.admin.post("/v1/tasks/1/pause", headers={"Idempotency-Key": "k"}).status_code == 404


def test_a_stranger_learns_nothing_from_a_key(rig: Rig) -> None:
    admit(rig.admin, "k")
    assert code(admit(rig.anonymous, "k")) == (401, "unauthenticated")
    assert code(admit(rig.auditor, "k")) == (403, "not_allowed")
    # A refusal for want of a role is not kept: the role may be given.
    assert code(admit(rig.auditor, "k")) == (403, "not_allowed")


@pytest.mark.parametrize("key", ["", "a b", "x" * 201, "ä".encode("latin-1")])
def test_keys_that_are_none(rig: Rig, key: str | bytes) -> None:
    response = rig.admin.post("/v1/nodes", json=node(), headers=[(b"Idempotency-Key", key)])  # type: ignore[arg-type, list-item]
    assert code(response) == (422, "invalid_idempotency_key")


def test_while_it_runs_the_same_is_a_conflict(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    inside, go_on = threading.Event(), threading.Event()
    real = NodeService.admit

    def slow(*arguments: Any) -> Any:
        inside.set()
        assert go_on.wait(DEADLINE_S)
        return real(*arguments)

    monkeypatch.setattr(NodeService, "admit", slow)
    with ThreadPoolExecutor(1) as thread:
        first = thread.submit(admit, rig.admin, "k")
        assert inside.wait(DEADLINE_S)
        assert code(admit(rig.admin, "k")) == (409, "request_still_running")
        assert code(admit(rig.admin, "k", node(1))) == (422, "idempotency_key_reused")
        go_on.set()
        assert first.result(DEADLINE_S).status_code == 202
    assert admit(rig.admin, "k").headers["idempotency-replayed"] == "true"


def test_many_at_once_are_done_once(rig: Rig) -> None:
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: admit(rig.admin, "k"), range(16)))
    assert {answer.status_code for answer in answers} <= {202, 409}
    done = [answer for answer in answers if answer.status_code == 202]
    assert len({answer.content for answer in done}) == 1
    assert sum("idempotency-replayed" not in answer.headers for answer in done) == 1


def test_what_a_dead_process_left_behind_is_released_after_its_deadline(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Killed after the change was committed: nobody keeps an answer or gives the claim back.
    with monkeypatch.context() as patch:
        patch.setattr(IdempotencyService, "finish", lambda *_: None)
        assert admit(rig.admin, "k").status_code == 202
    rig.clock.unix_s += RUNNING_S - 1
    assert code(admit(rig.admin, "k")) == (409, "request_still_running")
    rig.clock.unix_s += 1
    again = admit(rig.admin, "k")
    assert (again.status_code, again.json()["intent"]) == (202, 1)
    assert "idempotency-replayed" not in again.headers
    assert admit(rig.admin, "k").content == again.content
    assert rig.admin.get("/v1/intents/2").status_code == 404


def test_the_hubs_own_failure_frees_the_key(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError

    with monkeypatch.context() as patch:
        patch.setattr(NodeService, "admit", broken)
        assert code(admit(rig.admin, "k")) == (500, "internal")
    assert admit(rig.admin, "k").status_code == 202


def test_a_key_is_forgotten_after_a_day(rig: Rig) -> None:
    admit(rig.admin, "k")
    rig.clock.unix_s += KEPT_S - 1
    assert admit(rig.admin, "k").headers["idempotency-replayed"] == "true"
    rig.clock.unix_s += 1
    answer = admit(rig.admin, "k", node(1))
    assert answer.status_code == 202
    assert "idempotency-replayed" not in answer.headers
