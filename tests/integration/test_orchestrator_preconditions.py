"""Conditional requests: 304 for what the caller has, 412 for an edit of what was changed meanwhile."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.databases import Databases
from tests.integration.orchestrator_double_rig import Rig
from tests.integration.orchestrator_rig import NETWORKS

READS = (
    "/v1/tasks/1",
    "/v1/tasks/1/rounds/1",
    f"/v1/nodes/{NETWORKS[0].address}",
    "/v1/tasks",
    "/v1/intents/1",
)
EDITS = (
    ("POST", "/v1/tasks/1/pause", None),
    ("POST", "/v1/tasks/1/cancellation", None),
    ("POST", "/v1/tasks/1/refunds", {"funder": NETWORKS[0].address}),
    ("DELETE", "/v1/tasks/1/pause", None),
)


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory, module_databases: Databases) -> Iterator[Rig]:
    folder = tmp_path_factory.mktemp("preconditions")
    rig = Rig(folder, module_databases.new(folder))
    rig.start_task()
    rig.round_in("training")
    yield rig
    rig.close()


@pytest.mark.parametrize("path", READS)
def test_what_the_caller_has_is_not_sent_again(rig: Rig, path: str) -> None:
    first = rig.auditor.get(path)
    tag = first.headers["etag"]
    assert tag.startswith('"')
    assert rig.auditor.get(path).headers["etag"] == tag
    for given in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        again = rig.auditor.get(path, headers={"If-None-Match": given})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert rig.auditor.get(path, headers={"If-None-Match": '"other"'}).content == first.content


@pytest.mark.parametrize("value", ["x", '"', '"a" "b"', '"a",', "W/x", '"a\x7f"', '"' + "a" * 200 + '"'])
def test_tags_that_are_none(rig: Rig, value: str) -> None:
    response = rig.auditor.get("/v1/tasks/1", headers={"If-None-Match": value})
    assert (response.status_code, response.json()["code"]) == (422, "invalid_entity_tag")
    response = rig.admin.post("/v1/tasks/1/pause", headers={"If-Match": value})
    assert (response.status_code, response.json()["code"]) == (422, "invalid_entity_tag")


def test_a_tag_is_no_way_around_the_token(rig: Rig) -> None:
    assert rig.anonymous.get("/v1/tasks/1", headers={"If-None-Match": "*"}).status_code == 401
    assert rig.auditor.get("/v1/tasks/77", headers={"If-None-Match": "*"}).status_code == 404


@pytest.mark.parametrize(("method", "path", "body"), EDITS)
def test_an_edit_of_another_version_is_refused(
    rig: Rig, method: str, path: str, body: dict[str, str] | None
) -> None:
    tag = rig.admin.get("/v1/tasks/1").headers["etag"]
    for given in ('"' + "0" * 32 + '"', f"W/{tag}"):
        response = rig.admin.request(method, path, json=body, headers={"If-Match": given})
        assert (response.status_code, response.json()["code"]) == (412, "precondition_failed")
    for given in (tag, f'"other", {tag}', "*"):
        response = rig.admin.request(method, path, json=body, headers={"If-Match": given})
        assert response.status_code in (202, 409), response.text
        assert response.json().get("code") != "precondition_failed"


def test_the_second_of_two_editors_is_told(tmp_path: Path, databases: Databases) -> None:
    rig = Rig(tmp_path, databases.new(tmp_path))
    rig.start_task()
    rig.round_in("training")
    seen = rig.admin.get("/v1/tasks/1").headers["etag"]
    assert rig.admin.post("/v1/tasks/1/pause", headers={"If-Match": seen}).status_code == 202
    rig.turn_until(lambda: rig.get("/v1/tasks/1")["status"] == "paused")
    late = rig.admin.post("/v1/tasks/1/cancellation", headers={"If-Match": seen})
    assert (late.status_code, late.json()["code"]) == (412, "precondition_failed")
    assert rig.get("/v1/tasks/1")["status"] == "paused"
    now = rig.admin.get("/v1/tasks/1").headers["etag"]
    assert now != seen
    assert rig.admin.post("/v1/tasks/1/cancellation", headers={"If-Match": now}).status_code == 202
    rig.close()


def test_a_round_has_another_tag_when_it_moves(tmp_path: Path, databases: Databases) -> None:
    rig = Rig(tmp_path, databases.new(tmp_path))
    rig.start_task()
    rig.round_in("training")
    tag = rig.admin.get("/v1/tasks/1/rounds/1").headers["etag"]
    rig.propose_all()
    rig.round_in("committing")
    moved = rig.admin.get("/v1/tasks/1/rounds/1", headers={"If-None-Match": tag})
    assert (moved.status_code, moved.json()["phase"]) == (200, "committing")
    rig.close()
