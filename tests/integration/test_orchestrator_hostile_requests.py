"""A corpus of hostile requests, each with the answer that it must get; none changes anything or is repeated.

``hostile_requests.json`` holds them: who asks what, and the status and code of the answer. ``json`` is a body
as JSON, ``body`` one as text, ``latin_1_body`` one byte by byte, ``repeated_body`` a text and how often.
Asked on each database: what one of them takes as text, the other may not.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.api.problems import Problem
from tests.integration.databases import Databases, all_rows
from tests.integration.orchestrator_double_rig import Rig

CORPUS = json.loads(Path(__file__).with_name("hostile_requests.json").read_text())


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory, module_databases: Databases) -> Iterator[Rig]:
    folder = tmp_path_factory.mktemp("hostile")
    rig = Rig(folder, module_databases.new(folder))
    rig.admit_networks()
    rig.worker.run_once()
    yield rig
    rig.close()


@pytest.fixture
def rows_before(rig: Rig) -> dict[str, list[Any]]:
    return state(rig)


def state(rig: Rig) -> dict[str, list[Any]]:
    """Everything but the audit log, which says that they were refused."""
    return {name: rows for name, rows in all_rows(rig.database_url).items() if not name.startswith("audit")}


def body_of(request: dict[str, Any]) -> bytes | None:
    if "json" in request:
        return json.dumps(request["json"]).encode()
    if "body" in request:
        return str(request["body"]).encode()
    if "latin_1_body" in request:
        return str(request["latin_1_body"]).encode("latin-1")
    if "repeated_body" in request:
        text, times = request["repeated_body"]
        return str(text).encode() * int(times)
    return None


@pytest.mark.parametrize("request_", CORPUS, ids=[each["name"][:60] for each in CORPUS])
def test_a_hostile_request_gets_its_answer(rig: Rig, request_: dict[str, Any]) -> None:
    client = rig.anonymous if request_["role"] == "nobody" else rig.clients[request_["role"]]
    headers = dict(request_.get("headers", {}))
    if "json" in request_:
        headers["Content-Type"] = "application/json"
    response = client.request(
        request_["method"], request_["path"], headers=headers, content=body_of(request_)
    )
    assert response.status_code == request_["status"], response.text
    problem = Problem.model_validate_json(response.content)
    assert response.headers["content-type"] == "application/problem+json"
    assert problem.status == response.status_code
    assert request_["code"] in (None, problem.code), problem
    assert len(problem.detail) < 500
    assert "Traceback" not in problem.detail
    assert "\n" not in response.headers["x-correlation-id"]
    if request_["status"] == 401:
        assert response.headers["www-authenticate"] == "Bearer"


def test_none_of_them_has_changed_anything(rig: Rig, rows_before: dict[str, list[Any]]) -> None:
    for request in CORPUS:
        test_a_hostile_request_gets_its_answer(rig, request)
    assert state(rig) == rows_before


def test_names_are_unique() -> None:
    names = [each["name"] for each in CORPUS]
    assert len(set(names)) == len(names) > 150
