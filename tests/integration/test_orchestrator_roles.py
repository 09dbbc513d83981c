"""Every operation of the API is tried as every role; what must come out stands in ``permissions`` alone."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient

from orchestrator.domain import permissions
from orchestrator.domain.identity import ROLES, Role
from tests.integration.orchestrator_double_rig import Rig
from tests.integration.orchestrator_rig import NETWORKS

NOT_ROUTES = {"get_unpublished_artifact", "open_dashboard"}
"""Rights that have a row and no route of their own."""
IN_PATHS = {"digest": "0x" + "00" * 32, "node": NETWORKS[0].address}
OF_ARTIFACTS = ("get_artifact", "get_artifact_size")
"""For all roles, once the chain has made the artifact public."""
HARMLESS_QUERIES = {"follow_events": {"after": "-1"}}
"""Refused after the role was looked at: a stream would never end."""
ROLES_DOCUMENT = Path("docs/roles.md")


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    rig = Rig(tmp_path_factory.mktemp("roles"))
    yield rig
    rig.close()


def operations(rig: Rig) -> list[tuple[str, str, str]]:
    """Operation id, method and path of all that the API describes, and of what describes it."""
    found = [("describe", "GET", "/v1/openapi.json")]
    for path, methods in rig.app.openapi()["paths"].items():
        for method, operation in methods.items():
            names = {each["name"] for each in operation.get("parameters", ()) if each["in"] == "path"}
            filled = path.format(**{name: IN_PATHS.get(name, "1") for name in names})
            found.append((operation["operationId"], method.upper(), filled))
    return found


def client_of(rig: Rig, role: Role) -> TestClient:
    return rig.operator(NETWORKS[0].address) if role == "operator" else rig.clients[role]


def ask(client: TestClient, operation: str, method: str, path: str) -> Any:
    return client.request(method, path, params=HARMLESS_QUERIES.get(operation))


def test_the_table_has_a_row_for_each_operation_and_no_other(rig: Rig) -> None:
    described = {operation for operation, _, _ in operations(rig)}
    assert described == (set(permissions.ALLOWED) | permissions.OPEN_OPERATIONS) - NOT_ROUTES


def test_every_route_outside_the_dashboard_is_described(rig: Rig) -> None:
    described = {path for _, _, path in operations(rig)}
    routes = [route for route in rig.app.routes if isinstance(route, APIRoute)]
    for route in routes:
        if route.path.startswith("/v1/"):
            names = {name: IN_PATHS.get(name, "1") for name in route.param_convertors}
            assert route.path.format(**names) in described, route.path


@pytest.mark.parametrize("role", ROLES)
def test_every_operation_as_every_role(rig: Rig, role: Role) -> None:
    client = client_of(rig, role)
    # What would end the token that asks is done by the tests of tokens; the admin may touch every token.
    for operation, method, path in operations(rig):
        if operation in (*permissions.OPEN_OPERATIONS, "revoke_current_token") or (operation, role) in (
            ("revoke_token", "admin"),
            ("rotate_token", "admin"),
        ):
            continue
        answer = ask(client, operation, method, path)
        code = answer.json().get("code") if answer.status_code >= 400 and answer.content else None
        if role in permissions.ALLOWED[operation]:
            assert answer.status_code != 401, (operation, role)
            is_early = operation in OF_ARTIFACTS and code in (None, "not_public_yet")
            assert answer.status_code != 403 or is_early, (operation, role, code)
        else:
            assert (answer.status_code, code) == (403, "not_allowed"), (operation, role)


def test_every_operation_without_a_token(rig: Rig) -> None:
    for operation, method, path in operations(rig):
        answer = ask(rig.anonymous, operation, method, path)
        if operation in permissions.OPEN_OPERATIONS:
            assert answer.status_code not in (401, 403), operation
        else:
            assert answer.status_code == 401, operation
            assert method == "HEAD" or answer.json()["code"] == "unauthenticated", operation
            assert answer.headers["www-authenticate"] == "Bearer"


def test_rows_that_must_never_change() -> None:
    """Written by hand: the table is not its own judge."""
    writing_for_the_consortium = ("admit_node", "create_task", "pause_task", "cancel_task", "waive_slash")
    for operation in writing_for_the_consortium:
        assert permissions.ALLOWED[operation] == ("admin",)
    for operation in ("propose", "commit", "reveal", "attest", "put_artifact", "get_unpublished_artifact"):
        assert set(permissions.ALLOWED[operation]) == {"admin", "conductor"}
    auditors_write = {
        operation
        for operation in permissions.operations_of("auditor")
        if not operation.startswith(("get_", "list_", "follow_", "describe", "export_", "verify_"))
    }
    assert auditors_write == {
        "createDashboardTicket",
        "open_dashboard",
        "rotate_token",
        "revoke_token",
        "revoke_current_token",
    }
    of_networks_alone = {"declare_policy", "declare_sites"}
    for role in ROLES:
        assert permissions.operations_of(role) - permissions.operations_of("admin") == (
            of_networks_alone if role == "operator" else set()
        )


def test_a_route_without_a_row_cannot_be_made() -> None:
    with pytest.raises(LookupError, match="no_such_operation"):
        permissions.roles_for("no_such_operation")


def test_the_document_shows_the_table() -> None:
    assert ROLES_DOCUMENT.read_text() == permissions.roles_document(), "`make roles` writes it again"
