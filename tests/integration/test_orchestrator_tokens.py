"""Tokens: who may make, see, replace and revoke which; and what becomes of the stored ones in a migration."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from fastapi.testclient import TestClient
from sqlalchemy import text

from orchestrator.adapters.database.migrate import alembic_config
from orchestrator.adapters.database.records import open_engine
from orchestrator.domain.errors import Unauthenticated
from orchestrator.services.tokens import (
    DEFAULT_LIFETIME_S,
    LONGEST_LIFETIME_S,
    TokenRequest,
    TokenService,
)
from tests.integration.databases import Databases
from tests.integration.orchestrator_double_rig import Rig, new_database
from tests.integration.orchestrator_rig import NETWORKS

NODE, OTHER_NODE = NETWORKS[0].address, NETWORKS[1].address


@pytest.fixture
def rig(tmp_path: Path, databases: Databases) -> Iterator[Rig]:
    rig = Rig(tmp_path, databases.new(tmp_path))
    yield rig
    rig.close()


def made(client: TestClient, **order: Any) -> Any:
    response = client.post("/v1/tokens", json={"name": "a token", "role": "auditor"} | order)
    assert response.status_code == 201, response.text
    return response.json()


def refusal(client: TestClient, **order: Any) -> tuple[int, str]:
    response = client.post("/v1/tokens", json={"name": "a token", "role": "auditor"} | order)
    return response.status_code, response.json()["code"]


def status_with(rig: Rig, secret: str, path: str = "/v1/tasks", method: str = "GET") -> int:
    return rig.anonymous.request(method, path, headers={"Authorization": f"Bearer {secret}"}).status_code


def client_with(rig: Rig, secret: str) -> TestClient:
    client = TestClient(rig.app)
    client.headers["Authorization"] = f"Bearer {secret}"
    return client


def test_a_token_is_made_listed_used_and_revoked_at_once(rig: Rig) -> None:
    token = made(rig.admin)
    assert token["expires_unix_s"] == rig.clock.unix_s + DEFAULT_LIFETIME_S
    assert (token["issued_by"], token["node"], token["operations"]) == ("admin", None, None)
    listed = rig.get("/v1/tokens")["items"]
    assert {key: value for key, value in token.items() if key != "secret"} in listed
    assert all("secret" not in item for item in listed)
    assert status_with(rig, token["secret"]) == 200
    path = f"/v1/tokens/{token['token']}"
    assert rig.admin.delete(path).status_code == 204
    assert status_with(rig, token["secret"]) == 401
    assert rig.admin.delete(path).status_code == 404


@pytest.mark.parametrize("role", ["admin", "auditor", "conductor"])
def test_whoever_holds_a_token_may_end_it_without_its_number(rig: Rig, role: str) -> None:
    secret = made(rig.admin, role=role)["secret"]
    assert status_with(rig, secret, "/v1/tokens/current", "DELETE") == 204
    assert status_with(rig, secret, "/v1/tokens/current", "DELETE") == 401
    assert rig.clients[role].get("/v1/tokens/current").status_code == 200


@pytest.mark.parametrize("is_replaced", [False, True], ids=["revoked", "replaced"])
def test_a_token_that_just_ended_makes_no_other(rig: Rig, is_replaced: bool) -> None:
    """Also for a request that had shown it a moment before."""
    tokens = TokenService(rig.records, rig.clock)
    secret = made(rig.admin, role="admin", lasts_s=600)["secret"]
    caller = tokens.authenticate(secret)
    assert caller is not None
    assert caller.token is not None
    rig.clock.unix_s += 1
    if is_replaced:
        tokens.rotate(caller, caller.token)
    else:
        tokens.revoke(caller, caller.token)
    listed = rig.get("/v1/tokens")["items"]
    for late in (
        lambda: tokens.create(caller, TokenRequest("a way back", "admin")),
        lambda: tokens.rotate(caller, 1),
        lambda: tokens.revoke(caller, 1),
    ):
        with pytest.raises(Unauthenticated):
            late()
    assert rig.get("/v1/tokens")["items"] == listed


def test_an_admin_makes_operators_although_it_does_not_do_their_work(rig: Rig) -> None:
    assert made(rig.admin, role="operator", node=NODE)["node"] == NODE
    narrow = made(rig.admin, role="operator", node=NODE, operations=["declare_sites"])
    assert narrow["operations"] == ["declare_sites"]
    assert refusal(rig.admin, role="admin", operations=["declare_sites"])[0] == 422


def test_a_token_ends(rig: Rig) -> None:
    secret = made(rig.admin, lasts_s=60)["secret"]
    rig.clock.unix_s += 59
    assert status_with(rig, secret) == 200
    rig.clock.unix_s += 1
    assert status_with(rig, secret) == 401


def test_a_replaced_token_is_worthless_at_once(rig: Rig) -> None:
    token = made(rig.admin, lasts_s=1000)
    rig.clock.unix_s += 500
    again = client_with(rig, token["secret"]).post(f"/v1/tokens/{token['token']}/rotation").json()
    assert again["token"] == token["token"]
    assert again["expires_unix_s"] == rig.clock.unix_s + 1000
    assert status_with(rig, token["secret"]) == 401
    assert status_with(rig, again["secret"]) == 200


def test_a_narrowed_token_does_nothing_else(rig: Rig) -> None:
    secret = made(rig.admin, role="admin", operations=["list_tasks", "create_token"])["secret"]
    assert status_with(rig, secret) == 200
    for method, path in (("GET", "/v1/nodes"), ("POST", "/v1/tasks"), ("GET", "/v1/tokens")):
        assert status_with(rig, secret, path, method) == 403
    narrowed = client_with(rig, secret)
    for order in ({"role": "admin"}, {"role": "auditor"}, {"operations": ["list_tasks", "list_nodes"]}):
        assert refusal(narrowed, **order) == (403, "not_allowed")
    assert made(narrowed, operations=["list_tasks"])["operations"] == ["list_tasks"]


def test_nobody_makes_a_token_with_more_rights_than_their_own(rig: Rig) -> None:
    operator = rig.operator(NODE)
    for role in ("admin", "auditor", "conductor"):
        assert refusal(operator, role=role) == (403, "not_allowed")
    assert refusal(operator, role="operator", node=OTHER_NODE) == (403, "not_allowed")
    assert refusal(operator, role="operator", node=NODE, lasts_s=DEFAULT_LIFETIME_S + 60) == (
        403,
        "not_allowed",
    )
    for client in (rig.auditor, rig.conductor):
        assert refusal(client, role="auditor") == (403, "not_allowed")
    own = made(operator, role="operator", node=NODE, lasts_s=600, operations=["list_tasks"])
    assert own["node"] == NODE
    assert status_with(rig, own["secret"]) == 200


def test_an_operator_sees_and_touches_its_own_nodes_tokens_only(rig: Rig) -> None:
    operator = rig.operator(NODE)
    of_another = made(rig.admin, role="operator", node=OTHER_NODE)["token"]
    of_admin = rig.get("/v1/tokens/current")["token"]
    assert {item["node"] for item in operator.get("/v1/tokens").json()["items"]} == {NODE}
    for token in (of_another, of_admin, 10_000):
        for answer in (
            operator.delete(f"/v1/tokens/{token}"),
            operator.post(f"/v1/tokens/{token}/rotation"),
        ):
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    colleague = made(rig.admin, role="operator", node=NODE)
    assert operator.delete(f"/v1/tokens/{colleague['token']}").status_code == 204
    assert status_with(rig, colleague["secret"]) == 401


def test_a_short_token_is_not_turned_into_a_long_one(rig: Rig) -> None:
    """Whoever steals an hour must not get the 90 days of a colleague's token."""
    short = client_with(rig, made(rig.admin, role="operator", node=NODE, lasts_s=3600)["secret"])
    colleague = made(rig.admin, role="operator", node=NODE)
    answer = short.post(f"/v1/tokens/{colleague['token']}/rotation")
    assert (answer.status_code, answer.json()["code"]) == (403, "not_allowed")
    assert status_with(rig, colleague["secret"]) == 200, "nothing has changed"
    shorter = made(rig.admin, role="operator", node=NODE, lasts_s=600)
    assert short.post(f"/v1/tokens/{shorter['token']}/rotation").status_code == 201
    assert status_with(rig, shorter["secret"]) == 401


@pytest.mark.parametrize("role", ["auditor", "conductor"])
def test_whoever_holds_a_token_may_replace_and_revoke_it_and_no_other(rig: Rig, role: str) -> None:
    client, admins = rig.clients[role], rig.get("/v1/tokens/current")["token"]
    assert client.post(f"/v1/tokens/{admins}/rotation").status_code == 404
    assert client.delete(f"/v1/tokens/{admins}").status_code == 404
    own = client.get("/v1/tokens/current").json()
    assert (own["role"], own["name"]) == (role, role)
    again = client_with(rig, client.post(f"/v1/tokens/{own['token']}/rotation").json()["secret"])
    assert again.delete(f"/v1/tokens/{own['token']}").status_code == 204
    assert again.get("/v1/tasks").status_code == 401


@pytest.mark.parametrize(
    "order",
    [
        {"role": "operator"},
        {"role": "auditor", "node": NODE},
        {"role": "operator", "node": "0x12"},
        {"role": "reader"},
        {"operations": []},
        {"operations": ["admit_node"]},
        {"operations": ["no_such_operation"]},
        {"lasts_s": LONGEST_LIFETIME_S + 1},
        {"lasts_s": 0},
        {"name": "<script>"},
        {"more": 1},
    ],
)
def test_an_order_that_makes_no_sense_is_refused(rig: Rig, order: dict[str, Any]) -> None:
    assert refusal(rig.admin, **order)[0] == 422


def test_stored_tokens_are_carried_over(tmp_path: Path, databases: Databases) -> None:
    """A database of the schema before, with a token of each of its roles."""
    engine = open_engine(databases.empty(tmp_path))
    config = alembic_config()
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0003")
        for number, (role, ends) in enumerate(
            [("admin", None), ("conductor", 4_000_000_000), ("reader", None)], start=1
        ):
            connection.execute(
                text("INSERT INTO api_tokens VALUES (:id, :role, :role, :hash, :ends)"),
                {"id": number, "role": role, "hash": f"{number:064x}", "ends": ends},
            )
        connection.commit()
        before_unix_s = int(time.time())
        command.upgrade(config, "0004")
        columns = "role, token_hash, expires_unix_s, created_unix_s, node, operations, issued_by"
        rows = connection.execute(text(f"SELECT {columns} FROM api_tokens ORDER BY id")).all()
        assert [row.role for row in rows] == ["admin", "conductor", "auditor"]
        assert [row.token_hash for row in rows] == [f"{number:064x}" for number in (1, 2, 3)]
        assert rows[1].expires_unix_s == 4_000_000_000
        for row in (rows[0], rows[2]):
            assert 0 <= row.expires_unix_s - DEFAULT_LIFETIME_S - before_unix_s < 60
        for row in rows:
            assert (row.node, row.operations, row.issued_by) == (None, None, "migration")
        connection.execute(text("UPDATE api_tokens SET operations = '[\"list_tasks\"]' WHERE id = 2"))
        connection.commit()
        command.downgrade(config, "0003")
        kept = connection.execute(text("SELECT role FROM api_tokens ORDER BY id")).scalars().all()
        assert kept == ["admin", "reader"], "a narrowed token would have gained rights"
    engine.dispose()


def test_secrets_are_not_shown_by_accident(tmp_path: Path) -> None:
    from orchestrator.adapters.database import open_records
    from orchestrator.composition import SystemClock

    records = open_records(new_database(tmp_path))
    issued = TokenService(records, SystemClock()).issue_to_signer(NODE, NODE, 60)
    assert issued.secret not in repr(issued)
    records.close()
