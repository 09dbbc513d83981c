"""Puts intents on chain, each exactly once: sign, store the signed bytes, broadcast, follow until final."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby
from typing import cast

from orchestrator.domain.chain import (
    Call,
    CallRefused,
    ChainError,
    ChainReader,
    Fees,
    NonceUsed,
    Receipt,
    RoundMessageCall,
    SignedTransaction,
    TransactionLane,
)
from orchestrator.domain.errors import Conflict
from orchestrator.domain.outbox import (
    COMING_BACK,
    MOST_REVERTS,
    UNSENT,
    Intent,
    IntentStatus,
    OutboxRules,
    Slot,
    call_kind,
    reorganised,
    replacement_fees,
    subject_of,
)
from orchestrator.domain.ports import Clock, Lanes, Records, Unit
from orchestrator.domain.projection import Announcement
from orchestrator.services.correlation import about, correlation_id
from orchestrator.services.tracing import Attribute, span

_REBROADCAST_S = 5
_MOST_FAILURES = 3
_FINALISED_IN_A_PASS = 500
_MOST_IN_A_BATCH = 100

logger = logging.getLogger(__name__)


def enqueue(unit: Unit, key: str, call: Call, now_unix_s: int, *, round_number: int | None = None) -> Intent:
    """The intent for ``call`` under ``key``: the known one if it is the same call, else a new one.

    A refused intent had no effect, so its key is free: it is queued again with this call.

    Raises:
        Conflict: another call has the key.
    """
    return enqueue_after(unit, unit.outbox.by_key(key), key, call, now_unix_s, round_number=round_number)


def enqueue_after(
    unit: Unit,
    known: Intent | None,
    key: str,
    call: Call,
    now_unix_s: int,
    *,
    round_number: int | None = None,
) -> Intent:
    """As ``enqueue``, where the key's intent, if there is one, was read in the same unit. Raises Conflict."""
    if known is None:
        return unit.outbox.add(key, call, round_number, now_unix_s, correlation_id())
    if known.may_be_asked_again:
        return unit.outbox.requeue(known, call, now_unix_s, correlation_id())
    if known.call == call:
        return known
    raise Conflict("another request of the same kind was recorded before this one")


class _NotYet(Exception):
    """An intent waits for others to come back into a block."""


@dataclass(frozen=True)
class _Job:
    """Some work, and the intents that it is about, for the log."""

    intents: Sequence[Intent]
    work: Callable[[], bool]


@dataclass
class OutboxProcessor:
    """Moves every intent as far as it goes.

    A crash between any two steps is harmless: signed bytes are stored before they are sent, sending them
    twice is one transaction, and nothing else is signed for an intent whose transaction can still be mined.
    """

    records: Records
    lanes: Lanes
    reader: ChainReader
    clock: Clock
    rules: OutboxRules
    _sent_unix_s: dict[str, int] = field(default_factory=dict, init=False)

    def run_once(self, *, finalises: bool = True) -> bool:
        """One pass over the outbox; whether anything moved. Without ``finalises`` nothing is made final.

        Raises:
            ChainError: the chain does not answer; trying again later continues where this stopped.
        """
        with self.records.read() as unit:
            slots, queued = unit.outbox.open_slots(), unit.outbox.queued()
        jobs = self._jobs_of_slots(slots)
        jobs += [_Job(group, partial(self._start, group)) for group in _groups(queued)]
        moved = self._work(jobs)
        if finalises:
            self._finalise()
        return moved

    def _work(self, jobs: Sequence[_Job]) -> bool:
        """Do every job, although some fail; whether any moved something."""
        moved, failures = False, 0
        for job in jobs:
            with about(*job.intents):
                try:
                    moved |= job.work()
                except ChainError as error:
                    logger.warning("the outbox tries again: %s", error)
                    failures += 1
                    if failures >= _MOST_FAILURES or failures == len(jobs):
                        raise
                except Conflict as error:
                    # Another worker moved it first; the next pass sees its new state.
                    logger.info("the outbox looks again: %s", error)
                except _NotYet as error:
                    logger.info("the outbox waits: %s", error)
        return moved

    # --- what is in flight

    def _jobs_of_slots(self, slots: Sequence[Slot]) -> list[_Job]:
        jobs: list[_Job] = []
        mined_nonces: dict[str, int] = {}
        for slot in slots:
            lane = self.lanes.for_call(slot.intents[0].call)
            if slot.sender == lane.sender and slot.sender not in mined_nonces:
                mined_nonces[slot.sender] = lane.next_nonce()
                # Slots ascend by nonce: what is missing below this one keeps all of them waiting.
                jobs.append(_Job([], partial(self._fill_gap, lane, mined_nonces[slot.sender], slots)))
            jobs.append(_Job(slot.intents, partial(self._follow, slot, lane, mined_nonces.get(slot.sender))))
        return jobs

    def _follow(self, slot: Slot, lane: TransactionLane, mined_nonce: int | None) -> bool:
        """Settle a slot, or broadcast its bytes (again); ``mined_nonce`` None: of another account."""
        if mined_nonce is None or slot.nonce < mined_nonce:
            receipt = self._receipt(slot, lane)
            if receipt is not None:
                self._settle(slot, receipt)
                return True
        if slot.status in UNSENT or self._is_to_be_sent_again(slot.current):
            # A node may have forgotten it, or this process never sent it: the same bytes, or others that
            # pay more, at the same nonce.
            self._send(self._repriced(slot, lane), lane)
            return slot.status in UNSENT
        return False

    def _repriced(self, slot: Slot, lane: TransactionLane) -> Slot:
        """The slot, with a transaction that pays more where fees outgrew those it has; stored."""
        now_unix_s = self.clock.now_unix_s()
        is_stuck = now_unix_s >= slot.intents[0].changed_unix_s + self.rules.stuck_after_s
        if not is_stuck or slot.sender != lane.sender:
            return slot
        paid = Fees(
            max(each.fees.most_wei for each in slot.transactions),
            max(each.fees.tip_wei for each in slot.transactions),
        )
        fees = replacement_fees(paid, lane.market(), self.rules.most_fee_wei)
        if fees is None:
            logger.warning("nonce %d of %s waits for its block", slot.nonce, slot.sender)
            return slot
        transaction = lane.replacement(slot.current, fees)
        logger.warning(
            "nonce %d of %s is replaced: it pays up to %d wei now", slot.nonce, slot.sender, fees.most_wei
        )
        intents = tuple(
            replace(intent, transaction_hash=transaction.hash, changed_unix_s=now_unix_s)
            for intent in slot.intents
        )
        with self.records.write() as unit:
            unit.outbox.add_transaction(slot.sender, transaction, now_unix_s)
            unit.outbox.save_all(intents, slot.status)
        return replace(slot, intents=intents, transactions=(*slot.transactions, transaction))

    def _fill_gap(self, lane: TransactionLane, mined_nonce: int, slots: Sequence[Slot]) -> bool:
        """Broadcast again what the lane waits for although no intent does.

        A transaction reverted, its intent was asked for again in another slot, and then a reorganisation took
        its block away: without it no later nonce can be mined.
        """
        waiting = {slot.nonce for slot in slots if slot.sender == lane.sender}
        for nonce in range(mined_nonce, max(waiting)):
            if nonce in waiting:
                continue
            with self.records.read() as unit:
                transactions = unit.outbox.transactions_of(lane.sender, nonce)
            if transactions and self._is_to_be_sent_again(transactions[-1]):
                logger.warning("nonce %d of %s is missing: its bytes are sent again", nonce, lane.sender)
                lane.broadcast(transactions[-1])
                self._sent_unix_s[transactions[-1].hash] = self.clock.now_unix_s()
        return False

    def _is_to_be_sent_again(self, transaction: SignedTransaction) -> bool:
        last_sent_unix_s = self._sent_unix_s.get(transaction.hash)
        return last_sent_unix_s is None or self.clock.now_unix_s() >= last_sent_unix_s + _REBROADCAST_S

    def _send(self, slot: Slot, lane: TransactionLane) -> None:
        """Broadcast the stored bytes; the intents are queued again if they can never be mined."""
        now_unix_s = self.clock.now_unix_s()
        self._sent_unix_s[slot.current.hash] = now_unix_s
        try:
            with span("outbox.send", _in_traces(slot)):
                lane.broadcast(slot.current)
        except NonceUsed:
            self._look_after_lost_nonce(slot, lane)
            return
        except ChainError:
            # Another of the slot's transactions may wait there, and pays more.
            if not any(lane.knows(each.hash) for each in slot.transactions if each != slot.current):
                raise
        after = {IntentStatus.SIGNED: IntentStatus.SENT, IntentStatus.REORGED: IntentStatus.RESENT}
        if slot.status in after:
            sent = [
                replace(intent, status=after[slot.status], changed_unix_s=now_unix_s)
                for intent in slot.intents
            ]
            with self.records.write() as unit:
                unit.outbox.save_all(sent, slot.status)
            for intent in sent:
                with about(intent):
                    logger.info("intent %d (%s) is sent as %s", intent.id, intent.key, slot.current.hash)

    def _look_after_lost_nonce(self, slot: Slot, lane: TransactionLane) -> None:
        """A transaction with the slot's nonce is in a block: one of its own, or another program's."""
        receipt = self._receipt(slot, lane)
        if receipt is not None:
            self._settle(slot, receipt)
            return
        final = self._final_block()
        if slot.sender != lane.sender or final < 0 or lane.nonce_at(final) <= slot.nonce:
            # A reorganisation could bring the nonce back, and the bytes with it.
            logger.warning("nonce %d of %s was taken by another program", slot.nonce, slot.sender)
            return
        logger.warning("nonce %d of %s is lost for good: signed anew", slot.nonce, slot.sender)
        with self.records.write() as unit:
            for intent in slot.intents:
                unit.outbox.save(_unsigned(intent, self.clock.now_unix_s()), intent.status)
            unit.outbox.forget_transactions(slot.sender, slot.nonce)

    def _receipt(self, slot: Slot, lane: TransactionLane) -> Receipt | None:
        """The receipt of whichever of the slot's transactions was mined."""
        found = (lane.receipt(each.hash) for each in reversed(slot.transactions))
        return next((receipt for receipt in found if receipt is not None), None)

    def _settle(self, slot: Slot, receipt: Receipt) -> None:
        now_unix_s = self.clock.now_unix_s()
        for transaction in slot.transactions:
            self._sent_unix_s.pop(transaction.hash, None)
        shares = _shares(receipt.gas_used, len(slot.intents))
        mined = [
            replace(
                intent,
                status=IntentStatus.MINED,
                changed_unix_s=now_unix_s,
                transaction_hash=receipt.transaction_hash,
                gas_used=intent.gas_used + gas,
                block_number=receipt.block_number,
                block_hash=receipt.block_hash,
            )
            for intent, gas in zip(slot.intents, shares, strict=True)
        ]
        reasons = {intent.id: _reason(receipt, slot, intent) for intent in mined}
        with self.records.write() as unit:
            unit.outbox.save_all([each for each in mined if reasons[each.id] is None], slot.status)
            for intent in mined:
                with about(intent):
                    if (reason := reasons[intent.id]) is None:
                        logger.info(
                            "intent %d (%s) is in block %d", intent.id, intent.key, receipt.block_number
                        )
                    else:
                        _save_failure(unit, intent, slot.status, reason)

    # --- what waits

    def _start(self, intents: Sequence[Intent]) -> bool:
        """Sign and send intents that may share transactions."""
        lane = self.lanes.for_call(intents[0].call)
        while intents:
            if len(intents) == 1:
                slot, intents = self._sign(intents[0], lane), ()
            else:
                slot, intents = self._sign_batch(intents, lane)
            if slot is not None:
                self._send(slot, lane)
        return True

    def _sign_batch(
        self, intents: Sequence[Intent], lane: TransactionLane
    ) -> tuple[Slot | None, Sequence[Intent]]:
        """The slot of as many intents as fit, stored, and the intents that are left."""
        calls = [intent.call for intent in intents]
        batch = lane.sign_batch(cast(list[RoundMessageCall], calls), self._next_nonce(lane))
        refused = [(intents[place], reason) for place, reason in batch.refused.items()]
        taken = [intents[place] for place in batch.taken]
        done = {*batch.taken, *batch.refused}
        left = [intent for place, intent in enumerate(intents) if place not in done]
        return self._store(lane, batch.transaction, taken, refused), left

    def _sign(self, intent: Intent, lane: TransactionLane) -> Slot | None:
        """The intent's slot, its signed bytes stored; None when the contract refuses it."""
        try:
            transaction = lane.sign(intent.call, self._next_nonce(lane))
        except CallRefused as error:
            if intent.nobody_sends_again and (self._something_comes_back() or self._has_not_seen_the_fork()):
                # What it builds on, its task for one, may have left the chain and not be back yet.
                raise _NotYet(f"{intent.key} is not taken now: {error.reason}") from error
            return self._store(lane, None, [], [(intent, error.reason)])
        return self._store(lane, transaction, [intent], [])

    def _something_comes_back(self) -> bool:
        with self.records.read() as unit:
            return any(slot.status in COMING_BACK for slot in unit.outbox.open_slots())

    def _has_not_seen_the_fork(self) -> bool:
        """Whether the last indexed block left the chain: the indexer says next what comes back."""
        with self.records.read() as unit:
            last = unit.projection.last_block()
        return last is not None and self.reader.block(last.number).hash != last.hash

    def _store(
        self,
        lane: TransactionLane,
        transaction: SignedTransaction | None,
        taken: Sequence[Intent],
        refused: Sequence[tuple[Intent, str]],
    ) -> Slot | None:
        """Keep what was signed, and what was refused before it was."""
        now_unix_s = self.clock.now_unix_s()
        signed = [
            replace(
                intent,
                status=IntentStatus.SIGNED,
                changed_unix_s=now_unix_s,
                sender=lane.sender,
                nonce=transaction.nonce,
                position=position,
                transaction_hash=transaction.hash,
            )
            for position, intent in enumerate(taken)
            if transaction is not None
        ]
        with self.records.write() as unit:
            for intent, reason in refused:
                # Nothing was sent, so nothing can change this.
                ended = replace(intent, is_final=True, changed_unix_s=now_unix_s)
                _refuse(unit, ended, reason, intent.status)
            if transaction is None:
                return None
            unit.outbox.save_all(signed, IntentStatus.QUEUED)
            unit.outbox.add_transaction(lane.sender, transaction, now_unix_s)
        return Slot(lane.sender, transaction.nonce, tuple(signed), (transaction,))

    def _next_nonce(self, lane: TransactionLane) -> int:
        """The nonce after all that were ever signed for: what a reorganisation took away comes back."""
        with self.records.read() as unit:
            highest = unit.outbox.highest_nonce(lane.sender)
        return lane.next_nonce() if highest is None else max(lane.next_nonce(), highest + 1)

    # --- what is mined

    def _final_block(self) -> int:
        return self.reader.head().number - self.rules.confirmations

    def _finalise(self) -> None:
        """Make final what is deep enough, if its block is still the chain's."""
        with self.records.read() as unit:
            pending = unit.outbox.to_finalise(self._final_block(), _FINALISED_IN_A_PASS)
        receipts: dict[str, Receipt | None] = {}
        after: list[tuple[Intent, Intent]] = []
        for intent in pending:
            assert intent.transaction_hash is not None, "what is in a block has its transaction"
            if intent.transaction_hash not in receipts:
                lane = self.lanes.for_call(intent.call)
                receipts[intent.transaction_hash] = lane.receipt(intent.transaction_hash)
            after.append((intent, self._finalised(intent, receipts[intent.transaction_hash])))
        if after:
            with self.records.write() as unit:
                for status in IntentStatus:
                    unit.outbox.save_all(
                        [changed for before, changed in after if before.status is status], status
                    )

    def _finalised(self, intent: Intent, receipt: Receipt | None) -> Intent:
        now_unix_s = self.clock.now_unix_s()
        # Intents from before block hashes were kept have none: the number has to do.
        block_hash = intent.block_hash or (receipt.block_hash if receipt is not None else "")
        if receipt is None or (receipt.block_number, receipt.block_hash) != (intent.block_number, block_hash):
            with about(intent):
                logger.warning("intent %d (%s) left its block", intent.id, intent.key)
            return reorganised(intent, now_unix_s)
        is_refused = intent.status is IntentStatus.REFUSED
        return replace(
            intent,
            status=IntentStatus.REFUSED if is_refused else IntentStatus.FINAL,
            changed_unix_s=intent.changed_unix_s if is_refused else now_unix_s,
            block_hash=block_hash,
            is_final=True,
        )


def _in_traces(slot: Slot) -> dict[str, Attribute]:
    return {
        "collegium.intents": [intent.id for intent in slot.intents],
        "collegium.kinds": [call_kind(intent.call) for intent in slot.intents],
        "collegium.correlation_ids": [intent.correlation_id or "none" for intent in slot.intents],
        "collegium.transaction": slot.current.hash,
    }


def _refuse(unit: Unit, intent: Intent, reason: str, expected: IntentStatus) -> None:
    refused = replace(intent, status=IntentStatus.REFUSED, error=reason)
    subject = subject_of(intent.call)
    logger.warning("intent %d (%s) is refused: %s", intent.id, intent.key, reason)
    facts = {"kind": subject.kind, "reason": reason}
    unit.outbox.save(refused, expected)
    unit.stream.append(
        Announcement("intent.refused", subject.task, subject.round, subject.node, facts),
        intent.changed_unix_s,
    )


def _groups(queued: Sequence[Intent]) -> Iterator[list[Intent]]:
    """Queued intents in their order; neighbours that may share a transaction together.

    Only what nodes send in a round: its contract takes many at once. What did not get through in a batch
    goes alone, so that its own estimate says why.
    """
    for may_share, group in groupby(queued, key=_may_share):
        if may_share:
            together = list(group)
            yield from (
                together[at : at + _MOST_IN_A_BATCH] for at in range(0, len(together), _MOST_IN_A_BATCH)
            )
        else:
            yield from ([intent] for intent in group)


def _may_share(intent: Intent) -> bool:
    return isinstance(intent.call, RoundMessageCall) and intent.attempts == 1


def _reason(receipt: Receipt, slot: Slot, intent: Intent) -> str | None:
    """Why a mined transaction had no effect for an intent; empty where only trying alone can tell."""
    assert intent.position is not None, "what is in a slot has a place there"
    if receipt.succeeded:
        return receipt.skipped.get(intent.position)
    may_be_tried_alone = len(slot.intents) > 1 or (
        # After a reorganisation it may have come back before what it builds on, which another account sends.
        intent.nobody_sends_again and intent.attempts < MOST_REVERTS
    )
    return "" if may_be_tried_alone else "reverted in its block"


def _save_failure(unit: Unit, mined: Intent, expected: IntentStatus, reason: str) -> None:
    if reason == "":
        logger.warning("intent %d (%s) did not get through: tried again alone", mined.id, mined.key)
        alone = _unsigned(mined, mined.changed_unix_s)
        unit.outbox.save(replace(alone, attempts=mined.attempts + 1), expected)
    else:
        _refuse(unit, mined, reason, expected)


def _shares(total: int, parts: int) -> list[int]:
    """A total in equal whole parts; the first takes what is left over."""
    share, rest = divmod(total, parts)
    return [share + rest, *[share] * (parts - 1)]


def _unsigned(intent: Intent, now_unix_s: int) -> Intent:
    return replace(
        intent,
        status=IntentStatus.QUEUED,
        changed_unix_s=now_unix_s,
        sender=None,
        nonce=None,
        position=None,
        transaction_hash=None,
        block_number=None,
        block_hash=None,
    )
