"""The API's description: committed as it is, complete, and with examples that are what they say."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from orchestrator.app import describe_app
from orchestrator.domain.permissions import OPEN_OPERATIONS

COMMITTED = Path(__file__).parents[2] / "docs" / "openapi.json"
DESCRIPTION = describe_app()


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in DESCRIPTION["paths"].items():
        for method, operation in item.items():
            yield method, path, operation


V1 = [
    pytest.param(*each, id=each[2]["operationId"])
    for each in operations()
    if each[1].startswith("/v1") and each[2]["operationId"] not in OPEN_OPERATIONS
]


def test_the_committed_description_is_the_apps() -> None:
    assert json.loads(COMMITTED.read_text()) == DESCRIPTION, "run `make openapi`"


def test_ids_are_unique_and_said_by_people() -> None:
    identifiers = [operation["operationId"] for _, _, operation in operations()]
    assert len(identifiers) == len(set(identifiers)) > 40
    assert all(identifier.replace("_", "").isalnum() and len(identifier) < 40 for identifier in identifiers)


def valid(schema: dict[str, Any], example: Any) -> bool:
    whole = {**schema, "components": DESCRIPTION["components"]}
    return jsonschema_rs.validator_for(whole).is_valid(example)


@pytest.mark.parametrize(("method", "path", "operation"), V1)
def test_an_operation_says_what_it_does_and_shows_it(
    method: str, path: str, operation: dict[str, Any]
) -> None:
    assert 5 <= len(operation["summary"]) <= 120
    assert operation["security"]
    for parameter in operation.get("parameters", ()):
        assert parameter["description"], parameter["name"]
        assert valid(parameter["schema"], parameter["example"]), parameter["name"]
    bodies = [operation.get("requestBody", {}), *operation["responses"].values()]
    for body in bodies:
        for media_type, content in body.get("content", {}).items():
            if media_type == "application/json":
                assert valid(content["schema"], content["example"]), content["example"]


@pytest.mark.parametrize(("method", "path", "operation"), V1)
def test_every_error_is_declared_as_a_problem(method: str, path: str, operation: dict[str, Any]) -> None:
    statuses = {int(status) for status in operation["responses"]}
    assert statuses >= {401, 403, 429, 500, 503}
    assert (404 in statuses) >= ("{" in path)
    assert (statuses >= {408, 409, 413}) >= (method in ("post", "put", "delete"))
    for status, response in operation["responses"].items():
        if int(status) >= 400:
            declared = DESCRIPTION["components"]["responses"][status]
            assert response == {"$ref": f"#/components/responses/{status}"}
            assert list(declared["content"]) == ["application/problem+json"]
            assert declared["description"]
            example = declared["content"]["application/problem+json"]["example"]
            assert valid(DESCRIPTION["components"]["schemas"]["Problem"], example)
            assert example["status"] == int(status)
    names = {parameter["name"] for parameter in operation.get("parameters", ())}
    assert ("Idempotency-Key" in names) == (method == "post")


def test_the_problems_example_is_one() -> None:
    problem = DESCRIPTION["components"]["schemas"]["Problem"]
    assert valid(problem, problem["example"])
