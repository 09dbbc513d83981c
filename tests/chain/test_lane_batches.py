"""What the sending accounts do for the outbox: batches, replacements, limits."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from contracts.events import Committed
from orchestrator.adapters.chain import LaneTerms, open_lanes
from orchestrator.domain.chain import (
    Advance,
    ChainError,
    CreateTask,
    NonceUsed,
    RelayCommit,
    RequestRound,
    TransactionLane,
)
from orchestrator.domain.outbox import replacement_fees
from tests.chain.anvil import Anvil
from tests.chain.world import DEFAULT_CONFIG, Script, World


@pytest.fixture(scope="module")
def world(anvil: Anvil, tmp_path_factory: pytest.TempPathFactory) -> World:
    return World.build(anvil, tmp_path_factory.mktemp("batches"))


@pytest.fixture
def paused_mining(anvil: Anvil) -> Iterator[Callable[[], None]]:
    """Transactions wait until the returned function seals a block."""
    anvil.ask("evm_setAutomine", False)
    yield lambda: anvil.ask("evm_mine")
    anvil.ask("evm_setAutomine", True)
    anvil.mine()


def test_a_batch_takes_what_fits_and_leaves_out_what_is_refused(
    world: World, paused_mining: Callable[[], None]
) -> None:
    world.anvil.ask("evm_setAutomine", True)
    task = world.create_task()
    number = world.open_round(task)
    world.propose_all(task, number, Script())
    world.close_phase(task)
    domain = world.deployment.rounds_domain
    commits = [reveal.commit() for reveal in world.reveals(task, number, Script())]
    signed = [RelayCommit(commit, commit.sign(domain, world.nodes[commit.node].key)) for commit in commits]
    wrong = RelayCommit(commits[0], signed[1].signature)
    world.anvil.ask("evm_setAutomine", False)
    lane = world.lanes.relayer
    calls = [wrong, *signed, signed[0]]
    batch = lane.sign_batch(calls, lane.next_nonce())
    assert batch.refused == {0: "WrongSignature"}
    assert batch.taken == tuple(range(1, len(calls)))
    assert batch.transaction is not None
    lane.broadcast(batch.transaction)
    paused_mining()
    receipt = world.receipt(batch.transaction)
    assert receipt.succeeded
    # The last repeats the first, which nobody could know before the batch ran.
    assert receipt.skipped == {len(batch.taken) - 1: "AlreadySent"}
    events = world.reader.events(receipt.block_number, receipt.block_number)
    assert sum(isinstance(each.event, Committed) for each in events) == len(signed)


def test_a_batch_is_capped_by_gas(world: World, tmp_path: Path) -> None:
    task = world.create_task()
    number = world.open_round(task)
    world.propose_all(task, number, Script())
    world.close_phase(task)
    domain = world.deployment.rounds_domain
    commits = [reveal.commit() for reveal in world.reveals(task, number, Script())]
    signed = [RelayCommit(commit, commit.sign(domain, world.nodes[commit.node].key)) for commit in commits]
    key = tmp_path / "key"
    key.touch(mode=0o600)
    key.write_text("0x" + "13" * 32)
    for most_batch_gas, count in ((1, 1), (170_000, 2), (8_000_000, len(signed))):
        lane = open_lanes(
            world.anvil.rpc_url,
            world.deployment,
            relayer_key_file=key,
            council_key_file=key,
            terms=LaneTerms(most_batch_gas=most_batch_gas),
        ).relayer
        batch = lane.sign_batch(signed, 0)
        assert (batch.taken, batch.refused) == (tuple(range(count)), {})


def test_a_transaction_that_fees_outgrew_is_replaced(world: World, paused_mining: Callable[[], None]) -> None:
    lane, anvil = world.lanes.council, world.anvil
    config = replace(DEFAULT_CONFIG, spec_digest="0x" + "66" * 32, genesis_digest="0x" + "77" * 32)
    before = world.tasks.functions.taskCount().call()
    nonce = lane.next_nonce()
    first = lane.sign(CreateTask(config), nonce)
    lane.broadcast(first)
    anvil.ask("anvil_setNextBlockBaseFeePerGas", hex(4 * first.fees.most_wei))
    paused_mining()
    assert lane.receipt(first.hash) is None
    fees = replacement_fees(first.fees, lane.market(), 10**15)
    assert fees is not None
    second = lane.replacement(first, fees)
    assert (second.nonce, second.fees) == (nonce, fees)
    lane.broadcast(second)
    assert lane.knows(second.hash)
    paused_mining()
    assert world.receipt(second).succeeded
    assert lane.receipt(first.hash) is None
    assert lane.next_nonce() == nonce + 1
    assert lane.nonce_at(world.web3.eth.block_number - 1) == nonce
    assert world.tasks.functions.taskCount().call() == before + 1
    with pytest.raises(NonceUsed):
        lane.broadcast(first)
    anvil.ask("anvil_setNextBlockBaseFeePerGas", hex(10**9))


def test_no_transaction_offers_more_than_the_limit(world: World, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.touch(mode=0o600)
    key.write_text("0x" + "14" * 32)
    task = world.create_task()
    world.send(RequestRound(task))
    world.anvil.mine(2)
    base_fee_wei = world.lanes.council.market().base_fee_wei

    def lane_up_to(most_fee_wei: int) -> TransactionLane:
        terms = LaneTerms(most_fee_wei=most_fee_wei)
        url, files = world.anvil.rpc_url, {"relayer_key_file": key, "council_key_file": key}
        return open_lanes(url, world.deployment, **files, terms=terms).relayer

    with pytest.raises(ChainError, match="above the limit"):
        lane_up_to(base_fee_wei - 1).sign(Advance(task), 0)
    assert lane_up_to(base_fee_wei + 5).sign(Advance(task), 0).fees.most_wei == base_fee_wei + 5
