"""The projection after restarts, failures and reorganisations is always what the chain says."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select

from contracts.events import Proposed, RoundRequested, StakeDeposited, TaskCreated
from contracts.messages import Exit
from orchestrator.adapters.database.models import PROJECTION_TABLES
from orchestrator.domain.chain import ChainError, CreateTask, IndexedEvent
from orchestrator.domain.outbox import IntentStatus
from orchestrator.services.indexer import RESTORED_AFTER_S, Indexer
from tests.integration.databases import Databases
from tests.integration.orchestrator_double_rig import DEPLOYMENT, DOMAIN, RULES, Rig
from tests.integration.orchestrator_rig import BY_ADDRESS, NETWORKS, task_spec


@pytest.fixture
def rig(tmp_path: Path, databases: Databases) -> Iterator[Rig]:
    rig = Rig(tmp_path, databases.new(tmp_path))
    yield rig
    rig.close()


def projection(rig: Rig) -> object:
    """All rows of all tables that are projected."""
    with rig.records.read() as unit:
        session = unit.projection._session
        return {
            table.__tablename__: session.execute(
                select(table.__table__).order_by(*table.__table__.primary_key)
            ).all()
            for table in PROJECTION_TABLES
        }


def projection_from_scratch(rig: Rig, folder: Path) -> object:
    """The same, read by a hub that never saw the chain before."""
    folder.mkdir(exist_ok=True)
    fresh = Rig(folder)
    Indexer(fresh.records, rig.chain, rig.clock, 1, RULES.confirmations).run_once()
    found = projection(fresh)
    fresh.close()
    return found


def test_an_index_from_scratch_is_the_same(rig: Rig, tmp_path: Path) -> None:
    rig.start_task()
    rig.play_round(1)
    assert projection(rig) == projection_from_scratch(rig, tmp_path / "fresh")


def test_an_index_from_scratch_after_faults_pauses_and_exits_is_the_same(rig: Rig, tmp_path: Path) -> None:
    rig.start_task(rounds=4)
    rig.propose_all()
    rig.commit_all()
    revealing = rig.round_in("revealing")
    for node in revealing["voters"][1:]:
        rig.post("/v1/tasks/1/rounds/1/reveals", BY_ADDRESS[node].reveal(revealing))
    rig.turn()
    rig.chain.mine(seconds=100)
    rig.attest_all()
    rig.round_in("final")
    rig.round_in("training", 2)
    rig.post("/v1/tasks/1/pause", {})
    rig.round_in("aborted", 2)
    leaver = BY_ADDRESS[revealing["voters"][2]]
    leaving = Exit(node=leaver.address, amount=7, nonce=0, expiry_unix_s=1 << 40)
    body = leaver.signed(leaving, DEPLOYMENT.registry_domain)
    rig.post(f"/v1/nodes/{leaver.address}/exits", body)
    rig.turn_until(lambda: rig.get(f"/v1/nodes/{leaver.address}")["unbonding"])
    rig.post("/v1/slashes/0/waiver", {})
    rig.turn_until(lambda: rig.get("/v1/slashes")["items"][0]["status"] == "waived")
    assert projection(rig) == projection_from_scratch(rig, tmp_path / "fresh")


def test_messages_that_vanished_are_sent_again_with_the_same_bytes(rig: Rig, tmp_path: Path) -> None:
    rig.start_task()
    state = rig.round_in("training")
    node = BY_ADDRESS[state["proposers"][0]]
    rig.put(node.adapter(1))
    rig.post("/v1/tasks/1/rounds/1/proposals", node.proposal(DOMAIN, state))
    rig.turn()
    with rig.records.read() as unit:
        (before,) = [each for each in unit.outbox.settled_from_block(1) if "proposal" in each.key]
    assert len(rig.get("/v1/tasks/1/rounds/1")["proposals"]) == 1

    rig.chain.reorganise(1)
    rig.worker.indexer.run_once()
    assert rig.get("/v1/tasks/1/rounds/1")["proposals"] == []
    rig.turn_until(lambda: rig.get("/v1/tasks/1/rounds/1")["proposals"])

    with rig.records.read() as unit:
        after = unit.outbox.by_id(before.id)
        assert any(each.announcement.kind == "chain.reorganised" for each in unit.stream.newest(50))
    assert after is not None
    assert (after.status, after.transaction_hash) == (IntentStatus.MINED, before.transaction_hash)
    assert sum(isinstance(event, Proposed) for event in rig.chain.all_events) == 1
    assert projection(rig) == projection_from_scratch(rig, tmp_path / "fresh")


def test_a_message_for_the_old_fork_does_not_hit_the_new_one(rig: Rig) -> None:
    rig.start_task()
    rig.propose_all()
    old = rig.round_in("committing")
    # Back to before the draw: the new draw has another context.
    with rig.records.read() as unit:
        (drawn,) = [
            intent for intent in unit.outbox.settled_from_block(1) if intent.key == "advance:1:1:requested"
        ]
    assert drawn.block_number is not None
    rig.chain.reorganise(rig.chain.head().number - drawn.block_number + 1)
    new = rig.round_in("training")
    assert new["context"] != old["context"]
    for _ in range(10):
        rig.turn()
    assert rig.get("/v1/tasks/1/rounds/1")["proposals"] == []
    closed = rig.play_round(1)
    assert len(closed["proposals"]) == 3


def test_a_task_whose_creation_vanished_is_created_once(rig: Rig) -> None:
    rig.order_task()
    rig.turn_until(lambda: rig.chain.state.tasks and rig.chain.state.tasks[1].pool)
    rig.turn()
    rig.chain.reorganise(rig.chain.head().number)
    rig.turn_until(lambda: rig.chain.state.tasks and rig.chain.state.tasks[1].pool)
    for _ in range(5):
        rig.turn()
    assert sum(isinstance(event, TaskCreated) for event in rig.chain.all_events) == 1


@pytest.mark.parametrize("forgets", [False, True], ids=["pool kept", "pool lost"])
def test_approvals_that_come_back_before_their_task_still_count(
    rig: Rig, tmp_path: Path, forgets: bool
) -> None:
    rig.start_task()
    rig.turn_until(lambda: len(rig.chain.state.tasks[1].approved) == len(NETWORKS))
    with rig.records.read() as unit:
        (created,) = [each for each in unit.outbox.settled_from_block(1) if isinstance(each.call, CreateTask)]
    assert created.block_number is not None
    rig.turn()
    # The chain's double puts the relayer's transactions of a block before the council's.
    rig.chain.reorganise(rig.chain.head().number - created.block_number + 1)
    if forgets:
        rig.chain.forget_pool()
    rig.turn_until(lambda: rig.chain.state.tasks and len(rig.chain.state.tasks[1].approved) == len(NETWORKS))
    rig.play_round(1)
    assert not rig.get("/v1/intents?status=refused")["items"]
    assert projection(rig) == projection_from_scratch(rig, tmp_path / "fresh")


def test_an_approval_that_is_tried_before_the_reorganisation_is_indexed_waits(rig: Rig) -> None:
    rig.admit_networks()
    rig.order_task()
    rig.turn_until(lambda: rig.chain.state.tasks and rig.chain.state.tasks[1].pool)
    rig.worker.run_once()
    node = NETWORKS[0]
    body = node.approval(DEPLOYMENT, 1, task_spec().digest, rig.clock.unix_s + 10_000)
    rig.post("/v1/tasks/1/approvals", body)
    with rig.records.read() as unit:
        (created,) = [each for each in unit.outbox.settled_from_block(1) if isinstance(each.call, CreateTask)]
    assert created.block_number is not None
    rig.chain.reorganise(rig.chain.head().number - created.block_number + 1)
    rig.chain.forget_pool()
    assert not rig.chain.state.tasks
    # The outbox comes first: the chain that it asks is not the one that was indexed.
    rig.worker.outbox.run_once(finalises=False)
    assert not rig.get("/v1/intents?status=refused")["items"]
    rig.turn_until(lambda: rig.chain.state.tasks and rig.chain.state.tasks[1].approved)
    rig.turn()
    assert rig.get("/v1/tasks/1")["approved"] == [node.address]
    assert not rig.get("/v1/intents?status=refused")["items"]


def test_a_reorganisation_of_nothing_but_empty_blocks(rig: Rig, tmp_path: Path) -> None:
    rig.start_task()
    rig.round_in("training")
    rig.chain.mine(3)
    rig.worker.run_once()
    rig.chain.reorganise(2)
    rig.turn()
    assert projection(rig) == projection_from_scratch(rig, tmp_path / "fresh")
    assert sum(isinstance(event, RoundRequested) for event in rig.chain.all_events) == 1


def test_a_chain_that_moves_while_it_is_read_changes_nothing(rig: Rig) -> None:
    rig.admit_networks()
    rig.worker.indexer.run_once()
    rig.chain.mine(2)
    before = projection(rig)
    honest, asked = rig.chain.block, []

    def moving(number: int) -> object:
        asked.append(number)
        block = honest(number)
        return block if len(asked) < 4 else replace(block, hash="0x" + "99" * 32)

    rig.chain.block = moving  # type: ignore[assignment, method-assign]
    with pytest.raises(ChainError):
        rig.worker.indexer.run_once()
    assert projection(rig) == before
    rig.chain.block = honest  # type: ignore[method-assign]
    rig.worker.indexer.run_once()
    assert projection(rig) != before


def reorganisations(rig: Rig) -> int:
    with rig.records.read() as unit:
        return sum(each.announcement.kind == "chain.reorganised" for each in unit.stream.newest(1000))


def test_a_head_that_lags_is_waited_for(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.admit_networks()
    rig.chain.mine(3)
    indexer = rig.worker.indexer
    indexer.run_once()
    before = projection(rig)
    lagging = rig.chain.block(rig.chain.head().number - 2)
    for _ in range(3):
        # The head comes back in between, so that the waits do not add up.
        with monkeypatch.context() as patch:
            patch.setattr(rig.chain, "head", lambda: lagging)
            assert indexer.run_once() is False
            rig.clock.unix_s += RESTORED_AFTER_S - 1
            assert indexer.run_once() is False
        assert indexer.run_once() is False
    assert projection(rig) == before
    rig.chain.mine()
    assert indexer.run_once() is True
    assert reorganisations(rig) == 0


def test_a_chain_restored_to_an_earlier_height_is_read_again(rig: Rig, tmp_path: Path) -> None:
    rig.admit_networks()
    indexer = rig.worker.indexer
    indexer.run_once()
    rig.chain.restore(2)
    assert indexer.run_once() is False
    rig.clock.unix_s += RESTORED_AFTER_S
    assert indexer.run_once() is True
    assert reorganisations(rig) == 1
    assert projection(rig) == projection_from_scratch(rig, tmp_path / "fresh")


def test_a_restored_chain_that_grows_past_its_old_height_is_noticed_at_once(rig: Rig) -> None:
    rig.admit_networks()
    indexer = rig.worker.indexer
    indexer.run_once()
    rig.chain.restore(2)
    assert indexer.run_once() is False
    rig.chain.mine(2)
    assert indexer.run_once() is True
    assert reorganisations(rig) == 1


def test_two_indexers_do_not_apply_the_same_blocks_twice(rig: Rig) -> None:
    rig.admit_networks()
    first, second = rig.worker.indexer, rig.new_worker().indexer
    rig.chain.mine()
    head = rig.chain.head()
    with rig.records.read() as unit:
        last = unit.projection.last_block()
    (batch,) = list(second._read(last, head))
    first.run_once()
    with pytest.raises(ChainError):
        second._apply(batch, last)
    assert second.run_once() is False


def steps_of_a_round(rig: Rig) -> Iterator[str]:
    """Plays a round, and stops wherever something was just indexed."""
    rig.start_task()
    rig.round_in("training")
    yield "training"
    rig.propose_all()
    rig.turn()
    yield "proposed"
    rig.commit_all()
    rig.turn()
    yield "committed"
    rig.reveal_all()
    rig.turn()
    yield "revealed"
    rig.attest_all()
    rig.turn()
    yield "attested"
    rig.round_in("final")
    yield "final"


@pytest.mark.parametrize("depth", [1, 2, 5, 10])
def test_a_rewind_in_any_phase_leaves_the_tables_of_an_index_from_scratch(
    rig: Rig, tmp_path: Path, depth: int
) -> None:
    for step in steps_of_a_round(rig):
        blocks, pool = list(rig.chain._blocks), dict(rig.chain._pool)
        rig.chain.reorganise(min(depth, rig.chain.head().number - 1))
        rig.worker.indexer.run_once()
        assert projection(rig) == projection_from_scratch(rig, tmp_path / step), step
        # The first chain wins after all, so that the round goes on.
        rig.chain._blocks, rig.chain._pool = blocks, pool
        rig.chain.mine(3)
        rig.worker.indexer.run_once()
        assert projection(rig) == projection_from_scratch(rig, tmp_path / f"{step} again"), step
    rig.play_round(2)
    with rig.records.read() as unit:
        (task,) = unit.projection.tasks()
    assert task.rounds_closed == 2


def test_a_rebuild_gives_the_same_tables(rig: Rig) -> None:
    rig.start_task()
    rig.play_round(1)
    before = projection(rig)
    with rig.records.read() as unit:
        intents = unit.outbox.settled_from_block(0)
    rig.worker.indexer.rebuild()
    assert projection(rig) == before
    with rig.records.read() as unit:
        assert unit.outbox.settled_from_block(0) == intents, "what is mined stays so"


def test_a_rewind_reads_no_block_from_before_the_fork_but_those_that_find_it(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.start_task()
    rig.play_round(1)
    asked: list[int] = []
    honest = rig.chain.events

    def counted(first_block: int, last_block: int) -> Sequence[IndexedEvent]:
        asked.append(first_block)
        return honest(first_block, last_block)

    fork = rig.chain.head().number - 3
    rig.chain.reorganise(3)
    monkeypatch.setattr(rig.chain, "events", counted)
    rig.worker.indexer.run_once()
    assert asked == [fork + 1]


def test_a_rewind_that_dies_changes_nothing(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.start_task()
    rig.propose_all()
    rig.turn()
    before = projection(rig)
    rig.chain.reorganise(4)

    def dies(*_: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(Indexer, "_reopen", dies)
        with pytest.raises(ZeroDivisionError):
            rig.worker.indexer.run_once()
    assert projection(rig) == before
    assert rig.worker.indexer.run_once() is True
    assert projection(rig) != before


def test_what_is_delivered_twice_counts_once(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    honest = rig.chain.events

    def twice(first_block: int, last_block: int) -> Sequence[IndexedEvent]:
        found = honest(first_block, last_block)
        return [*reversed(found), *found]

    with monkeypatch.context() as patch:
        patch.setattr(rig.chain, "events", twice)
        rig.start_task()
        rig.play_round(1)
    assert projection(rig) == projection_from_scratch(rig, tmp_path / "fresh")


def test_one_log_with_two_meanings_is_refused(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.admit_networks()
    rig.worker.indexer.run_once()
    rig.chain.stake(NETWORKS[0].address, 5)
    before = projection(rig)
    honest = rig.chain.events

    def contradicting(first_block: int, last_block: int) -> Sequence[IndexedEvent]:
        found = honest(first_block, last_block)
        return [*found, *(replace(each, event=StakeDeposited(NETWORKS[0].address, 9, 9)) for each in found)]

    monkeypatch.setattr(rig.chain, "events", contradicting)
    with pytest.raises(ChainError, match="two meanings"):
        rig.worker.indexer.run_once()
    assert projection(rig) == before


def test_what_is_shown_is_final_when_its_block_is(rig: Rig) -> None:
    rig.start_task()
    rig.play_round(1)
    rig.worker.indexer.run_once()
    shown = rig.get("/v1/tasks/1/rounds/1")
    assert (shown["phase"], shown["final"]) == ("final", False)
    rig.chain.mine(RULES.confirmations)
    rig.worker.indexer.run_once()
    assert rig.get("/v1/tasks/1/rounds/1")["final"] is True
    assert rig.get("/v1/tasks/1/rounds/1")["phase"] == "final"
    rig.chain.stake(NETWORKS[0].address, 5)
    rig.worker.indexer.run_once()
    staked = {node["node"]: node["final"] for node in rig.get("/v1/nodes")["items"]}
    assert staked == {network.address: network != NETWORKS[0] for network in NETWORKS}


def test_a_reorganisation_below_what_was_final_is_undone_too(
    rig: Rig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rig.admit_networks()
    for _ in range(RULES.confirmations + 1):
        rig.turn()
    with rig.records.read() as unit:
        assert all(intent.status is IntentStatus.FINAL for intent in unit.outbox.settled_from_block(0))
    rig.chain.reorganise(rig.chain.head().number - 1)
    rig.worker.indexer.run_once()
    assert "confirmations are too few" in caplog.text
    assert projection(rig) == projection_from_scratch(rig, tmp_path / "fresh")
    rig.turn_until(lambda: len(rig.get("/v1/nodes")["items"]) == len(NETWORKS))


def test_an_intent_in_a_block_that_left_the_chain_unindexed_is_noticed(rig: Rig) -> None:
    rig.admit_networks()
    rig.worker.indexer.run_once()
    rig.order_task()
    rig.worker.outbox.run_once()
    rig.chain.mine()
    rig.worker.outbox.run_once()
    # The outbox saw the block; the indexer did not.
    rig.chain.reorganise(1)
    rig.worker.indexer.run_once()
    rig.turn_until(lambda: rig.chain.state.tasks)
