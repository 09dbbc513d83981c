"""Nodes leave, return, rotate keys and are paid; tasks pause and end; faults and slashes: over REST."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from contracts.deployment import Deployment
from contracts.digests import sha256_digest
from contracts.messages import (
    INVALID_SCORE,
    UNAVAILABLE_SCORE,
    Exit,
    Migration,
    Return,
    Revocation,
    Rotation,
)
from orchestrator.cli import app
from orchestrator.client.api import Client
from orchestrator.commands.client import HubClient
from orchestrator.commands.output import ExitCode
from tests.integration.databases import Databases
from tests.integration.orchestrator_chain_double import FUNDER, TERMS
from tests.integration.orchestrator_double_rig import DEPLOYMENT, Rig
from tests.integration.orchestrator_rig import (
    BY_ADDRESS,
    GENESIS,
    NETWORKS,
    POOL,
    STAKE,
    Network,
    SignedMessage,
    task_spec,
    terms_of,
)

NODE = NETWORKS[0]
NEW_KEY = Network("a new key", 9.0)
FOREVER_UNIX_S = 1 << 40
DOMAIN = DEPLOYMENT.rounds_domain
# What a command prints does not depend on the database.
ON_ONE_DATABASE = pytest.mark.parametrize("databases", ["sqlite"], indirect=True)


@pytest.fixture
def rig(tmp_path: Path, databases: Databases) -> Iterator[Rig]:
    rig = Rig(tmp_path, databases.new(tmp_path))
    yield rig
    rig.close()


def header(nonce: int = 0, node: Network = NODE, expiry_unix_s: int = FOREVER_UNIX_S) -> dict[str, Any]:
    return {"node": node.address, "nonce": nonce, "expiry_unix_s": expiry_unix_s}


def signed(message: SignedMessage, by: Network = NODE, deployment: Deployment = DEPLOYMENT) -> dict[str, Any]:
    of_tasks = isinstance(message, Revocation)
    return by.signed(message, deployment.tasks_domain if of_tasks else deployment.registry_domain)


def path(kind: str, node: Network = NODE) -> str:
    return f"/v1/nodes/{node.address}/{kind}"


def node_of(rig: Rig, network: Network = NODE) -> Any:
    return rig.get(f"/v1/nodes/{network.address}")


def refusal(rig: Rig, where: str, body: dict[str, Any] | None = None) -> tuple[int, str]:
    response = rig.admin.post(where, json=body)
    assert response.headers["content-type"] == "application/problem+json", response.text
    return response.status_code, response.json()["code"]


def silent_round(rig: Rig, number: int, silent: str) -> Any:
    """A round in which one voter never commits; the round when it is closed."""
    rig.propose_all(number)
    state = rig.round_in("committing", number)
    for node in state["voters"]:
        if node != silent:
            rig.post(f"/v1/tasks/1/rounds/{number}/commits", BY_ADDRESS[node].commit(DOMAIN, state))
    rig.turn()
    rig.chain.mine(seconds=200)
    revealing = rig.round_in("revealing", number)
    for node in revealing["voters"]:
        if node != silent:
            rig.post(f"/v1/tasks/1/rounds/{number}/reveals", BY_ADDRESS[node].reveal(revealing))
    rig.attest_all(number)
    return rig.round_in("final", number)


# --- what nodes say


def test_an_operator_hands_in_what_its_node_signs(rig: Rig) -> None:
    rig.start_task()
    rig.round_in("training")
    leaving = signed(Exit(**header(), amount=STAKE // 2))
    operator = rig.operator(NODE.address)
    answer = operator.post(path("exits"), json=leaving)
    assert (answer.status_code, answer.json()["kind"]) == (202, "exit")
    assert operator.post(path("exits"), json=leaving).json()["intent"] == answer.json()["intent"]
    rig.turn_until(lambda: node_of(rig)["unbonding"])
    assert operator.post(path("exits"), json=leaving).json()["status"] == "mined", "again is harmless"
    node = node_of(rig)
    assert (node["stake"], node["eligible_stake"]) == (str(STAKE // 2), str(STAKE // 2))
    assert node["unbonding"][0]["amount"] == str(STAKE // 2)
    assert node["open_rounds"] == 1


def test_a_message_that_does_not_fit_is_refused_early(rig: Rig) -> None:
    rig.start_task()
    rig.round_in("training")
    other = NETWORKS[1]
    elsewhere = DEPLOYMENT.model_copy(update={"chain_id": 1})
    leaving, now_unix_s = Exit(**header(), amount=1), rig.clock.unix_s
    stranger = signed(Exit(**header(node=NEW_KEY), amount=1), by=NEW_KEY)
    cases: list[tuple[str, dict[str, Any], int, str]] = [
        (path("exits"), signed(leaving, by=other), 422, "bad_signature"),
        (path("exits"), signed(leaving, deployment=elsewhere), 422, "bad_signature"),
        (path("exits", other), signed(leaving), 409, "wrong_node"),
        (path("exits"), signed(Exit(**header(nonce=1), amount=1)), 409, "wrong_nonce"),
        (path("exits"), signed(Exit(**header(expiry_unix_s=now_unix_s - 1), amount=1)), 422, "expired"),
        (path("exits"), signed(Exit(**header(), amount=STAKE + 1)), 422, "insufficient_stake"),
        (path("exits"), signed(leaving) | {"more": 1}, 422, "invalid_request"),
        (path("exits", NEW_KEY), stranger, 404, "unknown_node"),
        (path("returns"), signed(Return(**header()), by=other), 422, "bad_signature"),
        (path("rotations"), signed(Rotation(**header(), signer="0x" + "00" * 20)), 422, "unacceptable"),
        (path("migrations"), signed(Migration(**header(), successor=FUNDER)), 422, "wrong_successor"),
        ("/v1/tasks/1/revocations", signed(Revocation(**header(), task=1)), 409, "wrong_nonce"),
        ("/v1/tasks/7/revocations", signed(Revocation(**header(1), task=1)), 409, "wrong_round"),
        ("/v1/tasks/7/revocations", signed(Revocation(**header(1), task=7)), 404, "not_found"),
        ("/v1/nodes/0x12/exits", signed(leaving), 422, "invalid_request"),
    ]
    for where, body, status, code in cases:
        assert refusal(rig, where, body) == (status, code), (where, code)
    with rig.records.read() as unit:
        assert unit.outbox.count_unsettled() == 0


def test_one_nonce_is_one_message(rig: Rig) -> None:
    rig.start_task()
    rig.worker.run_once()
    rig.post(path("exits"), signed(Exit(**header(), amount=1)))
    assert refusal(rig, path("exits"), signed(Exit(**header(), amount=2))) == (409, "conflict")
    assert refusal(rig, path("returns"), signed(Return(**header()))) == (409, "conflict")


def test_an_approval_is_taken_back_and_given_again(rig: Rig) -> None:
    rig.start_task(voters=3)
    rig.turn_until(lambda: len(rig.get("/v1/tasks/1")["approved"]) == 4)
    rig.post("/v1/tasks/1/revocations", signed(Revocation(**header(nonce=1), task=1)))
    rig.turn_until(lambda: len(rig.get("/v1/tasks/1")["approved"]) == 3)
    again = Revocation(**header(nonce=2), task=1)
    assert refusal(rig, "/v1/tasks/1/revocations", signed(again)) == (409, "not_approved")
    body = NODE.approval(DEPLOYMENT, 1, task_spec().digest, FOREVER_UNIX_S, nonce=2)
    rig.post("/v1/tasks/1/approvals", body)
    rig.turn_until(lambda: len(rig.get("/v1/tasks/1")["approved"]) == 4)


def test_a_rotated_key_signs_from_then_on_and_the_old_one_no_more(rig: Rig) -> None:
    rig.start_task()
    state = rig.round_in("training")
    proposer = BY_ADDRESS[state["proposers"][0]]
    rotation = Rotation(**header(node=proposer), signer=NEW_KEY.address)
    rig.post(path("rotations", proposer), signed(rotation, by=proposer))
    rig.turn_until(lambda: node_of(rig, proposer)["signer"] == NEW_KEY.address)
    digest = rig.put(proposer.adapter(1))
    body = proposer.proposal(DOMAIN, state)
    assert refusal(rig, "/v1/tasks/1/rounds/1/proposals", body) == (422, "bad_signature")
    by_new_key = NEW_KEY.proposal(DOMAIN, state, node=proposer.address, adapter_digest=digest)
    rig.post("/v1/tasks/1/rounds/1/proposals", by_new_key)
    # The account itself still signs for its money.
    rig.post(path("exits", proposer), signed(Exit(**header(1, proposer), amount=1), by=proposer))


def test_a_stake_leaves_matures_and_is_paid(rig: Rig) -> None:
    rig.admit_networks()
    rig.worker.run_once()
    assert refusal(rig, path("withdrawals")) == (409, "nothing_mature")
    rig.post(path("exits"), signed(Exit(**header(), amount=STAKE)))
    rig.turn_until(lambda: node_of(rig)["unbonding"])
    assert refusal(rig, path("withdrawals")) == (409, "nothing_mature")
    rig.chain.mine(seconds=TERMS.unbonding_s)
    rig.turn()
    first = rig.post(path("withdrawals"), {})
    assert rig.operator(NODE.address).post(path("withdrawals")).json()["intent"] == first["intent"]
    rig.turn_until(lambda: not node_of(rig)["unbonding"])
    assert refusal(rig, path("withdrawals")) == (409, "nothing_mature")
    assert refusal(rig, path("withdrawals", NEW_KEY)) == (404, "unknown_node")


def test_a_stake_waits_for_open_rounds(rig: Rig) -> None:
    rig.start_task()
    rig.post(path("exits"), signed(Exit(**header(), amount=1)))
    rig.round_in("training")
    assert refusal(rig, path("withdrawals")) == (409, "in_open_rounds")


def test_rewards_are_claimed_once(rig: Rig) -> None:
    rig.start_task()
    assert refusal(rig, path("claims")) == (409, "nothing_to_claim")
    closed = rig.play_round()
    earner = BY_ADDRESS[closed["rewards"][0]["node"]]
    rig.post(path("claims", earner), {})
    rig.turn_until(lambda: node_of(rig, earner)["claimable"] == "0")
    assert refusal(rig, path("claims", earner)) == (409, "nothing_to_claim")
    assert int(node_of(rig, earner)["earned"]) > 0


# --- faults and slashes


def test_absences_keep_a_node_out_until_it_says_that_it_is_back(rig: Rig) -> None:
    rig.start_task(rounds=4)
    silent = rig.round_in("training")["voters"][-1]
    absent = BY_ADDRESS[silent]
    first = silent_round(rig, 1, silent)
    assert [(each["node"], each["fault"]) for each in first["slashes"]] == [(silent, "absent")]
    assert node_of(rig, absent)["absences"] == 1
    silent_round(rig, 2, silent)
    node = node_of(rig, absent)
    assert (node["absences"], node["pending_slashes"], node["eligible_stake"]) == (2, 2, "0")
    set_aside = sum(int(each["amount"]) for each in rig.get("/v1/slashes")["items"])
    assert int(node["stake"]) == STAKE - set_aside
    for _ in range(5):
        rig.turn()
    assert rig.get("/v1/tasks/1")["rounds_requested"] == 2, "with three nodes no round of four voters opens"
    kinds = [event.announcement.kind for event in rig.app.state.services.queries.newest_events(80)]
    assert kinds.count("fault.recorded") == 2
    assert kinds.count("node.absent_too_often") == 1

    rig.post(path("returns", absent), signed(Return(**header(node=absent)), by=absent))
    rig.turn_until(lambda: node_of(rig, absent)["absences"] == 0)
    assert silent in rig.round_in("training", 3)["voters"]


def test_a_slash_is_waived_in_time_or_executed_after(rig: Rig) -> None:
    rig.start_task(rounds=3)
    silent = rig.round_in("training")["voters"][-1]
    silent_round(rig, 1, silent)
    rig.post("/v1/tasks/1/cancellation", {})
    silent_round(rig, 2, silent)
    first = rig.get("/v1/slashes")["items"][0]
    assert refusal(rig, "/v1/slashes/9/waiver") == (404, "not_found")
    assert refusal(rig, "/v1/slashes/1/execution") == (409, "appeal_open")
    rig.post("/v1/slashes/1/waiver", {})
    rig.turn_until(lambda: rig.get("/v1/slashes")["items"][1]["status"] == "waived")
    assert refusal(rig, "/v1/slashes/1/waiver") == (409, "slash_settled")
    rig.chain.mine(seconds=TERMS.appeal_s)
    rig.turn()
    assert refusal(rig, "/v1/slashes/0/waiver") == (409, "appeal_over")
    pool = int(rig.get("/v1/tasks/1")["pool"])
    rig.post("/v1/slashes/0/execution", {})
    rig.turn_until(lambda: rig.get("/v1/slashes")["items"][0]["status"] == "executed")
    assert int(rig.get("/v1/tasks/1")["pool"]) == pool + int(first["amount"])
    node = node_of(rig, BY_ADDRESS[silent])
    assert (node["pending_slashes"], node["stake"]) == (0, str(STAKE - int(first["amount"])))


def test_an_adapter_that_all_call_invalid_is_a_fault(rig: Rig) -> None:
    rig.start_task()
    rig.propose_all()
    state = rig.round_in("committing")
    bad = state["proposals"][0]["node"]

    def scores(voter: str) -> tuple[int, ...]:
        def score(proposer: str) -> int:
            if proposer == bad:
                return 0 if voter == bad else INVALID_SCORE
            return UNAVAILABLE_SCORE if voter == bad else 5

        return tuple(score(proposal["node"]) for proposal in state["proposals"])

    for node in state["voters"]:
        commit = BY_ADDRESS[node].reveal_message(state, scores_micronats=scores(node)).commit()
        rig.post("/v1/tasks/1/rounds/1/commits", BY_ADDRESS[node].signed(commit, DOMAIN))
    revealing = rig.round_in("revealing")
    for node in revealing["voters"]:
        body = BY_ADDRESS[node].reveal(revealing, scores_micronats=scores(node))
        rig.post("/v1/tasks/1/rounds/1/reveals", body)
    rig.attest_all()
    closed = rig.round_in("final")
    shown = {each["node"]: each for each in closed["proposals"]}
    assert (shown[bad]["standing"], shown[bad]["proven_invalid"]) == ("unscored", True)
    assert shown[bad]["median_improvement_micronats"] is None
    assert {each["standing"] for node, each in shown.items() if node != bad} == {"accepted"}
    assert [(each["node"], each["fault"]) for each in closed["slashes"]] == [(bad, "invalid")]
    assert closed["slashes"][0]["amount"] == str(STAKE * 2_000 // 10_000)


# --- pause and cancel


def test_a_pause_aborts_the_round_without_faults_and_can_be_lifted(rig: Rig) -> None:
    rig.start_task(rounds=3)
    rig.round_in("training")
    assert rig.admin.delete("/v1/tasks/1/pause").json()["code"] == "task_not_paused"
    first = rig.post("/v1/tasks/1/pause", {})
    assert rig.post("/v1/tasks/1/pause", {})["intent"] == first["intent"]
    closed = rig.round_in("aborted")
    assert closed["slashes"] == []
    assert rig.get("/v1/tasks/1")["status"] == "paused"
    assert refusal(rig, "/v1/tasks/1/pause") == (409, "task_paused")
    nodes = rig.get("/v1/nodes")["items"]
    assert {(node["absences"], node["open_rounds"]) for node in nodes} == {(0, 0)}
    for _ in range(5):
        rig.turn()
    assert rig.get("/v1/tasks/1")["rounds_requested"] == 1
    assert rig.admin.delete("/v1/tasks/1/pause").status_code == 202
    rig.play_round(2)
    # A second pause is another order, not the first one again.
    assert rig.post("/v1/tasks/1/pause", {})["intent"] != first["intent"]


def test_a_cancelled_task_ends_with_its_open_round_and_its_pool_is_refunded(rig: Rig) -> None:
    rig.start_task()
    rig.round_in("training")
    assert refusal(rig, "/v1/tasks/1/refunds", {"funder": FUNDER}) == (409, "nothing_to_refund")
    rig.post("/v1/tasks/1/cancellation", {})
    rig.turn_until(lambda: rig.get("/v1/tasks/1")["status"] == "ending")
    assert refusal(rig, "/v1/tasks/1/cancellation") == (409, "task_over")
    rig.play_round()
    task = rig.get("/v1/tasks/1")
    assert (task["status"], task["rounds_requested"]) == ("cancelled", 1)
    assert task["contributed"] == str(POOL)
    for _ in range(5):
        rig.turn()
    assert rig.get("/v1/tasks/1")["rounds_requested"] == 1
    assert refusal(rig, "/v1/tasks/1/pause") == (409, "task_over")
    rig.post("/v1/tasks/1/refunds", {"funder": FUNDER})
    rig.turn_until(lambda: rig.get("/v1/tasks/1")["pool"] == "0")
    assert rig.get("/v1/tasks/1")["refunded"] == task["pool"]
    assert refusal(rig, "/v1/tasks/1/refunds", {"funder": FUNDER}) == (409, "nothing_to_refund")
    assert refusal(rig, "/v1/tasks/7/cancellation") == (404, "not_found")


def test_a_task_whose_rounds_outlast_an_exit_is_refused(rig: Rig) -> None:
    rig.turn()
    spec = task_spec()
    config = terms_of(spec, training_s=TERMS.unbonding_s)
    rig.put(spec.canonical_bytes())
    rig.put(GENESIS)
    body = {"spec_digest": spec.digest, "name": "long", "config": config, "pool": "1"}
    assert refusal(rig, "/v1/tasks", body) == (422, "wrong_terms")


# --- the council's commands


@pytest.fixture
def collegium(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, Any]]:
    """Runs a command against the rig; while it waits for the chain, the worker works."""

    def use_rig(client: HubClient, url: str, token_file: Path) -> None:
        client.api = Client("http://hub.test", "none")
        client.api._http = rig.admin

    monkeypatch.setattr(HubClient, "__init__", use_rig)
    monkeypatch.setattr("orchestrator.commands.waiting.sleep", lambda _: rig.turn())

    def run(*arguments: str) -> tuple[int, Any]:
        options = ["--url", "http://hub.test", "--token-file", "none", "--json"]
        done = CliRunner().invoke(app, [*arguments, *options])
        envelope = json.loads(done.stdout)
        return done.exit_code, envelope.get("data") or envelope["error"]["code"]

    return run


@ON_ONE_DATABASE
def test_the_council_pauses_cancels_and_refunds_at_the_command_line(
    rig: Rig, collegium: Callable[..., tuple[int, Any]]
) -> None:
    rig.start_task(rounds=4)
    rig.round_in("training")
    task = ("--task", "1")
    assert collegium("task", "unpause", *task) == (ExitCode.REFUSED, "task_not_paused")
    code, data = collegium("task", "pause", *task)
    assert (code, data["transaction"].startswith("0x")) == (ExitCode.DONE, True)
    rig.turn()
    assert collegium("task", "pause", *task) == (ExitCode.REFUSED, "task_paused")
    assert collegium("task", "unpause", *task)[0] == ExitCode.DONE
    rig.turn()
    assert collegium("task", "cancel", *task)[0] == ExitCode.DONE
    if rig.get("/v1/tasks/1")["open_round"]:
        rig.play_round(2)
    rig.turn()
    assert collegium("task", "refund", *task, "--funder", FUNDER)[0] == ExitCode.DONE
    rig.turn()
    assert rig.get("/v1/tasks/1")["pool"] == "0"


@ON_ONE_DATABASE
def test_slashes_at_the_command_line(rig: Rig, collegium: Callable[..., tuple[int, Any]]) -> None:
    rig.start_task()
    silent = rig.round_in("training")["voters"][-1]
    silent_round(rig, 1, silent)
    code, data = collegium("slash", "list")
    assert (code, data["items"][0]["fault"]) == (ExitCode.DONE, "absent")
    assert collegium("slash", "execute", "--slash", "0") == (ExitCode.REFUSED, "appeal_open")
    assert collegium("slash", "waive", "--slash", "0")[0] == ExitCode.DONE
    rig.turn()
    assert collegium("slash", "waive", "--slash", "0") == (ExitCode.REFUSED, "slash_settled")
    code, data = collegium("node", "list")
    assert {item["stake"] for item in data["items"]} == {str(STAKE)}


def test_the_approvals_that_stand_say_what_was_approved_and_where(rig: Rig) -> None:
    rig.start_task()
    assert rig.get("/v1/tasks/1/approvals")["items"] == []
    rig.turn_until(lambda: len(rig.get("/v1/tasks/1")["approved"]) == 4)
    items = rig.get("/v1/tasks/1/approvals")["items"]
    assert [item["node"] for item in items] == sorted(rig.get("/v1/tasks/1")["approved"])
    (found,) = (item for item in items if item["node"] == NODE.address)
    assert (found["name"], found["task"], found["spec_digest"]) == (NODE.name, 1, task_spec().digest)
    assert found["policy_digest"] == sha256_digest(b"policy")
    assert found["block_number"] > 0
    rig.post("/v1/tasks/1/revocations", signed(Revocation(**header(nonce=1), task=1)))
    rig.turn_until(lambda: len(rig.get("/v1/tasks/1/approvals")["items"]) == 3)
    assert rig.auditor.get("/v1/tasks/2/approvals").status_code == 404
