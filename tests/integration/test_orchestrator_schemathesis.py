"""Requests made from the API's own description: no answer is one that it does not describe.

Every operation is tried as every role, with what its schema allows, what it forbids, and what exists
in this hub; an admin also at the edges of every schema, and with operations one after another that use what
earlier answers held. The hub plays a whole round before, so that there is something to find.
"""

import copy
import tempfile
from collections.abc import AsyncIterator, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import run_state_machine_as_test
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    allow_header_conformance,
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from contracts.digests import sha256_digest
from orchestrator.adapters.notifications import HttpReceivers
from orchestrator.app import describe_app
from orchestrator.composition import WebhookOutlet
from orchestrator.domain.identity import ROLES, Role
from orchestrator.services import feed
from orchestrator.services.tokens import TokenService
from orchestrator.services.webhooks import WebhookKey
from tests.integration.orchestrator_double_rig import Rig
from tests.integration.orchestrator_rig import GENESIS, NETWORKS
from tests.integration.test_orchestrator_enrolment import enrol, invite, statement

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
    allow_header_conformance,
    unsupported_method,
]
ADMIN: Role = "admin"
OF_TOKENS = ("revoke_token", "revoke_current_token", "rotate_token")
"""They may end the token that they come with."""
BESIDE_NUMBERS = ("/v1/tokens/current", "/v1/enrolments/invites")
"""Where another method means another operation, with a number in that place."""
KNOWN = {
    "task": 1,
    "round_number": 1,
    "node": NETWORKS[0].address,
    "slash": 0,
    "digest": sha256_digest(GENESIS),
    "intent": 1,
    "webhook": 1,
    "delivery": 1,
    "enrolment": 1,
}
"""What exists in the hub."""
ALONE = settings(
    max_examples=5,
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
    made.post("/v1/webhooks", {"url": "http://127.0.0.1:9/nobody"})
    made.start_task()
    made.play_round(1)
    assert enrol(made, statement(invite(made, "zephyr"), network="zephyr")).is_success
    return made


@pytest.fixture(scope="module", autouse=True)
def _ended() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        # Streams end after what there is.
        patch.setattr(feed, "_HEARTBEAT_S", 0.01)
        endless = feed.EventFeed.follow

        async def follow(self: feed.EventFeed, after_id: int | None) -> AsyncIterator[feed.Batch]:
            batches = endless(self, after_id)
            async for batch in batches:
                yield batch
                if not batch:
                    break

        patch.setattr(feed.EventFeed, "follow", follow)
        yield
    rig().close()


def described() -> Any:
    """The API, without its tokens: who asks is the test's business, and not left to chance."""
    description = copy.deepcopy(describe_app())
    for item in description["paths"].values():
        for operation in item.values():
            operation.pop("security", None)
    found = schemathesis.openapi.from_dict(description)
    found.app = hub
    return found


async def hub(scope: Any, receive: Any, send: Any) -> None:
    """The rig's app, which is made when it is first asked."""
    await rig().app(scope, receive, send)


API = described()


def headers_of(role: Role) -> dict[str, str]:
    """Those of a new token: an operation may have ended the one before."""
    node = NETWORKS[0].address if role == "operator" else None
    secret = TokenService(rig().records, rig().clock).issue(role, f"{role} of a test", node=node)
    return {"Authorization": f"Bearer {secret}"}


def checks_for(case: Any) -> list[Any]:
    return [check for check in CHECKS if check is not unsupported_method or case.path not in BESIDE_NUMBERS]


OPERATIONS = [
    pytest.param(path, method.upper(), operation, id=operation["operationId"])
    for path, item in describe_app()["paths"].items()
    for method, operation in item.items()
]


def test_what_exists_is_found() -> None:
    description = describe_app()
    for path, item in description["paths"].items():
        names = {each["name"] for each in item.get("get", {}).get("parameters", ()) if each["in"] == "path"}
        if "get" not in item or not names:
            continue
        operation = item["get"]["operationId"]
        answer = rig().admin.get(
            path.format(**{name: KNOWN[name] for name in names}), headers=headers_of(ADMIN)
        )
        # Nobody was at fault in that round, and no network has declared a policy.
        expected = 404 if operation in ("get_slash", "get_policy", "get_model", "get_model_card") else 200
        assert answer.status_code == expected, operation


def requests_of(operation: Any, description: dict[str, Any]) -> Iterator[st.SearchStrategy[Any]]:
    """What is allowed, what is forbidden where anything is, and what is about things that exist."""
    parameters = description.get("parameters", ())
    yield operation.as_strategy(generation_mode=GenerationMode.POSITIVE)
    if "requestBody" in description or any(each["in"] != "header" for each in parameters):
        yield operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)
    names = {each["name"] for each in parameters if each["in"] == "path"} & set(KNOWN)
    if names:
        yield operation.as_strategy(path_parameters={name: KNOWN[name] for name in names})


@pytest.mark.parametrize(("path", "method", "description"), OPERATIONS)
def test_an_operation_answers_every_role_as_described(
    path: str, method: str, description: dict[str, Any]
) -> None:
    kept_headers = {role: headers_of(role) for role in ROLES}
    ends_tokens = description["operationId"] in OF_TOKENS
    for requests in requests_of(API[path][method], description):

        @ALONE
        @given(case=requests)
        def check(case: Any) -> None:
            for role in ROLES:
                headers = headers_of(role) if ends_tokens else kept_headers[role]
                case.call_and_validate(headers=headers, checks=checks_for(case))

        check()


def test_operations_one_after_another_answer_as_described() -> None:
    machine = API.as_state_machine()

    class Admin(machine):  # type: ignore[misc, valid-type]
        def get_call_kwargs(self, case: Any) -> dict[str, Any]:
            return {"headers": headers_of(ADMIN)}

        def validate_response(self, response: Any, case: Any, **options: Any) -> None:
            case.validate_response(response, checks=checks_for(case))

    run_state_machine_as_test(Admin, settings=TOGETHER)


@API.parametrize()
@settings(ALONE, max_examples=1)
def test_edges_of_schemas_are_answered_as_described(case: Any) -> None:
    case.call_and_validate(headers=headers_of(ADMIN), checks=checks_for(case))
