"""Requests made from the API's own description: no answer is one that it does not describe.

First each operation alone, then operations one after another, with what earlier answers held. The hub plays a
whole round before, so that there is something to find.
"""

import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.stateful import run_state_machine_as_test
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from orchestrator.adapters.notifications import HttpReceivers
from orchestrator.app import describe_app
from orchestrator.composition import WebhookOutlet
from orchestrator.services.webhooks import WebhookKey
from tests.integration.orchestrator_double_rig import Rig

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
LEFT_OUT = ["follow_events", "revoke_token", "rotate_token"]
"""A stream does not end by itself, and an admin that ends its own token sees nothing more."""
ALONE = settings(
    max_examples=8,
    deadline=None,
    database=None,
    derandomize=True,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
TOGETHER = settings(ALONE, max_examples=12, stateful_step_count=8)


@cache
def rig() -> Rig:
    """One for all: its folder goes with the process."""
    outlet = WebhookOutlet(HttpReceivers(development=True), WebhookKey(b"k" * 32))
    made = Rig(Path(tempfile.mkdtemp(prefix="collegium-")), outlet=outlet)
    made.start_task()
    made.play_round(1)
    return made


@pytest.fixture(scope="module", autouse=True)
def _closed() -> Iterator[None]:
    yield
    rig().close()


def described() -> Any:
    """The API with an admin's token."""
    headers = {"Authorization": rig().admin.headers["Authorization"]}
    found = schemathesis.openapi.from_asgi("/v1/openapi.json", rig().app, headers=headers)
    return found.exclude(operation_id=LEFT_OUT)


@pytest.fixture(scope="module")
def described_api() -> Any:
    return described()


OPERATIONS = [
    pytest.param(path, method.upper(), id=operation["operationId"])
    for path, item in describe_app()["paths"].items()
    for method, operation in item.items()
    if operation["operationId"] not in LEFT_OUT
]


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_an_operation_answers_as_described(described_api: Any, path: str, method: str) -> None:
    headers = {"Authorization": rig().admin.headers["Authorization"]}

    @ALONE
    @given(case=described_api[path][method].as_strategy())
    def check(case: Any) -> None:
        case.call_and_validate(headers=headers, checks=CHECKS)

    check()


def test_operations_one_after_another_answer_as_described() -> None:
    machine = described().as_state_machine()

    class Admin(machine):  # type: ignore[misc, valid-type]
        def get_call_kwargs(self, case: Any) -> dict[str, Any]:
            return {"headers": {"Authorization": rig().admin.headers["Authorization"]}}

        def validate_response(self, response: Any, case: Any, **options: Any) -> None:
            case.validate_response(response, checks=CHECKS)

    run_state_machine_as_test(Admin, settings=TOGETHER)
