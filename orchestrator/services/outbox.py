"""Puts intents on chain, each exactly once: sign, store the signed bytes, broadcast, wait for the receipt."""

import logging
from dataclasses import dataclass, field, replace

from orchestrator.domain.chain import (
    Call,
    CallRefused,
    ChainError,
    NonceUsed,
    Receipt,
    SignedTransaction,
    TransactionLane,
)
from orchestrator.domain.errors import Conflict
from orchestrator.domain.outbox import Intent, IntentStatus, call_kind, subject_of
from orchestrator.domain.ports import Clock, Lanes, Records, Unit
from orchestrator.domain.projection import Announcement
from orchestrator.services.correlation import about, correlation_id
from orchestrator.services.tracing import span

_REBROADCAST_S = 5
_MOST_FAILURES = 3

logger = logging.getLogger(__name__)


def enqueue(unit: Unit, key: str, call: Call, now_unix_s: int, *, round_number: int | None = None) -> Intent:
    """The intent for ``call`` under ``key``: the known one if it is the same call, else a new one.

    A refused intent had no effect, so its key is free: it is queued again with this call.

    Raises:
        Conflict: another call has the key.
    """
    known = unit.outbox.by_key(key)
    if known is None:
        return unit.outbox.add(key, call, round_number, now_unix_s, correlation_id())
    if known.status is IntentStatus.REFUSED:
        return unit.outbox.requeue(known, call, now_unix_s, correlation_id())
    if known.call == call:
        return known
    raise Conflict("another request of the same kind was recorded before this one")


@dataclass
class OutboxProcessor:
    """Moves every unsettled intent as far as it goes.

    A crash between any two steps is harmless: signed bytes are stored before they are sent, sending them
    twice is one transaction, and nothing else is signed for an intent whose transaction can still be mined.
    """

    records: Records
    lanes: Lanes
    clock: Clock
    _sent_unix_s: dict[int, int] = field(default_factory=dict)

    def run_once(self) -> bool:
        """One pass over the outbox; whether anything moved.

        Raises:
            ChainError: the chain does not answer; trying again later continues where this stopped.
        """
        with self.records.read() as unit:
            intents = unit.outbox.unsettled()
        moved, failures = False, 0
        for intent in intents:
            with about(intent):
                try:
                    moved |= self._process(intent)
                except ChainError as error:
                    logger.warning("intent %d (%s): %s", intent.id, intent.key, error)
                    failures += 1
                    if failures >= _MOST_FAILURES or failures == len(intents):
                        raise
                except Conflict as error:
                    # Another worker moved it first; the next pass sees its new state.
                    logger.info("intent %d: %s", intent.id, error)
        return moved

    def _process(self, intent: Intent) -> bool:
        lane = self.lanes.for_call(intent.call)
        if intent.status is IntentStatus.QUEUED:
            signed = self._sign(intent, lane)
            if signed is None:
                return True
            self._send(signed, lane)
            return True
        return self._follow(intent, lane)

    def _sign(self, intent: Intent, lane: TransactionLane) -> Intent | None:
        """The intent with its signed bytes, stored; None when the contract refuses it."""
        with self.records.read() as unit:
            in_flight = unit.outbox.highest_nonce_in_flight(lane.sender)
        nonce = lane.next_nonce() if in_flight is None else max(lane.next_nonce(), in_flight + 1)
        try:
            transaction = lane.sign(intent.call, nonce)
        except CallRefused as error:
            self._refuse(intent, error.reason)
            return None
        signed = replace(
            intent,
            status=IntentStatus.SIGNED,
            changed_unix_s=self.clock.now_unix_s(),
            sender=lane.sender,
            nonce=transaction.nonce,
            transaction_hash=transaction.hash,
            raw=transaction.raw,
        )
        self._save(signed, IntentStatus.QUEUED)
        return signed

    def _send(self, intent: Intent, lane: TransactionLane) -> None:
        """Broadcast the stored bytes; the intent is sent then, or queued again if they can never be mined."""
        try:
            with span("outbox.send", _in_traces(intent)):
                lane.broadcast(_transaction(intent))
        except NonceUsed as error:
            logger.warning("intent %d is signed anew: %s", intent.id, error)
            self._save(_unsigned(intent, self.clock.now_unix_s()), intent.status)
            return
        now_unix_s = self.clock.now_unix_s()
        self._sent_unix_s[intent.id] = now_unix_s
        if intent.status is not IntentStatus.SENT:
            logger.info("intent %d (%s) is sent as %s", intent.id, intent.key, intent.transaction_hash)
            self._save(replace(intent, status=IntentStatus.SENT, changed_unix_s=now_unix_s), intent.status)

    def _follow(self, intent: Intent, lane: TransactionLane) -> bool:
        receipt = lane.receipt(_transaction(intent).hash)
        if receipt is not None:
            self._settle(intent, receipt)
            return True
        last_sent_unix_s = self._sent_unix_s.get(intent.id)
        if last_sent_unix_s is None or self.clock.now_unix_s() >= last_sent_unix_s + _REBROADCAST_S:
            # A node may have forgotten it, or this process never sent it: the same bytes again.
            self._send(intent, lane)
            return intent.status is IntentStatus.SIGNED
        return False

    def _settle(self, intent: Intent, receipt: Receipt) -> None:
        settled = replace(
            intent,
            status=IntentStatus.MINED,
            changed_unix_s=self.clock.now_unix_s(),
            gas_used=intent.gas_used + receipt.gas_used,
            block_number=receipt.block_number,
        )
        self._sent_unix_s.pop(intent.id, None)
        if receipt.succeeded:
            logger.info("intent %d (%s) is in block %d", intent.id, intent.key, receipt.block_number)
            self._save(settled, intent.status)
        else:
            self._refuse(settled, "reverted in its block", expected=intent.status)

    def _refuse(self, intent: Intent, reason: str, expected: IntentStatus | None = None) -> None:
        now_unix_s = self.clock.now_unix_s()
        refused = replace(intent, status=IntentStatus.REFUSED, changed_unix_s=now_unix_s, error=reason)
        subject = subject_of(intent.call)
        logger.warning("intent %d (%s) is refused: %s", intent.id, intent.key, reason)
        announcement = Announcement(
            "intent.refused",
            subject.task,
            subject.round,
            subject.node,
            {"kind": subject.kind, "reason": reason},
        )
        with self.records.write() as unit:
            unit.outbox.save(refused, expected or intent.status)
            unit.stream.append(announcement, now_unix_s)

    def _save(self, intent: Intent, expected: IntentStatus) -> None:
        with self.records.write() as unit:
            unit.outbox.save(intent, expected)


def _in_traces(intent: Intent) -> dict[str, str | int | None]:
    return {
        "collegium.intent": intent.id,
        "collegium.kind": call_kind(intent.call),
        "collegium.correlation_id": intent.correlation_id,
        "collegium.transaction": intent.transaction_hash,
    }


def _transaction(intent: Intent) -> SignedTransaction:
    assert intent.transaction_hash is not None, "a signed intent has its transaction"
    assert intent.raw is not None, "a signed intent has its transaction"
    assert intent.nonce is not None, "a signed intent has its transaction"
    return SignedTransaction(intent.transaction_hash, intent.raw, intent.nonce)


def _unsigned(intent: Intent, now_unix_s: int) -> Intent:
    return replace(
        intent,
        status=IntentStatus.QUEUED,
        changed_unix_s=now_unix_s,
        sender=None,
        nonce=None,
        transaction_hash=None,
        raw=None,
        block_number=None,
    )
