"""Messages of one round that wait together ride in one transaction; each settles by itself."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from contracts.events import Proposed
from orchestrator.domain.outbox import Intent, IntentStatus
from tests.integration.databases import Databases
from tests.integration.orchestrator_chain_double import GAS, MOST_IN_A_BATCH
from tests.integration.orchestrator_double_rig import DOMAIN, Rig
from tests.integration.orchestrator_rig import BY_ADDRESS


@pytest.fixture
def rig(tmp_path: Path, databases: Databases) -> Iterator[Rig]:
    rig = Rig(tmp_path, databases.new(tmp_path))
    yield rig
    rig.close()


def proposals(rig: Rig) -> list[Intent]:
    """The round's proposals, in the order in which they were queued."""
    with rig.records.read() as unit:
        found = [unit.outbox.by_id(number) for number in range(1, 100)]
    return [each for each in found if each is not None and each.key.startswith("proposal")]


def broadcast_proposals(rig: Rig) -> Any:
    """All proposals are in the pool, and no block is made yet."""
    rig.start_task()
    state = rig.propose_all()
    rig.worker.outbox.run_once()
    return state


def end(rig: Rig) -> None:
    for _ in range(8):
        rig.turn()


def test_what_waits_together_is_one_transaction_and_settles_apart(rig: Rig) -> None:
    broadcast_proposals(rig)
    assert rig.chain.pool_size == 1
    rig.chain.mine()
    rig.worker.run_once()
    mined = proposals(rig)
    assert [each.status for each in mined] == [IntentStatus.MINED] * MOST_IN_A_BATCH
    assert [each.position for each in mined] == list(range(MOST_IN_A_BATCH))
    assert len({each.transaction_hash for each in mined}) == 1
    assert rig.get("/v1/tasks/1/rounds/1")["gas"]["proposal"] == MOST_IN_A_BATCH * GAS


def test_what_does_not_fit_goes_into_the_next_transaction(rig: Rig) -> None:
    rig.start_task()
    rig.propose_all()
    rig.commit_all()
    rig.worker.outbox.run_once()
    assert rig.chain.pool_size == 2, "four commits, three fit"


def test_a_message_that_the_batch_skips_is_refused_with_its_reason(rig: Rig) -> None:
    state = broadcast_proposals(rig)
    node = state["proposers"][1]
    # Somebody else relayed it first, in the same block.
    rig.chain.state.tasks[1].rounds[-1].proposals[node] = "0x" + "00" * 32
    rig.chain.mine()
    rig.worker.outbox.run_once()
    first, second, third = proposals(rig)
    assert [each.status for each in (first, third)] == [IntentStatus.MINED] * 2
    assert (second.status, second.error) == (IntentStatus.REFUSED, "AlreadySent")
    assert rig.get(f"/v1/intents/{second.id}")["final"] is False
    rig.turn()
    end(rig)
    assert rig.get(f"/v1/intents/{second.id}")["final"] is True


def test_a_message_that_the_contract_refuses_now_is_left_out(rig: Rig) -> None:
    rig.start_task()
    state = rig.round_in("training")
    node = BY_ADDRESS[state["proposers"][0]]
    rig.put(node.adapter(1))
    rig.post("/v1/tasks/1/rounds/1/proposals", node.proposal(DOMAIN, state))
    rig.chain.state.tasks[1].rounds[-1].proposals[node.address] = "0x" + "00" * 32
    other = BY_ADDRESS[state["proposers"][1]]
    rig.put(other.adapter(1))
    rig.post("/v1/tasks/1/rounds/1/proposals", other.proposal(DOMAIN, state))
    rig.worker.outbox.run_once()
    refused, sent = proposals(rig)
    assert (refused.status, refused.error, refused.is_final) == (IntentStatus.REFUSED, "AlreadySent", True)
    assert (sent.status, sent.position) == (IntentStatus.SENT, 0)


def test_a_message_that_ran_out_of_gas_in_a_batch_goes_alone(rig: Rig) -> None:
    rig.chain.starves_batches = True
    broadcast_proposals(rig)
    rig.chain.mine()
    rig.worker.outbox.run_once()
    first, second, third = proposals(rig)
    assert [each.status for each in (first, second)] == [IntentStatus.MINED] * 2
    assert (third.status, third.attempts) == (IntentStatus.QUEUED, 2)
    end(rig)
    assert [each.is_on_chain for each in proposals(rig)] == [True] * 3
    assert sum(isinstance(event, Proposed) for event in rig.chain.all_events) == 3


@pytest.mark.parametrize("depth", [1, 3, 10])
def test_a_batch_that_left_its_block_is_sent_again_with_the_same_bytes(rig: Rig, depth: int) -> None:
    broadcast_proposals(rig)
    rig.chain.mine()
    rig.worker.outbox.run_once()
    before = proposals(rig)
    rig.chain.mine(depth - 1)
    rig.worker.indexer.run_once()
    rig.chain.reorganise(depth)
    rig.worker.indexer.run_once()
    assert [each.status for each in proposals(rig)] == [IntentStatus.REORGED] * 3
    end(rig)
    after = proposals(rig)
    assert [each.status for each in after] == [IntentStatus.FINAL] * 3
    assert [each.transaction_hash for each in after] == [each.transaction_hash for each in before]
    assert sum(isinstance(event, Proposed) for event in rig.chain.all_events) == 3
