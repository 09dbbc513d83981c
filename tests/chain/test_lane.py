"""The sending accounts: refusals by name, harmless repeats, nonces taken by others."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from contracts import abi
from contracts.digests import ZERO_DIGEST
from contracts.messages import Commit
from orchestrator.adapters.chain import open_lanes
from orchestrator.domain.chain import (
    AdmitNode,
    Advance,
    CallRefused,
    ChainError,
    CreateTask,
    Fees,
    FundTask,
    NonceUsed,
    RelayCommit,
    RequestRound,
    SignedTransaction,
)
from tests.chain.anvil import Anvil
from tests.chain.world import DEFAULT_CONFIG, TOKEN, World


@pytest.fixture(scope="module")
def world(anvil: Anvil, tmp_path_factory: pytest.TempPathFactory) -> World:
    return World.build(anvil, tmp_path_factory.mktemp("lane"))


@pytest.fixture
def paused_mining(anvil: Anvil) -> Iterator[Callable[[], None]]:
    """Transactions wait until the returned function seals a block."""
    anvil.ask("evm_setAutomine", False)
    yield lambda: anvil.ask("evm_mine")
    anvil.ask("evm_setAutomine", True)
    anvil.mine()


def test_a_refused_call_names_the_custom_error(world: World) -> None:
    relayer, council = world.lanes.relayer, world.lanes.council
    node = next(iter(world.nodes))
    task = world.create_task()
    number = world.open_round(task)
    commit = Commit(node=node, task=task, round=number, context="0x" + "00" * 16, commitment=ZERO_DIGEST)
    for lane, call, reason in (
        (relayer, Advance(task), "NotDue"),
        (relayer, RequestRound(task), "RoundOpen"),
        (relayer, AdmitNode(node, node, 1), "OwnableUnauthorizedAccount"),
        (council, AdmitNode(node, node, 1), "NodeKnown"),
        (council, CreateTask(replace(DEFAULT_CONFIG, rounds=0)), "InvalidConfig"),
        (council, FundTask(99, 1), "TaskUnknown"),
        (council, FundTask(task, 10**9 * TOKEN), "ERC20InsufficientAllowance"),
        (relayer, RelayCommit(commit, "0x" + "11" * 65), "WrongPhase"),
    ):
        with pytest.raises(CallRefused) as refusal:
            lane.sign(call, lane.next_nonce())
        assert refusal.value.reason == reason


def test_arguments_that_do_not_fit_are_refused_for_good(world: World) -> None:
    node = next(iter(world.nodes))
    for call in (AdmitNode(node, node, 1 << 64), AdmitNode("0x12", node, 1), FundTask(1, -1)):
        with pytest.raises(CallRefused, match="do not fit"):
            world.lanes.council.sign(call, 0)


def test_the_council_lane_sends_what_only_the_council_may(world: World) -> None:
    lanes = world.lanes
    assert lanes.for_call(CreateTask(DEFAULT_CONFIG)) is lanes.council
    assert lanes.for_call(FundTask(1, 1)) is lanes.council
    assert lanes.for_call(AdmitNode("", "", 1)) is lanes.council
    assert lanes.for_call(Advance(1)) is lanes.relayer
    assert lanes.council.sender != lanes.relayer.sender


def test_broadcasting_twice_is_harmless(world: World, paused_mining: Callable[[], None]) -> None:
    lane = world.lanes.council
    before = world.tasks.functions.taskCount().call()
    call = CreateTask(replace(DEFAULT_CONFIG, spec_digest="0x" + "11" * 32, genesis_digest="0x" + "22" * 32))
    nonce = lane.next_nonce()
    transaction = lane.sign(call, nonce)
    lane.broadcast(transaction)
    lane.broadcast(transaction)
    assert lane.receipt(transaction.hash) is None
    assert lane.next_nonce() == nonce
    paused_mining()
    receipt = world.receipt(transaction)
    assert receipt.succeeded
    assert receipt.transaction_hash == transaction.hash
    assert receipt.gas_used > 21_000
    lane.broadcast(transaction)
    assert lane.next_nonce() == nonce + 1
    assert world.tasks.functions.taskCount().call() == before + 1


def test_a_nonce_that_another_transaction_took_is_said(world: World) -> None:
    lane = world.lanes.council
    config = replace(DEFAULT_CONFIG, spec_digest="0x" + "33" * 32, genesis_digest="0x" + "44" * 32)
    nonce = lane.next_nonce()
    late = lane.sign(CreateTask(replace(config, rounds=7)), nonce)
    first = lane.sign(CreateTask(config), nonce)
    assert late.hash != first.hash
    lane.broadcast(first)
    assert world.receipt(first).succeeded
    with pytest.raises(NonceUsed):
        lane.broadcast(late)


def test_a_reverted_transaction_has_a_receipt_that_says_so(
    world: World, paused_mining: Callable[[], None]
) -> None:
    task = world.tasks.functions.taskCount().call() + 1
    spec = "0x" + "55" * 32
    council = world.lanes.council
    create = CreateTask(replace(DEFAULT_CONFIG, spec_digest=spec, genesis_digest=spec))
    council.broadcast(council.sign(create, council.next_nonce()))
    paused_mining()
    nonce = council.next_nonce()
    # Both pass the estimate while the pool's allowance is there; the second finds it used up.
    token = world.web3.eth.contract(address=world.deployment.token, abi=abi.load("TestToken").abi)
    allowance = token.functions.allowance(council.sender, world.deployment.tasks).call()
    both = [council.sign(FundTask(task, allowance), nonce + n) for n in range(2)]
    for transaction in both:
        council.broadcast(transaction)
    paused_mining()
    assert [world.receipt(transaction).succeeded for transaction in both] == [True, False]


def test_a_dead_or_foreign_endpoint_is_a_chain_error(world: World, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.touch(mode=0o600)
    key.write_text("0x" + "12" * 32)
    foreign = world.deployment.model_copy(update={"chain_id": 1})
    for url, deployment, words in (
        ("http://127.0.0.1:1", world.deployment, "failed"),
        (world.anvil.rpc_url, foreign, "chain 31337"),
    ):
        lane = open_lanes(url, deployment, relayer_key_file=key, council_key_file=key).relayer
        with pytest.raises(ChainError, match=words):
            lane.next_nonce()
        with pytest.raises(ChainError, match=words):
            lane.broadcast(SignedTransaction(hash="0x" + "00" * 32, raw=b"\x02", nonce=0, fees=Fees(1, 1)))


def test_garbage_is_refused_without_a_word_on_nonces(world: World) -> None:
    lane = world.lanes.relayer
    garbage = SignedTransaction("0x" + "ab" * 32, b"\x02\x01", lane.next_nonce(), Fees(1, 1))
    with pytest.raises(ChainError) as refusal:
        lane.broadcast(garbage)
    assert not isinstance(refusal.value, NonceUsed)
