"""Sites and policies: declared by their network alone, and no edit is lost."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import rfc8785

from contracts.digests import sha256_digest
from tests.integration.databases import Databases
from tests.integration.orchestrator_double_rig import Rig
from tests.integration.orchestrator_rig import NETWORKS

NODE, OTHER = NETWORKS[0].address, NETWORKS[1].address
SITES, POLICY = f"/v1/nodes/{NODE}/sites", f"/v1/nodes/{NODE}/policy"
TWO_SITES = {"items": [{"name": "clinic b", "state": "ready"}, {"name": "clinic a", "state": "paused"}]}
DOCUMENT = {"least_epsilon": 4, "tasks": ["coding"], "Ä": None}


@pytest.fixture
def rig(tmp_path: Path, databases: Databases) -> Iterator[Rig]:
    rig = Rig(tmp_path, databases.new(tmp_path))
    rig.admit_networks()
    rig.worker.run_once()
    yield rig
    rig.close()


def put(rig: Rig, path: str, body: Any, **headers: str) -> Any:
    """The answer to the operator of the first network."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return rig.operator(NODE).put(path, json=body, headers=names)


def test_a_network_declares_its_sites_and_replaces_them(rig: Rig) -> None:
    assert rig.get(SITES) == {"items": []}
    declared = put(rig, SITES, TWO_SITES)
    assert declared.status_code == 200, declared.text
    assert [site["name"] for site in declared.json()["items"]] == ["clinic a", "clinic b"]
    assert rig.get(SITES) == declared.json()
    fewer = {"items": [{"name": "clinic a", "state": "unavailable"}]}
    assert put(rig, SITES, fewer).json() == fewer
    assert rig.get(SITES) == fewer
    assert rig.get(f"/v1/nodes/{OTHER}/sites") == {"items": []}


def test_an_operator_sees_its_own_network_and_nobody_else_declares_for_it(rig: Rig) -> None:
    put(rig, SITES, TWO_SITES)
    stranger = rig.operator(OTHER)
    for path, body in ((SITES, TWO_SITES), (POLICY, {"document": DOCUMENT})):
        assert stranger.get(path).status_code == 403
        for client, code in (
            (stranger, "not_the_operator"),
            (rig.admin, "not_allowed"),
            (rig.auditor, "not_allowed"),
            (rig.conductor, "not_allowed"),
        ):
            answer = client.put(path, json=body)
            assert (answer.status_code, answer.json()["code"]) == (403, code)
        assert rig.anonymous.put(path, json=body).status_code == 401
    assert rig.auditor.get(SITES).json() == rig.operator(NODE).get(SITES).json()
    assert rig.get(SITES)["items"][0]["state"] == "paused"


def test_two_people_who_edit_do_not_overwrite_each_other(rig: Rig) -> None:
    for path, one, other in (
        (SITES, TWO_SITES, {"items": []}),
        (POLICY, {"document": DOCUMENT}, {"document": {}}),
    ):
        tag = put(rig, path, one).headers["ETag"]
        assert rig.operator(NODE).get(path).headers["ETag"] == tag
        assert put(rig, path, other, If_Match=tag).status_code == 200
        late = put(rig, path, one, If_Match=tag)
        assert (late.status_code, late.json()["code"]) == (412, "precondition_failed")
        assert put(rig, path, one).status_code == 200


def test_every_version_of_a_policy_stays_readable_by_its_digest(rig: Rig) -> None:
    assert rig.admin.get(POLICY).status_code == 404
    first = put(rig, POLICY, {"document": DOCUMENT}).json()
    assert (first["version"], first["digest"]) == (1, sha256_digest(rfc8785.dumps(DOCUMENT)))
    again = put(rig, POLICY, {"document": dict(reversed(DOCUMENT.items()))}).json()
    assert again == first
    second = put(rig, POLICY, {"document": {}}).json()
    assert second["version"] == 2
    assert rig.get(POLICY) == second
    assert rig.get(f"{POLICY}/versions")["items"] == [first, second]


@pytest.mark.parametrize(
    "body",
    [
        {"items": [{"name": "a", "state": "ready"}, {"name": "a", "state": "paused"}]},
        {"items": [{"name": "a", "state": "asleep"}]},
        {"items": [{"name": "", "state": "ready"}]},
        {"items": [{"name": "a" * 101, "state": "ready"}]},
        {"items": [{"name": "a", "state": "ready", "beds": 3}]},
        {"items": [{"name": f"s{number}", "state": "ready"} for number in range(1001)]},
        {},
    ],
)
def test_sites_that_are_none_are_refused(rig: Rig, body: Any) -> None:
    assert put(rig, SITES, body).status_code == 422
    assert rig.get(SITES) == {"items": []}


@pytest.mark.parametrize(
    "content",
    [
        b'{"document": []}',
        b'{"document": {"big": 9007199254740993}}',
        b'{"document": {"nan": NaN}}',
        json.dumps({"document": {"long": "x" * (1 << 16)}}).encode(),
        b'{"document": ' + b'{"a":' * 33 + b"1" + b"}" * 34,
        b'{"document": {"a": ' + b"[" * 300 + b"]" * 300 + b"}}",
        b'{"document": {"lone": "\\ud800"}}',
        b"{}",
    ],
)
def test_policies_that_have_no_canonical_form_are_refused(rig: Rig, content: bytes) -> None:
    answer = rig.operator(NODE).put(POLICY, content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422, answer.text
    assert rig.admin.get(POLICY).status_code == 404


def test_a_policy_may_be_deep_but_not_too_deep(rig: Rig) -> None:
    deep: dict[str, Any] = {}
    for _ in range(30):
        deep = {"a": deep}
    assert put(rig, POLICY, {"document": deep}).status_code == 200
    assert rig.get(POLICY)["document"] == deep
    too_deep = b'{"document": ' + b'{"a":' * 2000 + b"1" + b"}" * 2001
    answer = rig.operator(NODE).put(POLICY, content=too_deep, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422


def test_a_node_that_was_never_admitted_has_neither(rig: Rig) -> None:
    nobody = "0x" + "99" * 20
    for path in (f"/v1/nodes/{nobody}/sites", f"/v1/nodes/{nobody}/policy"):
        assert rig.admin.get(path).json()["code"] == "unknown_node"


def test_what_was_declared_is_in_the_audit_log_and_in_the_stream(rig: Rig) -> None:
    put(rig, SITES, TWO_SITES)
    put(rig, SITES, TWO_SITES)
    put(rig, POLICY, {"document": DOCUMENT})
    rows = [row for row in rig.get("/v1/audit?limit=200")["items"] if row["operation"].startswith("declare_")]
    assert [(row["operation"], row["node"], row["role"]) for row in rows] == [
        ("declare_sites", NODE, "operator"),
        ("declare_policy", NODE, "operator"),
    ]
    with rig.records.read() as unit:
        kinds = [line.announcement.kind for line in unit.stream.after(0, 1000)]
    assert kinds.count("sites.declared") == kinds.count("policy.declared") == 1
