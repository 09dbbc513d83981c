"""The verifier on a real chain: an honest task is ok, and every kind of lie is named."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from eth_abi.abi import decode, encode
from eth_utils.abi import event_abi_to_log_topic, get_abi_input_types
from typer.testing import CliRunner

from contracts import abi
from contracts.digests import sha256_digest
from contracts.phase import Phase
from contracts.verify import Verdict, verify_task
from contracts.verify.artifact_source import FolderSource
from contracts.verify.chain_source import ChainSource
from contracts.verify.checks import verify_facts
from contracts.verify.cli import app
from contracts.verify.errors import ArtifactSourceFailed, ChainUnavailable, TaskUnknown
from contracts.verify.facts import Claimed, Funded, TaskFacts
from orchestrator.domain.chain import Claim
from tests.chain.tampering import tampering_proxy
from tests.chain.world import Script, World, usual_adapter

FINAL, REJECTED, ABORTED = 1, 2, 3
"""The rounds of the played task, by how they ended."""


def verify(world: World, task: int = 1, rpc_url: str | None = None) -> Verdict:
    return verify_task(rpc_url or world.anvil.rpc_url, FolderSource(world.artifacts), world.deployment, task)


@contextmanager
def changed(path: Path, data: bytes | None) -> Iterator[None]:
    """Other bytes in a file, or no file, for a while."""
    before = path.read_bytes()
    if data is None:
        path.unlink()
    else:
        path.write_bytes(data)
    try:
        yield
    finally:
        path.write_bytes(before)


def flip_one_byte(path: Path) -> bytes:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    return bytes(data)


def facts_of(world: World, task: int = 1) -> TaskFacts:
    return ChainSource(world.anvil.rpc_url, world.deployment).task(task)


def test_a_task_with_every_outcome_is_ok(played: World) -> None:
    verdict = verify(played)
    assert verdict.wrong is None
    assert verdict.ok
    assert [r.phase for r in verdict.rounds] == ["final", "rejected", "aborted"]
    assert verdict.rounds[0].aggregate_digest == verdict.rounds[1].parent_digest
    assert verdict.facts_compared > 150
    assert verdict.notes == ()


# Artifacts


@pytest.mark.parametrize("index", [0, 1, 2])
def test_one_changed_byte_of_an_accepted_adapter_is_named(played: World, index: int) -> None:
    proposal = played.view(1, FINAL).proposals[index]
    digest = "0x" + proposal.adapterDigest.hex()
    path = played.artifact_path(digest)
    forged = flip_one_byte(path)
    with changed(path, forged):
        wrong = verify(played).wrong
    assert wrong is not None
    assert (wrong.round, wrong.node) == (FINAL, proposal.node)
    assert wrong.fact == "the digest of the accepted adapter"
    assert (wrong.expected, wrong.found) == (digest, sha256_digest(forged))


def test_one_changed_byte_of_the_spec_genesis_report_or_aggregate_is_named(played: World) -> None:
    task = played.rounds.functions.taskOf(1).call()
    final = played.view(1, FINAL)
    reporter = final.proposers[0]
    report = sha256_digest(f"report of {reporter} for 1/1".encode())
    for digest, fact, node in (
        ("0x" + task.config.specDigest.hex(), "the digest of the task spec", None),
        ("0x" + task.config.genesisDigest.hex(), "the digest of the genesis adapter", None),
        (report, "the digest of the report", reporter),
        ("0x" + final.aggregateDigest.hex(), "the digest of the aggregate's artifact", None),
    ):
        path = played.artifact_path(digest)
        with changed(path, flip_one_byte(path)):
            wrong = verify(played).wrong
        assert wrong is not None
        assert (wrong.fact, wrong.node) == (fact, node)


def test_a_missing_accepted_adapter_is_named_and_a_missing_report_is_noted(played: World) -> None:
    proposal = played.view(1, FINAL).proposals[0]
    adapter = played.artifact_path("0x" + proposal.adapterDigest.hex())
    report = played.artifact_path(sha256_digest(f"report of {proposal.node} for 1/1".encode()))
    with changed(adapter, None):
        wrong = verify(played).wrong
    assert wrong is not None
    assert (wrong.round, wrong.node, wrong.found) == (FINAL, proposal.node, "missing")
    with changed(report, None):
        verdict = verify(played)
    assert verdict.ok
    assert verdict.notes == (f"round 1: the report of {proposal.node} is not among the artifacts",)


def test_a_larger_artifact_is_named_without_reading_it_whole(played: World) -> None:
    proposal = played.view(1, FINAL).proposals[0]
    path = played.artifact_path("0x" + proposal.adapterDigest.hex())
    with changed(path, path.read_bytes() + b"\0"):
        wrong = verify(played).wrong
    assert wrong is not None
    assert (wrong.node, wrong.found) == (proposal.node, "larger")


# What voters and the chain say


def test_a_wrong_aggregate_attested_by_everybody_is_named(make_world: Callable[..., World]) -> None:
    world = make_world()
    task = world.create_task()
    forged = sha256_digest(b"another aggregate")
    world.play_round(task, Script(attested=dict.fromkeys(world.nodes, forged)))
    assert world.phase(task, 1) == Phase.FINAL
    wrong = verify(world, task).wrong
    assert wrong is not None
    assert (wrong.round, wrong.fact) == (1, "the aggregate that the quorum attested")
    assert wrong.found == forged
    assert wrong.expected == sha256_digest(world.aggregate_of_accepted(task, 1))


def test_an_accepted_adapter_that_breaks_the_manifest_is_named(make_world: Callable[..., World]) -> None:
    world = make_world()
    task = world.create_task()
    number = world.open_round(task)
    bad, *others = world.view(task, number).proposers
    world.propose(task, number, bad, b"no adapter at all")
    for node in others:
        world.propose(task, number, node, usual_adapter(node, number))
    world.close_phase(task)
    world.commit_all(task, number, Script())
    world.close_phase(task)
    world.reveal_all(task, number, Script())
    world.close_phase(task)
    wrong = verify(world, task).wrong
    assert wrong is not None
    assert (wrong.round, wrong.node, wrong.fact) == (number, bad, "the accepted adapter")
    assert wrong.found.startswith("broken: the adapter is not a safetensors file")


def test_a_refused_adapter_may_be_missing_or_broken(make_world: Callable[..., World]) -> None:
    world = make_world()
    task = world.create_task()
    number = world.open_round(task)
    bad = world.view(task, number).proposers[0]
    world.propose(task, number, bad, b"no adapter at all")
    world.propose_all(task, number, Script(silent_proposers=frozenset({bad})))
    world.close_phase(task)
    invalid = -(2**31)
    script = Script(scores={(voter, bad): invalid for voter in world.nodes})
    for step in (world.commit_all, world.reveal_all, world.attest_all):
        step(task, number, script)
        world.close_phase(task)
    assert world.phase(task, number) == Phase.FINAL
    verdict = verify(world, task)
    assert verdict.ok, verdict.wrong
    assert verdict.rounds[0].accepted == verdict.rounds[0].proposals - 1
    world.artifact_path(sha256_digest(b"no adapter at all")).unlink()
    verdict = verify(world, task)
    assert verdict.ok
    assert verdict.notes == (f"round 1: the refused adapter of {bad} is missing or too large",)


def test_an_open_round_is_checked_as_far_as_it_goes(make_world: Callable[..., World]) -> None:
    world = make_world()
    task = world.create_task()
    number = world.open_round(task)
    steps = (world.propose_all, world.commit_all, world.reveal_all, world.attest_all)
    for step, phase in zip(steps, ("training", "committing", "revealing", "attesting"), strict=True):
        verdict = verify(world, task)
        assert verdict.ok, verdict.wrong
        assert verdict.rounds[-1].phase == phase
        step(task, number, Script())
        assert verify(world, task).ok
        world.close_phase(task)
    assert verify(world, task).rounds[-1].phase == "final"


def test_a_claim_keeps_the_books_right(make_world: Callable[..., World]) -> None:
    world = make_world()
    task = world.create_task()
    world.play_round(task)
    voter = world.view(task, 1).voters[0]
    world.send(Claim(voter))
    verdict = verify(world, task)
    assert verdict.ok, verdict.wrong
    facts = facts_of(world, task)
    ledger = tuple(entry for entry in facts.ledger if not isinstance(entry, Claimed))
    wrong = verify_facts(replace(facts, ledger=ledger), FolderSource(world.artifacts)).wrong
    assert wrong is not None
    assert (wrong.node, wrong.found) == (voter, "0")


# A lying endpoint. The chain refuses wrong facts, so they are put into the endpoint's answers.


def alter_log(event: str, contract: abi.ContractName, change: Callable[[list[Any]], Any]) -> Any:
    """An alteration that changes the data of the first log of one event."""
    entry = next(e for e in abi.load(contract).abi if e["type"] == "event" and e["name"] == event)
    topic = "0x" + event_abi_to_log_topic(entry).hex()
    types = [
        kind for kind, i in zip(get_abi_input_types(entry), entry["inputs"], strict=True) if not i["indexed"]
    ]

    def alter(request: dict[str, Any], result: Any) -> Any:
        if request["method"] == "eth_getLogs":
            for log in result:
                if log["topics"][0] == topic:
                    values = list(decode(types, bytes.fromhex(log["data"][2:])))
                    change(values)
                    log["data"] = "0x" + encode(types, values).hex()
                    break
        return result

    return alter


def first_revealing_node(world: World) -> str:
    return facts_of(world).rounds[0].log.revealed[0].node


def test_a_changed_score_in_the_logs_is_named(played: World) -> None:
    def change(values: list[Any]) -> None:
        values[0] = (values[0][0] + 1, *values[0][1:])

    with tampering_proxy(played.anvil.rpc_url, alter_log("Revealed", "Rounds", change)) as url:
        wrong = verify(played, rpc_url=url).wrong
    assert wrong is not None
    assert (wrong.round, wrong.node) == (FINAL, first_revealing_node(played))
    assert wrong.fact == "the revealed scores' commitment"


def test_a_changed_reward_in_the_logs_is_named(played: World) -> None:
    facts = facts_of(played)
    paid = facts.rounds[0].log.rewarded
    assert paid is not None
    node, amount = paid.amounts[0]

    def change(values: list[Any]) -> None:
        values[1] = (values[1][0] + 1, *values[1][1:])
        values[2] -= 1

    with tampering_proxy(played.anvil.rpc_url, alter_log("Rewarded", "Tasks", change)) as url:
        wrong = verify(played, rpc_url=url).wrong
    assert wrong is not None
    assert (wrong.round, wrong.node, wrong.fact) == (FINAL, node, "the reward")
    assert (wrong.expected, wrong.found) == (str(amount), str(amount + 1))


def test_another_seed_block_is_named(played: World) -> None:
    seed_block = played.view(1, FINAL).seedBlock

    def alter(request: dict[str, Any], result: Any) -> Any:
        if request["method"] == "eth_getBlockByNumber" and request["params"][0] == hex(seed_block):
            result["hash"] = "0x" + "77" * 32
        return result

    with tampering_proxy(played.anvil.rpc_url, alter) as url:
        wrong = verify(played, rpc_url=url).wrong
    assert wrong is not None
    assert (wrong.round, wrong.fact, wrong.expected) == (FINAL, "the seed", "0x" + "77" * 32)


def test_an_unserved_seed_block_is_noted(played: World) -> None:
    seed_block = played.view(1, FINAL).seedBlock

    def alter(request: dict[str, Any], result: Any) -> Any:
        forgotten = request["method"] == "eth_getBlockByNumber" and request["params"][0] == hex(seed_block)
        return None if forgotten else result

    with tampering_proxy(played.anvil.rpc_url, alter) as url:
        verdict = verify(played, rpc_url=url)
    assert verdict.ok
    assert len(verdict.notes) == 1
    assert str(seed_block) in verdict.notes[0]


def with_view(facts: TaskFacts, number: int, **changes: Any) -> TaskFacts:
    rounds = list(facts.rounds)
    target = rounds[number - 1]
    rounds[number - 1] = replace(target, view=replace(target.view, **changes))
    return replace(facts, rounds=tuple(rounds))


def with_log(facts: TaskFacts, number: int, **changes: Any) -> TaskFacts:
    rounds = list(facts.rounds)
    target = rounds[number - 1]
    rounds[number - 1] = replace(target, log=replace(target.log, **changes))
    return replace(facts, rounds=tuple(rounds))


def test_every_other_lie_is_named(played: World) -> None:
    honest = facts_of(played)
    final, rejected, aborted = honest.rounds
    view, log = final.view, final.log
    assert log.tallied is not None
    assert log.closed is not None
    assert rejected.log.rewarded is not None
    other_context = "0x" + "ab" * 16
    first, *rest = view.proposals
    lies: dict[str, tuple[TaskFacts, int | None]] = {
        "the genesis digest": (replace(honest, genesis_digest="0x" + "01" * 32), None),
        "the parent": (with_view(honest, REJECTED, parent_digest="0x" + "01" * 32), REJECTED),
        "the eligible nodes": (with_view(honest, FINAL, eligible=view.eligible[:-1]), FINAL),
        "the frozen stakes": (with_view(honest, FINAL, stakes=(1, *view.stakes[1:])), FINAL),
        "the reward": (with_view(honest, FINAL, reward=view.reward + 1), FINAL),
        "the seed's block": (with_view(honest, FINAL, seed_block=view.seed_block + 1), FINAL),
        "the request": (with_log(honest, FINAL, requested=None), FINAL),
        "the logged seed": (with_log(honest, FINAL, drawn=None), FINAL),
        "the drawn proposers": (with_view(honest, FINAL, proposers=view.proposers[::-1]), FINAL),
        "the drawn voters": (with_view(honest, FINAL, voters=view.voters[::-1]), FINAL),
        "the proposals": (with_view(honest, FINAL, proposals=view.proposals[::-1]), FINAL),
        "whether a reveal is logged": (with_log(honest, FINAL, revealed=log.revealed[1:]), FINAL),
        "the tally (has a median, median in micronats, accepted)": (
            with_view(honest, FINAL, proposals=(replace(first, accepted=False), *rest)),
            FINAL,
        ),
        "the tally (has a median, median in micronats, accepted) in the log": (
            with_log(honest, FINAL, tallied=((*log.tallied[0][:3], 7), *log.tallied[1:])),
            FINAL,
        ),
        "the context of ATTESTING": (
            with_log(
                honest,
                FINAL,
                phases=tuple(
                    replace(entered, context=other_context) if entered.phase is Phase.ATTESTING else entered
                    for entered in log.phases
                ),
            ),
            FINAL,
        ),
        "the context": (with_view(honest, FINAL, context=other_context), FINAL),
        "the logged attestation": (with_log(honest, FINAL, attested=log.attested[1:]), FINAL),
        "the aggregate": (with_view(honest, FINAL, aggregate_digest=None), FINAL),
        "the phase": (with_view(honest, REJECTED, phase=Phase.ABORTED), REJECTED),
        "the logged close": (with_log(honest, FINAL, closed=None), FINAL),
        "the rewards": (with_log(honest, ABORTED, rewarded=None), ABORTED),
        "the amount returned to the pool": (
            with_log(honest, REJECTED, rewarded=replace(rejected.log.rewarded, returned=0)),
            REJECTED,
        ),
        "the task's parent": (replace(honest, parent_digest=honest.genesis_digest), None),
        "the number of closed rounds": (replace(honest, rounds_closed=2), None),
        "the task's pool": (replace(honest, pool=honest.pool + 1), None),
    }
    assert aborted.view.phase is Phase.ABORTED
    for fact, (facts, number) in lies.items():
        wrong = verify_facts(facts, FolderSource(played.artifacts)).wrong
        assert wrong is not None, fact
        assert (wrong.fact, wrong.round) == (fact, number)


def test_an_outcome_that_the_attestations_do_not_carry_is_named(played: World) -> None:
    honest = facts_of(played)
    silent = with_log(with_view(honest, FINAL, attestations=()), FINAL, attested=())
    wrong = verify_facts(silent, FolderSource(played.artifacts)).wrong
    assert wrong is not None
    assert (wrong.fact, wrong.expected, wrong.found) == ("the outcome", "REJECTED", "FINAL")


def test_a_payment_with_a_wrong_pool_is_named(played: World) -> None:
    honest = facts_of(played)
    ledger = tuple(replace(e, pool=e.pool + 1) if isinstance(e, Funded) else e for e in honest.ledger)
    wrong = verify_facts(replace(honest, ledger=ledger), FolderSource(played.artifacts)).wrong
    assert wrong is not None
    assert wrong.fact == "the pool after a payment into it"


# No verdict


def test_an_unknown_task_a_wrong_chain_and_a_dead_endpoint_are_no_verdict(played: World) -> None:
    with pytest.raises(TaskUnknown, match="no task 9"):
        verify(played, task=9)
    elsewhere = played.deployment.model_copy(update={"chain_id": 5})
    with pytest.raises(ChainUnavailable, match="chain 31337"):
        verify_task(played.anvil.rpc_url, FolderSource(played.artifacts), elsewhere, 1)
    with pytest.raises(ChainUnavailable):
        verify_task("http://127.0.0.1:1", FolderSource(played.artifacts), played.deployment, 1)
    with pytest.raises(ArtifactSourceFailed):
        FolderSource(played.artifacts / "nothing")


# The command


@pytest.fixture
def command(played: World, tmp_path: Path) -> Callable[..., Any]:
    deployment = tmp_path / "deployment.json"
    deployment.write_bytes(played.deployment.to_json())

    def run(*more: str, artifacts: Path | None = None, task: int = 1) -> Any:
        options = [
            *("--task", str(task), "--rpc-url", played.anvil.rpc_url, "--deployment", str(deployment)),
            *("--artifacts", str(artifacts or played.artifacts), *more),
        ]
        return CliRunner().invoke(app, options)

    return run


def test_the_command_says_ok(command: Callable[..., Any]) -> None:
    result = command()
    assert result.exit_code == 0, result.output
    assert "facts agree" in result.stdout
    envelope = json.loads(command("--json").stdout)
    assert envelope["ok"] is True
    assert [r["phase"] for r in envelope["data"]["rounds"]] == ["final", "rejected", "aborted"]


def test_the_command_names_the_wrong_fact(played: World, command: Callable[..., Any]) -> None:
    proposal = played.view(1, FINAL).proposals[0]
    path = played.artifact_path("0x" + proposal.adapterDigest.hex())
    with changed(path, flip_one_byte(path)):
        words, result = command(), command("--json")
    assert (words.exit_code, result.exit_code) == (1, 1)
    assert f"WRONG: round 1: the digest of the accepted adapter of {proposal.node}" in words.stdout
    envelope = json.loads(result.stdout)
    assert envelope["ok"] is False
    assert envelope["data"]["wrong"]["node"] == proposal.node
    assert envelope["error"]["code"] == "wrong_fact"


def test_the_command_refuses_bad_input(command: Callable[..., Any], tmp_path: Path) -> None:
    for result in (command(task=9), command(artifacts=tmp_path / "nothing")):
        assert result.exit_code == 2
        assert "no verdict" in result.stderr
    assert json.loads(command("--json", task=9).stdout)["error"]["code"] == "no_verdict"


def test_weights_and_an_outer_optimiser_are_recomputed(make_world: Callable[..., World]) -> None:
    world = make_world()
    outer = {"name": "momentum", "momentum_millionths": 900_000, "learning_rate_millionths": 700_000}
    task = world.create_task(spec={"aggregation": {"rule": "weighted_mean"}, "outer_optimiser": outer})
    world.play_round(task)
    world.play_round(task)
    verdict = verify(world, task)
    assert verdict.ok, verdict.wrong
    assert [checked.phase for checked in verdict.rounds] == ["final", "final"]
    parent = world.artifact_path(verdict.rounds[1].parent_digest)
    spec = world.specs[task]
    assert len(parent.read_bytes()) == spec.parent_manifest.file_bytes > spec.manifest.file_bytes
