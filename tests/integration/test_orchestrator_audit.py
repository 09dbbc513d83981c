"""The audit log: what is in it, what never is, and that it is one chain whoever writes."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError

from contracts.audit import AuditEntry, AuditRow
from contracts.digests import ZERO_DIGEST, sha256_digest
from orchestrator.adapters.database import open_records
from orchestrator.adapters.database.audit import SqlAuditRepository
from orchestrator.adapters.database.audit_models import AuditRowRow
from orchestrator.domain.audit import AuditRepository
from orchestrator.domain.credentials import SessionRecord
from orchestrator.domain.ports import RecordsUnavailable, Unit
from orchestrator.domain.projection import Announcement
from orchestrator.services.audit import MOST_STRANGERS_ROWS, Attempt, AuditService, Deed
from tests.integration.databases import Databases
from tests.integration.orchestrator_double_rig import DOMAIN, Rig
from tests.integration.orchestrator_rig import BY_ADDRESS, GENESIS, NETWORKS

ENTRY = AuditEntry(
    time_unix_s=1, principal="a", role="admin", operation="o", outcome="done", correlation_id="c"
)


@pytest.fixture
def rig(tmp_path: Path, databases: Databases) -> Iterator[Rig]:
    rig = Rig(tmp_path, databases.new(tmp_path))
    yield rig
    rig.close()


def log_of(rig: Rig) -> list[dict[str, Any]]:
    """The whole log, as the API gives it."""
    items: list[dict[str, Any]] = []
    query = "limit=200"
    while True:
        page = rig.get(f"/v1/audit?{query}")
        items += page["items"]
        if page["next_cursor"] is None:
            return items
        query = f"limit=200&cursor={page['next_cursor']}"


def assert_is_one_chain(items: list[dict[str, Any]]) -> None:
    previous = None
    for item in items:
        row = AuditRow.model_validate(item)
        assert row.hash == row.computed_hash()
        assert row.previous_hash == (ZERO_DIGEST if previous is None else previous.hash)
        assert row.number == (1 if previous is None else previous.number + 1)
        previous = row


def test_a_whole_round_leaves_a_row_for_every_change_and_none_for_reading(rig: Rig) -> None:
    rig.start_task()
    state = rig.play_round()
    items = log_of(rig)
    assert_is_one_chain(items)
    count = {
        name: sum(item["operation"] == name for item in items) for name in {i["operation"] for i in items}
    }
    proposers, voters = len(state["proposers"]), len(state["voters"])
    assert count == {
        "admit_node": len(NETWORKS),
        "create_task": 1,
        "approve_task": len(NETWORKS),
        "put_artifact": 4 + proposers,
        "propose": proposers,
        "commit": voters,
        "reveal": voters,
        "attest": voters,
    }
    assert {item["outcome"] for item in items} == {"done"}
    for item in items:
        if item["operation"] in ("propose", "commit", "reveal", "attest"):
            assert (item["task"], item["round"]) == (1, 1)
            assert item["node"] in BY_ADDRESS
        if item["operation"] == "put_artifact":
            assert (item["principal"], item["role"]) == ("conductor", "conductor")
    assert sha256_digest(GENESIS) in {item["body_digest"] for item in items}
    assert log_of(rig) == items


def test_the_same_again_changes_nothing_and_leaves_no_row(rig: Rig) -> None:
    rig.order_admission(0)
    before = log_of(rig)
    rig.order_admission(0)
    digest = rig.put(GENESIS)
    after = log_of(rig)
    assert [item["operation"] for item in after[len(before) :]] == ["put_artifact"]
    assert after[-1]["body_digest"] == digest
    rig.put(GENESIS)
    assert log_of(rig) == after


def test_a_row_says_who_what_and_under_which_id(rig: Rig) -> None:
    network = NETWORKS[0]
    body = json.dumps(
        {"node": network.address, "signer": network.address, "group": 1, "name": network.name}
    ).encode()
    headers = {"X-Correlation-Id": "from-the-caller", "Content-Type": "application/json"}
    assert rig.admin.post("/v1/nodes", content=body, headers=headers).status_code == 202
    (item,) = log_of(rig)
    assert item["time_unix_s"] == rig.clock.unix_s
    assert (item["principal"], item["role"], item["operation"]) == ("admin", "admin", "admit_node")
    assert (item["node"], item["task"], item["outcome"]) == (network.address, None, "done")
    assert item["correlation_id"] == "from-the-caller"
    assert item["body_digest"] == "0x" + hashlib.sha256(body).hexdigest()


def test_refusals_are_recorded_with_their_reason(rig: Rig) -> None:
    rig.start_task()
    state = rig.round_in("training")
    start = len(log_of(rig))
    node = BY_ADDRESS[state["proposers"][0]]
    forged = {**node.proposal(DOMAIN, state), "signature": "0x" + "11" * 65}
    path = "/v1/tasks/1/rounds/1/proposals"
    rig.anonymous.post(path, json=forged)
    rig.anonymous.post(path, json=forged, headers={"Authorization": "Bearer collegium_wrong"})
    rig.auditor.post(path, json=forged)
    rig.conductor.post(path, json=forged)
    rig.conductor.post(path, json={"message": 1})
    rig.conductor.post(path, content=b"[" * 100_000, headers={"Content-Type": "application/json"})
    rig.conductor.post("/v1/tasks/9/rounds/1/proposals", json=node.proposal(DOMAIN, state))
    rig.conductor.post("/v1/tasks/1/rounds/1/commits", json=node.commit(DOMAIN, state))
    rig.admin.delete("/v1/tasks/1/pause")
    rig.conductor.put(f"/v1/artifacts/0x{'0' * 64}", content=b"other bytes")
    rig.admin.post("/v1/nodes", content=b"x" * (2 << 20), headers={"Content-Type": "application/json"})
    items = log_of(rig)[start:]
    assert_is_one_chain(log_of(rig))
    assert [(item["principal"], item["operation"], item["reason"]) for item in items] == [
        ("anonymous", "propose", "unauthenticated"),
        ("anonymous", "propose", "unauthenticated"),
        ("auditor", "propose", "not_allowed"),
        ("conductor", "propose", "bad_signature"),
        ("conductor", "propose", "invalid_request"),
        ("conductor", "propose", "invalid_request"),
        ("conductor", "propose", "not_found"),
        ("conductor", "commit", "wrong_phase"),
        ("admin", "unpause_task", "task_not_paused"),
        ("conductor", "put_artifact", "digest_mismatch"),
        ("anonymous", "unmatched", "too_large"),
    ]
    assert {item["outcome"] for item in items} == {"refused"}
    # What a stranger says the request is about is not looked at; what the path says is.
    assert (items[0]["task"], items[0]["round"], items[0]["node"]) == (1, 1, None)
    assert items[3]["node"] == node.address


def test_reading_and_unknown_paths_leave_no_rows(rig: Rig) -> None:
    rig.anonymous.get("/v1/tasks")
    rig.auditor.get("/v1/tasks/9")
    rig.admin.post("/v1/nothing", json={})
    rig.admin.put("/v1/tasks", json={})
    rig.anonymous.get("/", headers={"Accept": "text/html"})
    assert log_of(rig) == []


def test_signing_in_and_out_and_failing_to(rig: Rig) -> None:
    token = rig.admin.headers["Authorization"].removeprefix("Bearer ")
    browser, origin = rig.anonymous, {"Origin": "http://testserver"}
    browser.post("/login", data={"token": "collegium_wrong"}, headers=origin)
    browser.get("/login?ticket=1.wrong")
    browser.get("/v1/tasks", headers={"Authorization": "Bearer collegium_wrong"})
    browser.post("/login", data={"token": token}, headers=origin, follow_redirects=False)
    browser.post("/logout", headers=origin, follow_redirects=False)
    link = browser.post("/dashboard/tickets", headers={"Authorization": f"Bearer {token}"}).json()["url"]
    assert browser.get(link).status_code == 200
    said = [(item["principal"], item["operation"], item["reason"]) for item in log_of(rig)]
    assert said == [
        ("anonymous", "sign_in", "unauthorized"),
        ("anonymous", "show_sign_in", "unauthorized"),
        ("anonymous", "list_tasks", "unauthenticated"),
        ("admin", "sign_in", None),
        ("admin", "sign_out", None),
        ("admin", "createDashboardTicket", None),
        ("admin", "show_sign_in", None),
        ("admin", "show_sign_in", None),
    ]
    # Neither the secrets nor digests that a guess could be tried against.
    assert {item["body_digest"] for item in log_of(rig)} == {None}
    text = json.dumps(log_of(rig))
    assert token not in text
    assert link.partition("ticket=")[2] not in text


def test_only_auditors_and_admins_read_it_and_they_can_search(rig: Rig) -> None:
    rig.order_admission(0)
    rig.order_admission(1)
    rig.auditor.post("/v1/nodes", json={})
    assert rig.anonymous.get("/v1/audit").status_code == 401
    assert rig.auditor.get("/v1/audit").json() == rig.admin.get("/v1/audit").json()
    page = rig.get("/v1/audit?limit=2")
    assert [item["number"] for item in page["items"]] == [1, 2]
    page = rig.get(f"/v1/audit?limit=2&cursor={page['next_cursor']}")
    assert ([item["number"] for item in page["items"]], page["next_cursor"]) == ([3], None)
    for query, numbers in (
        (f"node={NETWORKS[1].address}", [2]),
        ("principal=auditor", [3]),
        ("outcome=refused", [3]),
        ("operation=admit_node&outcome=done", [1, 2]),
        ("task=1", []),
    ):
        assert [item["number"] for item in rig.get(f"/v1/audit?{query}")["items"]] == numbers
    for query in ("limit=0", "limit=201", "cursor=1", "outcome=other", "node=0x12", "principal="):
        assert rig.admin.get(f"/v1/audit?{query}").status_code == 422
    # Whoever may not read something and tries is in the log, which says what.
    for client in (rig.operator(NETWORKS[0].address), rig.conductor):
        assert client.get("/v1/audit").status_code == 403
    tried = rig.operator(NETWORKS[0].address).get(f"/v1/nodes/{NETWORKS[1].address}/sites")
    assert tried.status_code == 403
    assert [
        (item["role"], item["operation"], item["node"], item["outcome"], item["reason"])
        for item in log_of(rig)[3:]
    ] == [
        ("operator", "list_audit_rows", None, "refused", "not_allowed"),
        ("conductor", "list_audit_rows", None, "refused", "not_allowed"),
        ("operator", "list_sites", NETWORKS[1].address, "refused", "not_allowed"),
    ]


def test_a_change_that_fails_leaves_no_row_and_without_its_row_no_change(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.order_admission(0)

    def fail(self: object, entry: AuditEntry) -> AuditRow:
        raise RecordsUnavailable("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(SqlAuditRepository, "append", fail)
        network = NETWORKS[1]
        body = {"node": network.address, "signer": network.address, "group": 2, "name": network.name}
        assert rig.admin.post("/v1/nodes", json=body).status_code == 503
        # A refusal stays one when it cannot be recorded.
        assert rig.auditor.post("/v1/nodes", json=body).status_code == 403
    with rig.records.read() as unit:
        assert len(unit.outbox.queued()) == 1
    assert len(log_of(rig)) == 1


def test_strangers_cannot_fill_the_disk(rig: Rig) -> None:
    now_s = [0.0]
    audit = AuditService(rig.records, rig.clock, monotonic_s=lambda: now_s[0])
    stranger = Attempt(lambda: Deed("propose", "c"), reason="unauthenticated")
    for _ in range(MOST_STRANGERS_ROWS + 7):
        audit.refuse(stranger)
    audit.refuse(Attempt(lambda: Deed("propose", "c"), "auditor", "auditor", "not_allowed"))
    now_s[0] = 61.0
    audit.refuse(stranger)
    with rig.records.read() as unit:
        rows = list(unit.audit.rows(MOST_STRANGERS_ROWS, MOST_STRANGERS_ROWS + 9))
    assert [(row.principal, row.operation, row.reason) for row in rows] == [
        ("anonymous", "propose", "unauthenticated"),
        ("auditor", "propose", "not_allowed"),
        ("anonymous", "unrecorded_refusals", "7 more in an earlier minute"),
        ("anonymous", "propose", "unauthenticated"),
    ]


def test_the_log_can_only_grow(rig: Rig) -> None:
    public = {name for name in dir(AuditRepository) if not name.startswith("_")}
    assert public == {"append", "last", "after", "tells_of", "rows", "last_epoch", "add_epoch"}
    with rig.records.write() as unit:
        first = unit.audit.append(ENTRY)
    # The schema itself lets nothing else follow the same row.
    with pytest.raises(IntegrityError), rig.records._writing.begin() as connection:
        connection.execute(AuditRowRow.__table__.insert().values(**{**first.model_dump(), "number": 2}))


def test_a_unit_knows_whether_it_changed_anything(rig: Rig) -> None:
    def changes(work: Callable[[Unit], object]) -> bool:
        with rig.records.write() as unit:
            work(unit)
            return unit.take_changes() and not unit.take_changes()

    anybody = SessionRecord(
        kind="session",
        name="a",
        role="auditor",
        node=None,
        operations=None,
        token=None,
        expires_unix_s=1 << 40,
    )
    assert not changes(lambda unit: unit.stream.append(Announcement("n"), 0))
    assert not changes(lambda unit: unit.outbox.by_key("none"))
    assert not changes(lambda unit: unit.tokens.remove_named("nobody"))
    assert not changes(lambda unit: unit.sessions.take("session", "none"))
    assert not changes(lambda unit: unit.users.remove("nobody"))
    assert changes(lambda unit: unit.note_change())
    assert changes(lambda unit: unit.sessions.add(anybody, "hash"))
    assert changes(lambda unit: unit.sessions.take("session", "hash"))
    assert changes(lambda unit: unit.names.set_name(NETWORKS[0].address, "aurora"))
    assert not changes(lambda unit: unit.names.set_name(NETWORKS[0].address, "aurora"))
    assert changes(lambda unit: unit.names.set_name(NETWORKS[0].address, "borealis"))
    assert changes(lambda unit: unit.tokens.remove_named("auditor"))


WRITER = """
import sys
from orchestrator.adapters.database import open_records
from contracts.audit import AuditEntry
records = open_records(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
for number in range(int(sys.argv[3])):
    with records.write() as unit:
        unit.audit.append(AuditEntry(
            time_unix_s=number, principal=sys.argv[2], role="admin", operation="o", outcome="done",
            correlation_id="c"))
"""


def test_two_processes_write_one_chain(tmp_path: Path, databases: Databases) -> None:
    url, each = databases.new(tmp_path), 40
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, url, name, str(each)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in ("a", "b")
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        writer.communicate("go\n", timeout=60)
        assert writer.returncode == 0
    records = open_records(url)
    with records.read() as unit:
        rows = list(unit.audit.rows(1, 1000))
    records.close()
    assert len(rows) == 2 * each
    assert_is_one_chain([row.model_dump() for row in rows])
    assert {row.principal for row in rows} == {"a", "b"}
