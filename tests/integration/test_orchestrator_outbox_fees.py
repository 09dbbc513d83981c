"""Transactions that fees outgrew are replaced at their own nonce; whichever is mined settles the intent."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from contracts.events import TaskCreated
from orchestrator.domain.chain import CreateTask, FeeMarket, Fees
from orchestrator.domain.outbox import Intent, IntentStatus, replacement_fees
from orchestrator.services.outbox import OutboxProcessor
from tests.integration.databases import Databases, open_quick_records
from tests.integration.orchestrator_chain_double import LanesDouble
from tests.integration.outbox_rig import (
    CONFIG,
    CONFIRMATIONS,
    MOST_FEE_WEI,
    STUCK_AFTER_S,
    Fuse,
    Killed,
    Setting,
    effects,
    queue_two,
)


@pytest.fixture
def setting(tmp_path: Path, databases: Databases) -> Iterator[Setting]:
    records = open_quick_records(databases.new(tmp_path))
    yield Setting(records)
    records.close()


def get_stuck(setting: Setting, processor: OutboxProcessor) -> Intent:
    """One intent whose transaction pays too little, for longer than it should wait."""
    setting.queue("create_task:x", CreateTask(CONFIG))
    processor.run_once()
    (sent,) = setting.intents()
    (transaction,) = setting.transactions(sent)
    setting.chain.base_fee_wei = 2 * transaction.fees.most_wei
    setting.chain.mine()
    setting.clock.unix_s += STUCK_AFTER_S
    return sent


def test_a_stuck_transaction_is_replaced_at_its_nonce(setting: Setting) -> None:
    processor = setting.processor()
    sent = get_stuck(setting, processor)
    processor.run_once()
    (replaced,) = setting.intents()
    first, second = setting.transactions(replaced)
    assert (replaced.status, replaced.nonce) == (IntentStatus.SENT, sent.nonce)
    assert (replaced.transaction_hash, second.nonce) == (second.hash, first.nonce)
    assert 8 * second.fees.most_wei >= 9 * first.fees.most_wei
    assert 8 * second.fees.tip_wei >= 9 * first.fees.tip_wei
    setting.finish(processor)
    (final,) = setting.intents()
    assert (final.status, final.transaction_hash) == (IntentStatus.FINAL, second.hash)
    assert effects(setting, TaskCreated) == 1


def test_it_waits_for_the_deadline_and_for_fees_that_grew(setting: Setting) -> None:
    processor = setting.processor()
    sent = get_stuck(setting, processor)
    setting.clock.unix_s -= 1
    processor.run_once()
    assert len(setting.transactions(sent)) == 1, "the deadline has not passed"
    setting.clock.unix_s += 1 + STUCK_AFTER_S
    (transaction,) = setting.transactions(sent)
    setting.chain.base_fee_wei = transaction.fees.most_wei
    processor.run_once()
    assert len(setting.transactions(sent)) == 1, "it pays enough, only no block was made"


def test_the_first_transaction_may_still_be_the_one_that_is_mined(setting: Setting) -> None:
    processor = setting.processor()
    sent = get_stuck(setting, processor)
    processor.run_once()
    first, second = setting.transactions(sent)
    # The node lost the replacement, another one still had the first, and fees fell.
    setting.chain.forget_pool()
    setting.chain.broadcast(LanesDouble.of(setting.chain).council.sender, first)
    setting.chain.base_fee_wei = 100
    setting.chain.mine()
    setting.finish(processor)
    (final,) = setting.intents()
    assert (final.status, final.transaction_hash) == (IntentStatus.FINAL, first.hash)
    assert setting.transactions(final) == (first, second)
    assert effects(setting, TaskCreated) == 1


def test_after_a_reorganisation_either_transaction_settles_the_intent(setting: Setting) -> None:
    processor = setting.processor()
    sent = get_stuck(setting, processor)
    processor.run_once()
    first, second = setting.transactions(sent)
    sender = LanesDouble.of(setting.chain).council.sender
    setting.chain.forget_pool()
    setting.chain.broadcast(sender, first)
    setting.chain.base_fee_wei = 100
    setting.chain.mine()
    setting.settle(processor)
    setting.chain.reorganise(setting.chain.head().number)
    setting.chain.mine(CONFIRMATIONS)
    # What was mined is sent again, but the pool has the one that pays more and will not take it.
    setting.chain.broadcast(sender, second)
    processor.run_once()
    processor.run_once()
    (resent,) = setting.intents()
    assert (resent.status, resent.transaction_hash) == (IntentStatus.RESENT, first.hash)
    setting.finish(processor)
    (final,) = setting.intents()
    assert (final.status, final.transaction_hash) == (IntentStatus.FINAL, second.hash)
    assert effects(setting, TaskCreated) == 1


def test_no_replacement_pays_more_than_the_limit(setting: Setting, caplog: pytest.LogCaptureFixture) -> None:
    processor = setting.processor()
    sent = get_stuck(setting, processor)
    setting.chain.base_fee_wei = MOST_FEE_WEI + 1
    for _ in range(5):
        processor.run_once()
        setting.clock.unix_s += STUCK_AFTER_S
    assert len(setting.transactions(sent)) == 1
    assert "waits for its block" in caplog.text
    setting.chain.base_fee_wei = MOST_FEE_WEI
    setting.finish(processor)
    (final,) = setting.intents()
    assert max(each.fees.most_wei for each in setting.transactions(final)) == MOST_FEE_WEI
    assert effects(setting, TaskCreated) == 1


def test_killed_at_any_step_of_a_replacement_each_intent_has_one_effect(
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
        setting.processor().run_once()
        setting.chain.base_fee_wei = 1_000
        setting.clock.unix_s += STUCK_AFTER_S
        try:
            setting.finish(setting.processor(Fuse(burns_at)))
            killed = False
        except Killed:
            # The next process comes when fees are low again: the first bytes may be mined now.
            setting.chain.base_fee_wei = 100 if burns_at % 2 else 1_000
            setting.finish(setting.processor())
        assert effects(setting, TaskCreated) == 2, f"killed at step {burns_at}"
        assert [intent.status for intent in setting.intents()] == [IntentStatus.FINAL] * 2
        assert [intent.nonce for intent in setting.intents()] == [0, 1]
        records.close()
    assert burns_at > 10


@pytest.mark.parametrize(
    ("paid", "base_fee_wei", "tip_wei", "most_wei", "wanted"),
    [
        (Fees(208, 8), 208, 8, 10_000, None),
        (Fees(208, 8), 209, 8, 10_000, Fees(427, 9)),
        (Fees(208, 8), 209, 8, 300, Fees(300, 9)),
        (Fees(208, 8), 209, 8, 234, Fees(234, 9)),
        (Fees(208, 8), 209, 8, 233, None),
        (Fees(208, 8), 400, 8, 399, None),
        (Fees(208, 8), 10, 9, 10_000, Fees(234, 9)),
        (Fees(0, 0), 1, 0, 10_000, Fees(3, 1)),
        (Fees(100, 100), 150, 1, 120, None),
    ],
)
def test_what_a_replacement_pays(
    paid: Fees, base_fee_wei: int, tip_wei: int, most_wei: int, wanted: Fees | None
) -> None:
    assert replacement_fees(paid, FeeMarket(base_fee_wei, tip_wei), most_wei) == wanted
