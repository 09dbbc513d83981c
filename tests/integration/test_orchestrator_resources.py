"""The ledger, a round's proposals, votes and reports, and the models with their cards."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from contracts.digests import sha256_digest
from orchestrator.services.reports import reports_of
from tests.integration.databases import Databases
from tests.integration.orchestrator_double_rig import DOMAIN, Rig
from tests.integration.orchestrator_rig import BY_ADDRESS, GENESIS, NETWORKS, task_spec

REPORT = {
    "kind": "train",
    "network": "aurora",
    "sites": 3,
    "records": 900,
    "steps_per_site": 10,
    "first_loss_nats": 3.5,
    "last_loss_nats": 2.5,
    "seconds": 12.5,
    "something": "else",
}
DIGEST = sha256_digest(b"x")


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory, module_databases: Databases) -> Iterator[Rig]:
    """Two rounds, played to the end; the first proposer of each hands in a report that can be read."""
    folder = tmp_path_factory.mktemp("resources")
    rig = Rig(folder, module_databases.new(folder))
    rig.start_task()
    for number in (1, 2):
        state = rig.round_in("training", number)
        report = rig.put(json.dumps(REPORT).encode())
        for index, node in enumerate(state["proposers"]):
            network = BY_ADDRESS[node]
            rig.put(network.adapter(number))
            changes = {"report_digest": report} if index == 0 else {}
            body = network.proposal(DOMAIN, state, **changes)
            rig.post(f"/v1/tasks/1/rounds/{number}/proposals", body)
            if number == 1:
                assert rig.get("/v1/tasks/1/rounds/1/reports")["items"] == []
        rig.commit_all(number)
        rig.reveal_all(number)
        rig.attest_all(number)
        rig.round_in("final", number)
    evaluation = {"name": "public test", "digest": DIGEST, "records": 10, "correct": 5, "loss_nats": 1.0}
    evaluation |= {"accuracy": 0.5, "interval_low": 0.2, "interval_high": 0.8}
    rig.post("/v1/tasks/1/rounds/1/evaluations", evaluation)
    yield rig
    rig.close()


def test_transactions_are_listed_newest_first(rig: Rig) -> None:
    items = rig.get("/v1/intents?limit=200")["items"]
    numbers = [item["intent"] for item in items]
    assert numbers == sorted(numbers, reverse=True)
    assert {item["status"] for item in items} <= {"mined", "final"}
    assert all(item["transaction_hash"] for item in items)
    first = rig.get("/v1/intents?limit=3")
    second = rig.get(f"/v1/intents?limit=3&cursor={first['next_cursor']}")
    assert [item["intent"] for item in first["items"] + second["items"]] == numbers[:6]
    assert rig.get("/v1/intents?status=refused") == {"items": [], "next_cursor": None}
    of_task = rig.get("/v1/intents?task=1&limit=200")["items"]
    assert {item["task"] for item in of_task} == {1}
    assert rig.admin.get("/v1/intents?status=none").status_code == 422
    foreign = rig.admin.get(f"/v1/intents?task=1&cursor={first['next_cursor']}")
    assert foreign.json()["code"] == "invalid_cursor"


def test_rewards_add_up_to_what_nodes_earned(rig: Rig) -> None:
    items: list[dict[str, Any]] = []
    cursor: str | None = ""
    while cursor is not None:
        page = rig.get(f"/v1/rewards?limit=3{cursor and '&cursor=' + cursor}")
        items += page["items"]
        cursor = page["next_cursor"]
    assert items == rig.get("/v1/rewards?limit=200")["items"]
    assert {item["round"] for item in items} == {1, 2}
    for node in rig.get("/v1/nodes")["items"]:
        own = rig.get(f"/v1/rewards?node={node['node']}")["items"]
        assert own == [item for item in items if item["node"] == node["node"]]
        assert sum(int(item["amount"]) for item in own) == int(node["earned"])
    assert rig.get("/v1/rewards?task=2")["items"] == []


def test_slashes_by_number_task_and_node(rig: Rig) -> None:
    assert rig.admin.get("/v1/slashes/0").json()["code"] == "not_found"
    for query in ("task=1", f"node={NETWORKS[0].address}"):
        assert rig.get(f"/v1/slashes?{query}")["items"] == []
    assert rig.admin.get("/v1/slashes?node=0x12").status_code == 422


def test_proposals_and_votes_are_the_rounds(rig: Rig) -> None:
    whole = rig.get("/v1/tasks/1/rounds/1")
    assert rig.get("/v1/tasks/1/rounds/1/proposals")["items"] == whole["proposals"]
    assert rig.get("/v1/tasks/1/rounds/1/votes")["items"] == whole["votes"]
    for noun in ("proposals", "votes", "reports"):
        assert rig.admin.get(f"/v1/tasks/1/rounds/9/{noun}").status_code == 404


def test_reports_are_read_as_far_as_they_can_be(rig: Rig) -> None:
    whole = rig.get("/v1/tasks/1/rounds/1")
    items = rig.get("/v1/tasks/1/rounds/1/reports")["items"]
    assert [item["adapter_digest"] for item in items] == [
        proposal["adapter_digest"] for proposal in whole["proposals"]
    ]
    first = next(item for item in items if item["node"] == whole["proposers"][0])
    assert first["report"] == {key: REPORT[key] for key in first["report"]}
    assert all(item["report"] is None for item in items if item is not first)


NO_REPORTS = (
    b"",
    b"\xff",
    b"[" * 50_000,
    b'{"network": "\\ud800"}',
    json.dumps(REPORT | {"seconds": 1e999}).encode(),
    json.dumps(REPORT | {"sites": 10**400}).encode(),
    json.dumps(REPORT | {"network": "<b>"}).encode(),
    b" " * (1 << 16) + json.dumps(REPORT).encode(),
)


@pytest.mark.parametrize("data", NO_REPORTS)
def test_a_report_that_is_none_is_shown_as_none(
    rig: Rig, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rig.artifacts, "_limit_bytes", 1 << 20)
    digest = rig.put(data)
    with rig.records.read() as unit:
        state = unit.projection.round(1, 2)
        assert state is not None
    changed = replace(state, proposals=tuple(replace(each, report_digest=digest) for each in state.proposals))
    assert {each.report for each in reports_of(changed, {}, rig.artifacts)} == {None}


def test_models_are_the_aggregates_of_final_rounds(rig: Rig) -> None:
    rounds = rig.get("/v1/tasks/1/rounds")["items"]
    models = rig.get("/v1/models")["items"]
    assert [model["digest"] for model in models] == [each["aggregate_digest"] for each in rounds]
    assert [model["is_latest"] for model in models] == [False, True]
    assert models[1]["parent_digest"] == models[0]["digest"]
    first = rig.get("/v1/models?limit=1")
    assert rig.get(f"/v1/models?limit=1&cursor={first['next_cursor']}")["items"] == models[1:]


def test_a_model_card_tells_where_the_model_comes_from(rig: Rig) -> None:
    first, last = rig.get("/v1/models")["items"]
    card = rig.get(f"/v1/models/{last['digest']}")
    spec = task_spec()
    assert card["model"] == last
    assert (card["base_model"], card["rule"]) == (spec.base_model.source, "mean")
    assert [step["digest"] for step in card["lineage"]] == [
        sha256_digest(GENESIS),
        first["digest"],
        last["digest"],
    ]
    accepted = [
        (number, proposal["adapter_digest"])
        for number in (1, 2)
        for proposal in rig.get(f"/v1/tasks/1/rounds/{number}")["proposals"]
        if proposal["standing"] == "accepted"
    ]
    assert accepted
    assert [(each["round"], each["adapter_digest"]) for each in card["contributions"]] == accepted
    assert [step["accepted"] for step in card["lineage"][1:]] == [
        sum(number == each for number, _ in accepted) for each in (1, 2)
    ]
    assert [each["name"] for each in card["evaluations"]] == ["public test"]
    assert len([each for each in card["reports"] if each["report"]]) == 2
    earlier = rig.get(f"/v1/models/{first['digest']}")
    assert [step["round"] for step in earlier["lineage"]] == [0, 1]
    assert card["limits"]


def test_a_card_for_people(rig: Rig) -> None:
    digest = rig.get("/v1/models")["items"][1]["digest"]
    answer = rig.auditor.get(f"/v1/models/{digest}/card")
    assert answer.headers["content-type"].startswith("text/markdown")
    text = answer.text
    assert text.startswith(f"# Model {digest}\n")
    for words in ("## Lineage", sha256_digest(GENESIS), "| 900 |", "public test", "tiny-llama", "aurora"):
        assert words in text
    for line in text.splitlines():
        assert line.count("|") in (0, 3, 5, 6, 7), line


def test_models_that_are_none(rig: Rig) -> None:
    for path in (f"/v1/models/{DIGEST}", f"/v1/models/{DIGEST}/card"):
        assert rig.admin.get(path).json()["code"] == "not_found"
    assert rig.admin.get("/v1/models/0x12").status_code == 422
