"""One behaviour for the chain behind the ports: the double of the other tests, and a real Anvil."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from eth_account import Account

from contracts.deployment import Deployment
from contracts.events import (
    Approved,
    NodeAdmitted,
    NodeReturned,
    SignerRotated,
    TaskCancelled,
    TaskCreated,
    TaskEnded,
    TaskPauseChanged,
)
from contracts.messages import Approval, Exit, Return, Reveal, Rotation
from contracts.task_config import TaskConfig
from orchestrator.adapters.chain import open_lanes, open_reader
from orchestrator.adapters.chain.deploy import deploy
from orchestrator.domain.chain import (
    AdmitNode,
    Advance,
    Call,
    CallRefused,
    CancelTask,
    ChainError,
    ChainReader,
    Claim,
    CreateTask,
    ExecuteSlash,
    FundTask,
    NonceUsed,
    PauseTask,
    Refund,
    RelayApproval,
    RelayExit,
    RelayReturn,
    RelayReveal,
    RelayRotation,
    RequestRound,
    UnpauseTask,
    WaiveSlash,
    Withdraw,
)
from orchestrator.domain.outbox import replacement_fees
from orchestrator.domain.ports import Lanes
from tests.chain.anvil import RICH_KEYS, Anvil, running_anvil
from tests.integration.orchestrator_chain_double import ChainDouble, LanesDouble
from tests.integration.orchestrator_double_rig import DEPLOYMENT
from tests.integration.orchestrator_rig import NETWORKS, task_spec, terms_of

CONFIG = TaskConfig(**terms_of(task_spec()))
SECONDS_TILL_EXPIRY = 10**9


@dataclass(frozen=True)
class Chain:
    """A chain whose blocks a test makes."""

    reader: ChainReader
    lanes: Lanes
    mine: Callable[[], None]
    reorganise: Callable[[int], None]
    set_base_fee: Callable[[int], object]
    first_block: int
    deployment: Deployment


@pytest.fixture(scope="module")
def anvil(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Anvil]:
    with running_anvil(tmp_path_factory.mktemp("ports") / "anvil.log") as running:
        yield running


def real_chain(anvil: Anvil, folder: Path) -> Chain:
    anvil.ask("evm_setAutomine", True)
    council = str(Account.from_key(RICH_KEYS[0]).address)
    deployment = deploy(anvil.rpc_url, RICH_KEYS[0], council)
    anvil.ask("evm_setAutomine", False)
    files = []
    for name, key in (("council", RICH_KEYS[0]), ("relayer", RICH_KEYS[1])):
        files.append(folder / name)
        files[-1].touch(mode=0o600)
        files[-1].write_text(key)
    return Chain(
        reader=open_reader(anvil.rpc_url, deployment),
        lanes=open_lanes(anvil.rpc_url, deployment, council_key_file=files[0], relayer_key_file=files[1]),
        mine=anvil.mine,
        reorganise=lambda depth: anvil.ask("anvil_reorg", depth, []),
        set_base_fee=lambda wei: anvil.ask("anvil_setNextBlockBaseFeePerGas", hex(wei)),
        first_block=deployment.block,
        deployment=deployment,
    )


@pytest.fixture(params=["double", "anvil"])
def chain(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Chain]:
    if request.param == "anvil":
        running: Anvil = request.getfixturevalue("anvil")
        yield real_chain(running, tmp_path)
        running.ask("anvil_dropAllTransactions")
        return
    double = ChainDouble()
    double.mine()
    lanes = LanesDouble.of(double)
    yield Chain(
        double, lanes, double.mine, double.reorganise, partial(setattr, double, "base_fee_wei"), 1, DEPLOYMENT
    )


def admission(index: int) -> AdmitNode:
    return AdmitNode(NETWORKS[index].address, NETWORKS[index].address, index + 1)


def test_a_transaction_from_signing_to_its_event(chain: Chain) -> None:
    lane = chain.lanes.for_call(admission(0))
    nonce = lane.next_nonce()
    signed = lane.sign(admission(0), nonce)
    assert signed.nonce == nonce
    assert lane.receipt(signed.hash) is None
    lane.broadcast(signed)
    assert lane.receipt(signed.hash) is None
    assert lane.next_nonce() == nonce
    chain.mine()
    receipt = lane.receipt(signed.hash)
    assert receipt is not None
    assert (receipt.succeeded, receipt.gas_used > 0) == (True, True)
    assert lane.next_nonce() == nonce + 1

    head = chain.reader.head()
    assert receipt.block_number == head.number
    (indexed,) = chain.reader.events(chain.first_block, head.number)
    assert indexed.event == NodeAdmitted(NETWORKS[0].address, NETWORKS[0].address, 1)
    assert (indexed.block_number, indexed.block_hash) == (head.number, head.hash)
    assert indexed.transaction_hash == signed.hash


def test_broadcasting_twice_is_one_transaction(chain: Chain) -> None:
    lane = chain.lanes.for_call(admission(0))
    signed = lane.sign(admission(0), lane.next_nonce())
    lane.broadcast(signed)
    lane.broadcast(signed)
    chain.mine()
    lane.broadcast(signed)
    chain.mine()
    assert len(chain.reader.events(chain.first_block, chain.reader.head().number)) == 1


def test_signing_sees_what_waits_in_the_pool(chain: Chain) -> None:
    lane = chain.lanes.for_call(CreateTask(CONFIG))
    nonce = lane.next_nonce()
    lane.broadcast(lane.sign(admission(0), nonce))
    with pytest.raises(CallRefused, match="NodeKnown"):
        lane.sign(admission(0), nonce + 1)
    lane.broadcast(lane.sign(CreateTask(CONFIG), nonce + 1))
    chain.mine()
    events = [each.event for each in chain.reader.events(chain.first_block, chain.reader.head().number)]
    assert events == [
        NodeAdmitted(NETWORKS[0].address, NETWORKS[0].address, 1),
        TaskCreated(1, CONFIG.spec_digest, CONFIG),
    ]


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (RequestRound(1), "NotEnoughEligible"),
        (RequestRound(7), "TaskUnknown"),
        (Advance(1), "NoOpenRound"),
        (FundTask(7, 1), "TaskUnknown"),
    ],
)
def test_refusals_carry_the_reason(
    chain: Chain, call: RequestRound | Advance | FundTask, reason: str
) -> None:
    council = chain.lanes.for_call(CreateTask(CONFIG))
    council.broadcast(council.sign(CreateTask(CONFIG), council.next_nonce()))
    chain.mine()
    lane = chain.lanes.for_call(call)
    with pytest.raises(CallRefused) as refused:
        lane.sign(call, lane.next_nonce())
    assert refused.value.reason == reason
    assert chain.reader.is_due(1) is False


def test_a_nonce_that_another_transaction_took(chain: Chain) -> None:
    lane = chain.lanes.for_call(admission(0))
    nonce = lane.next_nonce()
    late, first = lane.sign(admission(0), nonce), lane.sign(admission(1), nonce)
    lane.broadcast(first)
    chain.mine()
    with pytest.raises(NonceUsed):
        lane.broadcast(late)
    assert lane.receipt(late.hash) is None


def test_the_relayer_sends_what_nodes_signed(chain: Chain) -> None:
    council, node = chain.lanes.for_call(admission(0)), NETWORKS[0].address
    for call in (admission(0), CreateTask(CONFIG)):
        council.broadcast(council.sign(call, council.next_nonce()))
        chain.mine()
    approval = Approval(
        node=node,
        task=1,
        spec_digest=CONFIG.spec_digest,
        policy_digest=CONFIG.spec_digest,
        nonce=0,
        expiry_unix_s=chain.reader.head().timestamp_unix_s + SECONDS_TILL_EXPIRY,
    )
    call = RelayApproval(approval, approval.sign(chain.deployment.tasks_domain, NETWORKS[0].key))
    relayer = chain.lanes.for_call(call)
    assert relayer.sender != council.sender
    relayer.broadcast(relayer.sign(call, relayer.next_nonce()))
    chain.mine()
    with pytest.raises(CallRefused, match="InvalidAccountNonce"):
        relayer.sign(call, relayer.next_nonce())
    last = chain.reader.events(chain.first_block, chain.reader.head().number)[-1]
    assert last.event == Approved(1, node, CONFIG.spec_digest)


def test_what_a_node_says_of_its_stake_and_key_is_relayed(chain: Chain) -> None:
    council, node = chain.lanes.for_call(admission(0)), NETWORKS[0].address
    council.broadcast(council.sign(admission(0), council.next_nonce()))
    chain.mine()
    expiry_unix_s = chain.reader.head().timestamp_unix_s + SECONDS_TILL_EXPIRY
    domain, key = chain.deployment.registry_domain, NETWORKS[0].key
    header = {"node": node, "expiry_unix_s": expiry_unix_s}
    leaving = Exit(**header, amount=5, nonce=0)
    back = Return(**header, nonce=0)
    rotation = Rotation(**header, signer=NETWORKS[1].address, nonce=1)
    relayer = chain.lanes.for_call(RelayReturn(back, ""))
    with pytest.raises(CallRefused, match="InsufficientStake"):
        relayer.sign(RelayExit(leaving, leaving.sign(domain, key)), relayer.next_nonce())
    for call in (
        RelayReturn(back, back.sign(domain, key)),
        RelayRotation(rotation, rotation.sign(domain, key)),
    ):
        relayer.broadcast(relayer.sign(call, relayer.next_nonce()))
        chain.mine()
    found = [each.event for each in chain.reader.events(chain.first_block, chain.reader.head().number)]
    assert found[1:] == [NodeReturned(node), SignerRotated(node, NETWORKS[1].address)]


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (Withdraw(NETWORKS[0].address), "NothingMature"),
        (Claim(NETWORKS[0].address), "NothingToClaim"),
        (WaiveSlash(0), "SlashUnknown"),
        (ExecuteSlash(0), "SlashUnknown"),
        (UnpauseTask(1), "TaskNotPaused"),
        (Refund(1, NETWORKS[0].address), "TaskNotOver"),
    ],
)
def test_what_cannot_be_done_now_is_refused_by_name(chain: Chain, call: Call, reason: str) -> None:
    council = chain.lanes.for_call(admission(0))
    for setting in (admission(0), CreateTask(CONFIG)):
        council.broadcast(council.sign(setting, council.next_nonce()))
        chain.mine()
    lane = chain.lanes.for_call(call)
    with pytest.raises(CallRefused) as refused:
        lane.sign(call, lane.next_nonce())
    assert refused.value.reason == reason


def test_a_task_is_paused_goes_on_and_ends(chain: Chain) -> None:
    council = chain.lanes.for_call(CreateTask(CONFIG))
    for call in (CreateTask(CONFIG), PauseTask(1), UnpauseTask(1), CancelTask(1)):
        council.broadcast(council.sign(call, council.next_nonce()))
        chain.mine()
    found = [each.event for each in chain.reader.events(chain.first_block, chain.reader.head().number)]
    assert found[1:] == [
        TaskPauseChanged(1, True),
        TaskPauseChanged(1, False),
        TaskCancelled(1),
        TaskEnded(1, 0),
    ]
    with pytest.raises(CallRefused, match="TaskOver"):
        council.sign(PauseTask(1), council.next_nonce())


def test_blocks_link_and_unknown_ones_are_errors(chain: Chain) -> None:
    chain.mine()
    chain.mine()
    head = chain.reader.head()
    assert chain.reader.block(head.number) == head
    before = chain.reader.block(head.number - 1)
    assert head.parent_hash == before.hash
    assert head.timestamp_unix_s >= before.timestamp_unix_s
    for ask in (
        lambda: chain.reader.block(head.number + 50),
        lambda: chain.reader.events(head.number, head.number + 50),
    ):
        with pytest.raises(ChainError):
            ask()


def test_a_reorganisation_takes_events_and_receipts_away(chain: Chain) -> None:
    chain.mine()
    lane = chain.lanes.for_call(admission(0))
    signed = lane.sign(admission(0), lane.next_nonce())
    lane.broadcast(signed)
    chain.mine()
    before = chain.reader.head()
    chain.reorganise(1)
    chain.mine()
    after = chain.reader.block(before.number)
    assert after.hash != before.hash
    events = chain.reader.events(chain.first_block, chain.reader.head().number)
    # A node may put the transaction back into its pool or forget it; the old block's are gone either way.
    assert all(indexed.block_hash != before.hash for indexed in events)
    receipt = lane.receipt(signed.hash)
    assert (receipt is None) == (not events)


def test_a_replacement_takes_the_place_of_what_fees_outgrew(chain: Chain) -> None:
    lane = chain.lanes.for_call(admission(0))
    nonce = lane.next_nonce()
    first = lane.sign(admission(0), nonce)
    lane.broadcast(first)
    assert lane.knows(first.hash)
    chain.set_base_fee(4 * first.fees.most_wei)
    chain.mine()
    assert lane.receipt(first.hash) is None
    fees = replacement_fees(first.fees, lane.market(), 10**15)
    assert fees is not None
    second = lane.replacement(first, fees)
    lane.broadcast(second)
    chain.mine()
    receipt = lane.receipt(second.hash)
    assert receipt is not None
    assert lane.receipt(first.hash) is None
    assert chain.reader.block(receipt.block_number).hash == receipt.block_hash
    assert (lane.next_nonce(), lane.nonce_at(receipt.block_number - 1)) == (nonce + 1, nonce)
    assert len(chain.reader.events(chain.first_block, chain.reader.head().number)) == 1


def test_a_batch_of_calls_that_are_all_refused_is_no_transaction(chain: Chain) -> None:
    reveal = Reveal(
        node=NETWORKS[0].address,
        task=1,
        round=1,
        context="0x" + "00" * 16,
        scores_micronats=(),
        salt="0x" + "00" * 32,
    )
    council = chain.lanes.for_call(CreateTask(CONFIG))
    council.broadcast(council.sign(CreateTask(CONFIG), council.next_nonce()))
    chain.mine()
    lane = chain.lanes.for_call(RelayReveal(reveal))
    batch = lane.sign_batch([RelayReveal(reveal)] * 2, lane.next_nonce())
    assert (batch.transaction, batch.taken) == (None, ())
    assert batch.refused == {0: "WrongPhase", 1: "WrongPhase"}
