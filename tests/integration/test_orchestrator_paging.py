"""Lists page by page: every item once and in order, also while others are added; bad cursors are refused."""

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from eth_utils.address import to_checksum_address

from contracts.audit import AuditEntry
from contracts.digests import sha256_digest
from contracts.messages import Enrolment
from contracts.phase import Phase
from contracts.settlement import Fault
from contracts.task_config import TaskConfig
from orchestrator.api.paging import MOST_ITEMS
from orchestrator.domain.chain import CreateTask, StakeTerms
from orchestrator.domain.credentials import NewToken
from orchestrator.domain.declarations import PolicyVersion
from orchestrator.domain.ports import EvaluationRecord, TaskOrder, Unit
from orchestrator.domain.projection import Announcement
from orchestrator.domain.state import (
    NodeState,
    PhaseStart,
    ProposalState,
    RegistryState,
    RoundState,
    SlashState,
    TaskState,
    VoteState,
)
from tests.integration.databases import Databases
from tests.integration.orchestrator_double_rig import Rig
from tests.integration.orchestrator_rig import task_spec, terms_of

COUNT = 7
CONFIG = TaskConfig(**terms_of(task_spec()))
DIGEST = sha256_digest(b"x")
AUDITED = {
    "time_unix_s": 1,
    "principal": "somebody",
    "role": "admin",
    "operation": "test",
    "outcome": "done",
    "correlation_id": "c",
}


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory, module_databases: Databases) -> Iterator[Rig]:
    folder = tmp_path_factory.mktemp("paging")
    rig = Rig(folder, module_databases.new(folder))
    with rig.records.write() as unit:
        unit.projection.save_registry(RegistryState(StakeTerms()))
        for number in range(1, COUNT + 1):
            add_one_of_each(unit, number)
        add_full_round(unit)
        add_deliveries(unit)
    yield rig
    rig.close()


def address(number: int) -> str:
    # As checksums their first letters are of both cases: text order is not the order of numbers.
    start = ("1c", "ba", "fa", "ea", "9f", "cb", "cb", "aa", "1d")[number % 9]
    return str(to_checksum_address("0x" + start + f"{number:038x}"))


DRAWN = [address(number) for number in range(COUNT, 0, -1)]


def order(number: int) -> TaskOrder:
    digest = sha256_digest(str(number).encode())
    # Two at a time in the same second.
    return TaskOrder(digest, f"order {number}", f"create_task:{digest}", 0, 1_000 + number // 2)


def add_one_of_each(unit: Unit, number: int) -> None:
    unit.projection.save_nodes([NodeState(address(number), address(number), number)])
    unit.projection.save_slash(SlashState(number - 1, address(1), 1, 1, Fault.ABSENT, 1, 1))
    spec_digest = sha256_digest(f"on chain {number}".encode())
    unit.projection.save_task(TaskState(number, replace(CONFIG, spec_digest=spec_digest), DIGEST))
    unit.projection.save_round(
        RoundState(1, number, Phase.FINAL, DIGEST, 0, 0, (), (PhaseStart(Phase.FINAL, 1),))
    )
    made = order(number)
    unit.orders.add(made)
    unit.outbox.add(made.call_key, CreateTask(replace(CONFIG, spec_digest=made.spec_digest)), None, 0)
    # Names that sort otherwise by case, two to a round.
    name = ("a", "B", "c", "D", "e", "F", "g", "H")[number]
    unit.evaluations.save(EvaluationRecord(1, number // 2, name, DIGEST, 1, 1, 1.0, 1.0, 1.0, 0.5))
    unit.evaluations.save(EvaluationRecord(2, 0, name, DIGEST, 1, 1, 1.0, 1.0, 1.0, 0.5))
    unit.declarations.add_policy(PolicyVersion(address(1), number, DIGEST, {"version": number}, 1))
    unit.audit.append(AuditEntry(**AUDITED, task=number))
    unit.tokens.add(NewToken(f"token {number}", "auditor", None, None, 1, 1 << 40, "test"), f"hash {number}")
    unit.webhooks.add(f"https://hooks.example.org/{number}", (), b"salt", 0, 1)
    add_enrolment(unit, number)


def add_enrolment(unit: Unit, number: int) -> None:
    """An invite and the statement that used it up."""
    fields = {
        "node": address(number),
        "signer": address(number),
        "network": f"network-{number}",
        "flower_key": "",
        "certificate": DIGEST,
        "invite": sha256_digest(f"invite {number}".encode()),
    }
    made = unit.enrolments.add_invite(fields["invite"], fields["network"], number, 1, 1 << 40)
    unit.enrolments.add(made, Enrolment.parse(fields), "0x" + "1b" * 65, 1)


def add_full_round(unit: Unit) -> None:
    """A round of another task with proposals and votes, drawn in another order than that of the addresses."""
    unit.projection.save_task(TaskState(9, replace(CONFIG, spec_digest=sha256_digest(b"nine")), DIGEST))
    nodes = [address(number) for number in range(1, COUNT + 1)]
    ascending = sorted(nodes, key=str.lower)
    unit.projection.save_round(
        RoundState(
            9,
            1,
            Phase.FINAL,
            DIGEST,
            0,
            0,
            (),
            (PhaseStart(Phase.FINAL, 1),),
            proposers=tuple(nodes),
            voters=tuple(reversed(nodes)),
            proposer_groups=tuple(range(COUNT)),
            voter_groups=tuple(range(COUNT)),
            proposals=tuple(ProposalState(node, sha256_digest(node.encode()), DIGEST) for node in ascending),
            votes=tuple(VoteState(node, DIGEST) for node in ascending),
        )
    )


def add_deliveries(unit: Unit) -> None:
    """Deliveries of one webhook, and one of another."""
    first, second = (each.id for each in unit.webhooks.all()[:2])
    for _ in range(COUNT):
        unit.stream.append(Announcement("round.training"), 1)
    unit.webhooks.queue(first, range(1, COUNT + 1), COUNT, 1)
    unit.webhooks.queue(second, (1,), 1, 1)


LISTS: dict[str, Callable[[Any], Any]] = {
    "/v1/nodes": lambda item: int(item["node"], 16),
    "/v1/slashes": lambda item: item["slash"],
    "/v1/tasks": lambda item: (item["task"] is None, item["task"] or 0),
    "/v1/tasks/1/rounds": lambda item: item["round"],
    "/v1/tasks/1/evaluations": lambda item: (item["round"], item["name"]),
    "/v1/tasks/2/rounds/0/evaluations": lambda item: item["name"],
    "/v1/tasks/9/rounds/1/proposals": lambda item: int(item["node"], 16),
    "/v1/tasks/9/rounds/1/reports": lambda item: int(item["node"], 16),
    "/v1/tasks/9/rounds/1/votes": lambda item: DRAWN.index(item["node"]),
    "/v1/audit": lambda item: item["number"],
    "/v1/audit?operation=test": lambda item: item["number"],
    "/v1/enrolments": lambda item: item["id"],
    f"/v1/nodes/{address(1)}/policy/versions": lambda item: item["version"],
    "/v1/tokens": lambda item: item["token"],
    "/v1/webhooks": lambda item: item["id"],
    "/v1/webhooks/1/deliveries": lambda item: -item["id"],
}
BEFORE = {"/v1/tokens": 3, "/v1/tasks": COUNT + 1}
"""What is in a list beside."""


def pages(rig: Rig, path: str, limit: int) -> list[list[Any]]:
    found: list[list[Any]] = []
    separator = "&" if "?" in path else "?"
    query = f"{separator}limit={limit}"
    while len(found) < 100:
        page = rig.get(path + query)
        assert set(page) == {"items", "next_cursor"}
        found.append(page["items"])
        if page["next_cursor"] is None:
            return found
        query = f"{separator}limit={limit}&cursor={page['next_cursor']}"
    raise AssertionError("the pages do not end")


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize("limit", [1, 2, 3, COUNT, 2 * COUNT])
def test_pages_hold_every_item_once_and_in_order(rig: Rig, path: str, limit: int) -> None:
    found = pages(rig, path, limit)
    whole = [item for page in found for item in page]
    assert whole == rig.get(f"{path}{'&' if '?' in path else '?'}limit={MOST_ITEMS}")["items"]
    assert len(whole) == COUNT + BEFORE.get(path, 0)
    # A page is full unless it is the last, and the last is never empty.
    assert [len(page) for page in found[:-1]] == [limit] * (len(found) - 1)
    assert found[-1]
    keys = [LISTS[path](item) for item in whole]
    assert keys == sorted(keys)


def test_orders_come_oldest_first_and_only_until_their_task_is_on_chain(
    tmp_path: Path, databases: Databases
) -> None:
    rig = Rig(tmp_path, databases.new(tmp_path))
    with rig.records.write() as unit:
        for number in range(1, COUNT + 1):
            add_one_of_each(unit, number)
        on_chain = replace(CONFIG, spec_digest=order(3).spec_digest)
        unit.projection.save_task(TaskState(99, on_chain, DIGEST))
    items = [item for page in pages(rig, "/v1/tasks", 2) for item in page]
    waiting = [item["spec_digest"] for item in items if item["task"] is None]
    expected = sorted(
        (order(number) for number in range(1, COUNT + 1) if number != 3),
        key=lambda each: (each.created_unix_s, each.spec_digest),
    )
    assert waiting == [each.spec_digest for each in expected]
    assert items[COUNT]["task"] == 99
    rig.close()


def test_a_list_that_grows_meanwhile_shows_nothing_twice(tmp_path: Path, databases: Databases) -> None:
    rig = Rig(tmp_path, databases.new(tmp_path))
    with rig.records.write() as unit:
        unit.projection.save_registry(RegistryState(StakeTerms()))
        for number in (2, 4, 6):
            unit.projection.save_nodes([NodeState(f"0x{number:040x}", f"0x{number:040x}", 1)])
    first = rig.get("/v1/nodes?limit=2")
    with rig.records.write() as unit:
        for number in (1, 3, 5):
            unit.projection.save_nodes([NodeState(f"0x{number:040x}", f"0x{number:040x}", 1)])
    second = rig.get(f"/v1/nodes?limit=2&cursor={first['next_cursor']}")
    assert [int(item["node"], 16) for item in first["items"] + second["items"]] == [2, 4, 5, 6]
    assert second["next_cursor"] is None
    rig.close()


def test_an_empty_list_is_one_empty_page(tmp_path: Path, databases: Databases) -> None:
    rig = Rig(tmp_path, databases.new(tmp_path))
    for path in ("/v1/nodes", "/v1/slashes", "/v1/tasks", "/v1/tasks/1/evaluations"):
        assert rig.get(path) == {"items": [], "next_cursor": None}
    assert rig.admin.get("/v1/tasks/1/rounds").status_code == 404
    rig.close()


def encoded(value: Any) -> str:
    text = value if isinstance(value, bytes) else json.dumps(value, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


OF_NODES = encoded(["nodes", "0x" + "00" * 20])
HOSTILE = (
    "",
    "x",
    "not base64!",
    "é",
    "\x00",
    "A" * 400,
    "A" * 401,
    "A" * 4_000,
    encoded(b"\xff\xfe"),
    encoded(b"["),
    encoded(b"[" * 200),
    encoded(1),
    encoded(None),
    encoded({"a": 1}),
    encoded([]),
    encoded(["slashes of all, all"]),
    encoded(["slashes of all, all", 1, 2]),
    encoded(["slashes of all, all", "1"]),
    encoded(["slashes of all, all", -1]),
    encoded(["slashes of all, all", 1.0]),
    encoded(["slashes of all, all", True]),
    encoded(["slashes of all, all", None]),
    encoded(["slashes of all, all", 1 << 63]),
    encoded(["slashes of all, all", [1]]),
    OF_NODES,
    encoded(["nodes", 1]),
    encoded(["nodes", "a\u0000b"]),
    encoded(["nodes", "\ud800"]),
    encoded(["nodes", "x" * 101]),
    encoded(["rounds of 2", 1]),
    encoded(b'["slashes of all, all", 1]'),
    encoded(b'["slashes of all, all",1e0]'),
    encoded(b'["slashes of all, all",NaN]'),
    encoded(["slashes of all, all", 1]) + "=",
    encoded(["slashes of all, all", 1]) + "\n",
    encoded(["tasks", 2, 0, "' OR 1=1 --"]) + "A",
)


@pytest.mark.parametrize("cursor", HOSTILE)
def test_cursors_that_no_page_has_given_are_refused(rig: Rig, cursor: str) -> None:
    for path in LISTS:
        response = rig.admin.get(path, params={"cursor": cursor})
        if (path, cursor) == ("/v1/nodes", OF_NODES):
            # A well-formed cursor of this very list: it only says where to begin.
            assert response.status_code == 200
            continue
        assert response.status_code == 422, response.text
        assert response.json()["code"] in ("invalid_cursor", "invalid_request")


def test_a_cursor_is_for_its_own_list(rig: Rig) -> None:
    cursor = rig.get("/v1/tasks/1/rounds?limit=1")["next_cursor"]
    for path in ("/v1/tasks/2/rounds", "/v1/slashes", "/v1/tasks/1/evaluations"):
        response = rig.admin.get(path, params={"cursor": cursor})
        assert (response.status_code, response.json()["code"]) == (422, "invalid_cursor")


@pytest.mark.parametrize("limit", ["0", "-1", str(MOST_ITEMS + 1), "1.5", "x", "", "9" * 5_000])
def test_limits_that_are_none(rig: Rig, limit: str) -> None:
    response = rig.admin.get("/v1/nodes", params={"limit": limit})
    assert (response.status_code, response.json()["code"]) == (422, "invalid_request")
