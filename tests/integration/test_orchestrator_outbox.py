"""The outbox killed between any two steps: every intent has exactly one effect on chain."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from contracts.events import Approved, TaskCreated, TaskFunded
from contracts.messages import Approval
from orchestrator.domain.chain import AdmitNode, ChainError, CreateTask, FundTask, RelayApproval
from orchestrator.domain.errors import Conflict
from orchestrator.domain.outbox import IntentStatus
from orchestrator.services.outbox import OutboxProcessor
from tests.integration.databases import Databases, open_quick_records
from tests.integration.orchestrator_chain_double import GAS, LanesDouble, NodeOnDouble
from tests.integration.orchestrator_rig import NETWORKS
from tests.integration.outbox_rig import CONFIG, CONFIRMATIONS, Fuse, Killed, Setting, effects, queue_two


@pytest.fixture
def setting(tmp_path: Path, databases: Databases) -> Iterator[Setting]:
    records = open_quick_records(databases.new(tmp_path))
    yield Setting(records)
    records.close()


def steps_of_a_whole_life(folder: Path, databases: Databases) -> int:
    folder.mkdir()
    records = open_quick_records(databases.new(folder))
    fuse = Fuse()
    setting = Setting(records)
    queue_two(setting)
    setting.finish(setting.processor(fuse))
    records.close()
    return fuse.steps


def test_killed_at_any_step_each_intent_has_one_effect(tmp_path: Path, databases: Databases) -> None:
    steps = steps_of_a_whole_life(tmp_path / "whole", databases)
    assert steps > 20
    for burns_at in range(1, steps + 1):
        folder = tmp_path / str(burns_at)
        folder.mkdir()
        records = open_quick_records(databases.new(folder))
        setting = Setting(records)
        queue_two(setting)
        with pytest.raises(Killed):
            setting.finish(setting.processor(Fuse(burns_at)))
        # A block may be made while no process is there.
        setting.chain.mine(burns_at % 2)
        setting.finish(setting.processor())
        assert effects(setting, TaskCreated) == 2, f"killed at step {burns_at}"
        assert [intent.status for intent in setting.intents()] == [IntentStatus.FINAL] * 2
        records.close()


def test_killed_at_any_step_after_a_reorganisation_each_intent_has_one_effect(
    tmp_path: Path, databases: Databases
) -> None:
    burns_at, killed = 0, True
    while killed:
        burns_at += 1
        folder = tmp_path / str(burns_at)
        folder.mkdir()
        records = open_quick_records(databases.new(folder))
        setting = Setting(records)
        queue_two(setting)
        setting.settle(setting.processor())
        setting.chain.reorganise(setting.chain.head().number)
        setting.chain.mine(CONFIRMATIONS)
        try:
            setting.finish(setting.processor(Fuse(burns_at)))
            killed = False
        except Killed:
            setting.finish(setting.processor())
        assert effects(setting, TaskCreated) == 2, f"killed at step {burns_at}"
        assert [intent.status for intent in setting.intents()] == [IntentStatus.FINAL] * 2
        records.close()
    assert burns_at > 10


def test_a_mined_intent_is_final_only_when_its_block_is_deep_enough(setting: Setting) -> None:
    setting.queue("create_task:x", CreateTask(CONFIG))
    processor = setting.processor()
    setting.settle(processor)
    (mined,) = setting.intents()
    assert mined.block_number is not None
    while setting.chain.head().number < mined.block_number + CONFIRMATIONS:
        processor.run_once()
        (before,) = setting.intents()
        assert (before.status, before.is_final) == (IntentStatus.MINED, False)
        setting.chain.mine()
    processor.run_once()
    (after,) = setting.intents()
    assert (after.status, after.is_final) == (IntentStatus.FINAL, True)


def test_an_intent_that_left_its_block_is_sent_again_with_the_same_bytes(setting: Setting) -> None:
    setting.queue("create_task:x", CreateTask(CONFIG))
    processor = setting.processor()
    setting.settle(processor)
    (mined,) = setting.intents()
    stored = setting.transactions(mined)
    setting.chain.reorganise(setting.chain.head().number)
    setting.chain.mine(CONFIRMATIONS)
    processor.run_once()
    (reorged,) = setting.intents()
    assert (reorged.status, reorged.block_number, reorged.gas_used) == (IntentStatus.REORGED, None, 0)
    processor.run_once()
    (resent,) = setting.intents()
    assert (resent.status, resent.transaction_hash) == (IntentStatus.RESENT, mined.transaction_hash)
    setting.finish(processor)
    (final,) = setting.intents()
    assert (final.status, final.gas_used) == (IntentStatus.FINAL, mined.gas_used)
    assert setting.transactions(final) == stored
    assert effects(setting, TaskCreated) == 1


def test_a_reverted_transaction_keeps_its_place_in_the_lane_after_a_reorganisation(setting: Setting) -> None:
    node = NETWORKS[0].address
    setting.queue("admit:x", AdmitNode(node, node, 1))
    processor = setting.processor()
    processor.run_once()
    setting.chain._blocks[-1].state.nodes[node] = NodeOnDouble(node, 1)
    setting.settle(processor)
    del setting.chain._blocks[-1].state.nodes[node]
    # Asked for again, it rides in another slot: the first has no intent any more, and then loses its block.
    setting.queue("admit:x", AdmitNode(node, node, 1))
    processor.run_once()
    (again,) = setting.intents()
    assert (again.status, again.nonce) == (IntentStatus.SENT, 1)
    setting.chain.reorganise(setting.chain.head().number)
    setting.finish(processor)
    assert len(setting.chain.state.nodes) == 1
    assert setting.chain.next_nonce(LanesDouble.of(setting.chain).council.sender) == 2


def approval_of_task_1() -> RelayApproval:
    node = NETWORKS[0]
    message = Approval(
        node=node.address,
        task=1,
        spec_digest=CONFIG.spec_digest,
        policy_digest=CONFIG.spec_digest,
        nonce=0,
        expiry_unix_s=1 << 40,
    )
    return RelayApproval(message, "0x" + "00" * 65)


def approved_task(setting: Setting, processor: OutboxProcessor) -> int:
    """A node is admitted; a task is on chain, and its approval. The height before the task."""
    node = NETWORKS[0].address
    setting.queue("admit:x", AdmitNode(node, node, 1))
    setting.settle(processor)
    height = setting.chain.head().number
    setting.queue("create_task:x", CreateTask(CONFIG))
    setting.settle(processor)
    setting.queue("approval:x", approval_of_task_1())
    setting.settle(processor)
    return height


def test_an_approval_that_comes_back_before_its_task_is_sent_anew(setting: Setting) -> None:
    processor = setting.processor()
    height = approved_task(setting, processor)
    setting.chain.reorganise(setting.chain.head().number - height)
    setting.chain.mine(CONFIRMATIONS)
    # In one block: the relayer's account comes first there, and the council's task after it.
    setting.finish(processor)
    assert [intent.status for intent in setting.intents()] == [IntentStatus.FINAL] * 3
    approval = setting.intents()[-1]
    assert (approval.attempts, approval.gas_used) == (2, 2 * GAS)
    assert effects(setting, Approved) == effects(setting, TaskCreated) == 1


def test_an_approval_waits_for_its_task_to_come_back(setting: Setting) -> None:
    processor = setting.processor()
    height = approved_task(setting, processor)
    setting.chain.reorganise(setting.chain.head().number - height)
    setting.chain.mine(CONFIRMATIONS)
    processor.run_once()
    assert [intent.status for intent in setting.intents()[1:]] == [IntentStatus.REORGED] * 2
    processor.run_once()
    council = LanesDouble.of(setting.chain).council.sender
    for _ in range(3):
        # The node forgets the council's transaction again and again.
        for place in [place for place in setting.chain._pool if place[0] == council]:
            del setting.chain._pool[place]
        setting.chain.mine()
        processor.run_once()
        assert setting.intents()[-1].status is IntentStatus.QUEUED
    setting.finish(setting.processor())
    assert [intent.status for intent in setting.intents()] == [IntentStatus.FINAL] * 3
    assert effects(setting, Approved) == 1


def test_an_approval_that_reverts_because_it_was_there_already_is_refused_with_the_reason(
    setting: Setting,
) -> None:
    processor = setting.processor()
    node = NETWORKS[0].address
    setting.queue("admit:x", AdmitNode(node, node, 1))
    setting.queue("create_task:x", CreateTask(CONFIG))
    setting.settle(processor)
    setting.queue("approval:x", approval_of_task_1())
    processor.run_once()
    # Another program relays the same message in the block before.
    setting.chain._blocks[-1].state.message_nonces["tasks", node] = 1
    setting.settle(processor)
    refused = setting.intents()[-1]
    assert (refused.status, refused.error) == (IntentStatus.REFUSED, "InvalidAccountNonce")
    assert (refused.attempts, refused.is_final, refused.gas_used) == (2, True, GAS)


def test_a_payment_that_reverted_is_asked_again_only_when_that_is_final(setting: Setting) -> None:
    setting.queue("create_task:x", CreateTask(CONFIG))
    processor = setting.processor()
    setting.settle(processor)
    setting.queue("fund:x", FundTask(1, 5))
    processor.run_once()
    setting.chain._blocks[-1].state.tasks[1].is_over = True
    setting.settle(processor)
    setting.chain._blocks[-1].state.tasks[1].is_over = False
    payment = setting.queue("fund:x", FundTask(1, 5))
    assert (payment.status, payment.attempts) == (IntentStatus.REFUSED, 1)
    setting.finish(processor)
    assert setting.queue("fund:x", FundTask(1, 5)).attempts == 2
    setting.finish(processor)
    assert effects(setting, TaskFunded) == 1


def test_a_restart_sends_the_same_bytes(setting: Setting) -> None:
    setting.queue("create_task:x", CreateTask(CONFIG))
    with pytest.raises(Killed):
        # Dies after the signed bytes are stored, before they are sent.
        setting.settle(setting.processor(Fuse(burns_at=4)))
    (stored,) = setting.intents()
    assert stored.status is IntentStatus.SIGNED
    bytes_before = setting.transactions(stored)
    setting.settle(setting.processor())
    (mined,) = setting.intents()
    assert setting.transactions(mined) == bytes_before
    assert mined.transaction_hash == stored.transaction_hash
    assert mined.gas_used > 0


def test_a_node_that_forgets_its_pool_gets_the_same_bytes_again(setting: Setting) -> None:
    setting.queue("create_task:x", CreateTask(CONFIG))
    processor = setting.processor()
    processor.run_once()
    setting.chain.forget_pool()
    setting.settle(processor)
    assert effects(setting, TaskCreated) == 1


def test_several_intents_go_into_one_block(setting: Setting) -> None:
    setting.queue("create_task:x", CreateTask(CONFIG))
    setting.queue("fund:x", FundTask(1, 5))
    for network in NETWORKS:
        setting.queue(f"admit:{network.address}", AdmitNode(network.address, network.address, 1))
    setting.processor().run_once()
    setting.chain.mine()
    assert effects(setting, TaskFunded) == 1
    assert len(setting.chain.state.nodes) == len(NETWORKS)


def test_a_refused_call_is_recorded_with_its_reason_and_uses_no_nonce(setting: Setting) -> None:
    setting.queue("fund:x", FundTask(7, 5))
    setting.queue("create_task:x", CreateTask(CONFIG))
    setting.settle(setting.processor())
    refused, mined = setting.intents()
    assert (refused.status, refused.error, refused.nonce) == (IntentStatus.REFUSED, "TaskUnknown", None)
    assert (mined.status, mined.nonce) == (IntentStatus.MINED, 0)
    with setting.records.read() as unit:
        (event,) = unit.stream.newest(1)
    assert event.announcement.kind == "intent.refused"
    assert event.announcement.facts["reason"] == "TaskUnknown"


def test_a_call_that_reverts_in_its_block_is_refused_and_its_gas_counted(setting: Setting) -> None:
    node = NETWORKS[0].address
    setting.queue("admit:x", AdmitNode(node, node, 1))
    processor = setting.processor()
    processor.run_once()
    # Somebody else is first, in the same block.
    setting.chain._blocks[-1].state.nodes[node] = NodeOnDouble(node, 1)
    setting.settle(processor)
    (intent,) = setting.intents()
    assert (intent.status, intent.error) == (IntentStatus.REFUSED, "reverted in its block")
    assert intent.gas_used > 0


def test_a_refused_intent_may_be_asked_for_again(setting: Setting) -> None:
    setting.queue("fund:x", FundTask(1, 5))
    processor = setting.processor()
    setting.settle(processor)
    setting.queue("create_task:x", CreateTask(CONFIG))
    setting.settle(processor)
    setting.queue("fund:x", FundTask(1, 5))
    setting.settle(processor)
    assert effects(setting, TaskFunded) == 1
    assert setting.intents()[0].attempts == 2


def test_the_same_key_with_another_call_is_a_conflict_and_the_same_call_is_not(setting: Setting) -> None:
    first = setting.queue("fund:x", FundTask(1, 5))
    assert setting.queue("fund:x", FundTask(1, 5)).id == first.id
    with pytest.raises(Conflict):
        setting.queue("fund:x", FundTask(1, 6))


def test_a_nonce_taken_by_another_program_is_replaced(setting: Setting) -> None:
    setting.queue("create_task:x", CreateTask(CONFIG))
    processor = setting.processor()
    processor.run_once()
    setting.chain.forget_pool()
    setting.chain.use_nonce(LanesDouble.of(setting.chain).council.sender)
    setting.settle(processor)
    (intent,) = setting.intents()
    assert (intent.status, intent.nonce) == (IntentStatus.MINED, 1)
    assert effects(setting, TaskCreated) == 1


def test_two_workers_at_once_do_not_double_an_effect(setting: Setting) -> None:
    queue_two(setting)
    first, second = setting.processor(), setting.processor()
    with setting.records.read() as unit:
        seen = unit.outbox.queued()
    first.run_once()
    for intent in seen:
        # The second worker had read the intents before the first one signed them.
        with pytest.raises(Conflict):
            second._start([intent])
    setting.settle(second)
    assert effects(setting, TaskCreated) == 2


def test_a_node_that_is_down_delays_and_loses_nothing(setting: Setting) -> None:
    queue_two(setting)
    processor = setting.processor()
    setting.chain.broken = True
    with pytest.raises(ChainError):
        processor.run_once()
    setting.chain.broken = False
    setting.settle(processor)
    assert effects(setting, TaskCreated) == 2
