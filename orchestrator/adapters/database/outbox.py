"""The outbox in a table; a stored status may only move on from the status that its writer saw."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any, cast

from sqlalchemy import CursorResult, String, bindparam, delete, func, insert, select, tuple_, update
from sqlalchemy import cast as as_type
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from orchestrator.adapters.database.models import IntentRow, TransactionRow
from orchestrator.domain.chain import Call, Fees, SignedTransaction
from orchestrator.domain.errors import Conflict
from orchestrator.domain.figures import Backlog
from orchestrator.domain.outbox import (
    IN_FLIGHT,
    Intent,
    IntentStatus,
    Slot,
    decode_call,
    encode_call,
    subject_of,
)

_IN_FLIGHT = tuple(sorted(status.value for status in IN_FLIGHT))
_UNSETTLED = (IntentStatus.QUEUED.value, *_IN_FLIGHT)
_ERROR_LENGTH = 500


class SqlOutboxRepository:
    """``OutboxRepository`` over one session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def add(
        self,
        key: str,
        call: Call,
        round_number: int | None,
        now_unix_s: int,
        correlation_id: str | None = None,
    ) -> Intent:
        """Queue a new intent. The key must be new."""
        subject = subject_of(call, round_number)
        values = {
            "key": key,
            "kind": subject.kind,
            "task": subject.task,
            "round": subject.round,
            "node": subject.node,
            "payload": encode_call(call),
            "status": IntentStatus.QUEUED.value,
            "attempts": 1,
            "created_unix_s": now_unix_s,
            "changed_unix_s": now_unix_s,
            "gas_used": 0,
            "correlation_id": correlation_id,
            "is_final": False,
        }
        # Not by the ORM, which takes several times as long for a row.
        table = IntentRow.__table__
        statement = insert(table).returning(table.c.id)  # type: ignore[arg-type]
        # What else waits to be written (rows of the audit log) can be written all at once later.
        with self._session.no_autoflush:
            number: int = self._session.execute(statement, values).scalar_one()
        return Intent(
            id=number,
            key=key,
            call=call,
            status=IntentStatus.QUEUED,
            attempts=1,
            changed_unix_s=now_unix_s,
            correlation_id=correlation_id,
        )

    def by_key(self, key: str) -> Intent | None:
        """The intent of that key."""
        row = self._session.scalar(select(IntentRow).where(IntentRow.key == key))
        return None if row is None else _intent(row)

    def by_keys(self, keys: Sequence[str]) -> dict[str, Intent]:
        """The intents of those keys, as far as there are any."""
        rows = self._session.scalars(select(IntentRow).where(IntentRow.key.in_(keys)))
        return {row.key: _intent(row) for row in rows}

    def by_id(self, intent_id: int) -> Intent | None:
        """The intent of that number."""
        row = self._session.get(IntentRow, intent_id)
        return None if row is None else _intent(row)

    def queued(self) -> list[Intent]:
        """Intents that wait for a transaction, oldest first."""
        query = select(IntentRow).where(IntentRow.status == IntentStatus.QUEUED.value).order_by(IntentRow.id)
        return [_intent(row) for row in self._session.scalars(query)]

    def has_queued(self) -> bool:
        """Whether any intent waits for a transaction."""
        query = select(IntentRow.id).where(IntentRow.status == IntentStatus.QUEUED.value).limit(1)
        return self._session.scalar(query) is not None

    def open_slots(self) -> list[Slot]:
        """Slots whose intents are in flight, by sender and nonce."""
        query = (
            select(IntentRow)
            .where(IntentRow.status.in_(_IN_FLIGHT))
            .order_by(IntentRow.sender, IntentRow.nonce, IntentRow.position)
        )
        found = list(self._session.scalars(query))
        transactions = self._transactions({_place(row) for row in found})
        return [
            Slot(*place, tuple(map(_intent, rows)), tuple(transactions.get(place, ())))
            for place, rows in groupby(found, key=_place)
        ]

    def settled_from_block(self, block_number: int) -> list[Intent]:
        """Intents whose transaction was mined at that block or later, by number."""
        query = select(IntentRow).where(IntentRow.block_number >= block_number).order_by(IntentRow.id)
        return [_intent(row) for row in self._session.scalars(query)]

    def newest_before(
        self, intent_id: int, limit: int, *, status: IntentStatus | None, task: int | None
    ) -> list[Intent]:
        """The intents before a number, newest first, in a status or of a task where one is named."""
        query = select(IntentRow).where(IntentRow.id < intent_id).order_by(IntentRow.id.desc()).limit(limit)
        if status is not None:
            query = query.where(IntentRow.status == status.value)
        if task is not None:
            query = query.where(IntentRow.task == task)
        return [_intent(row) for row in self._session.scalars(query)]

    def to_finalise(self, block_number: int, limit: int) -> list[Intent]:
        """Intents mined at that block or before whose end is not final yet, by block and number."""
        query = (
            select(IntentRow)
            .where(IntentRow.block_number <= block_number, IntentRow.is_final.is_(False))
            .order_by(IntentRow.block_number, IntentRow.id)
            .limit(limit)
        )
        return [_intent(row) for row in self._session.scalars(query)]

    def refused(self, limit: int) -> list[Intent]:
        """The newest refused intents."""
        query = (
            select(IntentRow)
            .where(IntentRow.status == IntentStatus.REFUSED.value)
            .order_by(IntentRow.changed_unix_s.desc(), IntentRow.id.desc())
            .limit(limit)
        )
        return [_intent(row) for row in self._session.scalars(query)]

    def count_unsettled(self) -> int:
        """How many intents are queued or in flight."""
        query = select(func.count()).select_from(IntentRow).where(IntentRow.status.in_(_UNSETTLED))
        return self._session.scalar(query) or 0

    def gas_of_round(self, task: int, round_number: int) -> dict[str, int]:
        """Gas used per kind of call in a round."""
        query = (
            select(IntentRow.kind, func.sum(IntentRow.gas_used))
            .where(IntentRow.task == task, IntentRow.round == round_number, IntentRow.gas_used > 0)
            .group_by(IntentRow.kind)
        )
        # Sorted here: databases order text by different rules.
        return dict(sorted((kind, int(gas)) for kind, gas in self._session.execute(query)))

    def names_digest(self, digest: str) -> bool:
        """Whether the call of any intent, whatever became of it, names the digest."""
        query = select(IntentRow.id).where(
            as_type(IntentRow.payload, String).contains(digest, autoescape=True)
        )
        return self._session.scalar(query.limit(1)) is not None

    def gas_by_kind(self) -> dict[str, int]:
        """Gas used per kind of call, ever."""
        query = select(IntentRow.kind, func.sum(IntentRow.gas_used)).group_by(IntentRow.kind)
        return {kind: int(gas) for kind, gas in self._session.execute(query)}

    def backlog(self) -> list[Backlog]:
        """How many intents have which status, and since when."""
        query = select(IntentRow.status, func.count(), func.min(IntentRow.created_unix_s)).group_by(
            IntentRow.status
        )
        return [Backlog(status, count, oldest) for status, count, oldest in self._session.execute(query)]

    def add_transaction(self, sender: str, transaction: SignedTransaction, now_unix_s: int) -> None:
        """Keep a transaction that was signed for a slot."""
        self._session.add(
            TransactionRow(
                hash=transaction.hash,
                sender=sender,
                nonce=transaction.nonce,
                raw=transaction.raw,
                most_wei=transaction.fees.most_wei,
                tip_wei=transaction.fees.tip_wei,
                signed_unix_s=now_unix_s,
            )
        )

    def transactions_of(self, sender: str, nonce: int) -> tuple[SignedTransaction, ...]:
        """All transactions signed for a slot, oldest first."""
        return tuple(self._transactions({(sender, nonce)}).get((sender, nonce), ()))

    def forget_transactions(self, sender: str, nonce: int) -> None:
        """Drop the transactions of a slot that can never be mined."""
        self._session.execute(
            delete(TransactionRow).where(TransactionRow.sender == sender, TransactionRow.nonce == nonce)
        )

    def highest_nonce(self, sender: str) -> int | None:
        """The highest nonce that a transaction of the sender was signed for."""
        return self._session.scalar(
            select(func.max(TransactionRow.nonce)).where(TransactionRow.sender == sender)
        )

    def _transactions(self, places: set[tuple[str, int]]) -> dict[tuple[str, int], list[SignedTransaction]]:
        query = (
            select(TransactionRow)
            .where(tuple_(TransactionRow.sender, TransactionRow.nonce).in_(sorted(places)))
            .order_by(TransactionRow.id)
        )
        found: dict[tuple[str, int], list[SignedTransaction]] = {}
        for row in self._session.scalars(query):
            fees = Fees(row.most_wei, row.tip_wei)
            transaction = SignedTransaction(row.hash, row.raw, row.nonce, fees)
            found.setdefault((row.sender, row.nonce), []).append(transaction)
        return found

    def requeue(
        self, intent: Intent, call: Call, now_unix_s: int, correlation_id: str | None = None
    ) -> Intent:
        """Queue a refused intent again, with a new call, for whoever asks now."""
        values = {
            "payload": encode_call(call),
            "status": IntentStatus.QUEUED.value,
            "attempts": intent.attempts + 1,
            "changed_unix_s": now_unix_s,
            "sender": None,
            "nonce": None,
            "position": None,
            "transaction_hash": None,
            "block_number": None,
            "block_hash": None,
            "is_final": False,
            "error": None,
            "correlation_id": correlation_id,
        }
        self._change(intent.id, IntentStatus.REFUSED, values)
        row = self._session.get_one(IntentRow, intent.id, populate_existing=True)
        return _intent(row)

    def save(self, intent: Intent, expected: IntentStatus) -> None:
        """Store an intent's new state; Conflict when its stored status is not ``expected``."""
        self._change(intent.id, expected, _values(intent))

    def save_all(self, intents: Sequence[Intent], expected: IntentStatus) -> None:
        """Store the new states of several intents that had one status. Raises Conflict as ``save``."""
        if not intents:
            return
        # Not by the ORM: one statement prepared once, for a batch of a hundred.
        table = IntentRow.__table__
        statement = (
            update(IntentRow.__table__)  # type: ignore[arg-type]
            .where(table.c.id == bindparam("of_id"), table.c.status == expected.value)
            .values({name: bindparam(f"new_{name}") for name in _values(intents[0])})
        )
        parameters = [
            {"of_id": intent.id, **{f"new_{name}": value for name, value in _values(intent).items()}}
            for intent in intents
        ]
        try:
            result = cast(CursorResult[Any], self._session.execute(statement, parameters))
        except IntegrityError as error:
            raise Conflict("another intent holds the place of one of them in the slot") from error
        if result.rowcount != len(intents):
            raise Conflict(f"some of {len(intents)} intents are no longer {expected.value}")

    def _change(self, intent_id: int, expected: IntentStatus, values: dict[str, Any]) -> None:
        statement = (
            update(IntentRow)
            .where(IntentRow.id == intent_id, IntentRow.status == expected.value)
            .values(**values)
            # Nothing loaded is looked at again: a unit that saves an intent has its new state in hand.
            .execution_options(synchronize_session=False)
        )
        try:
            result = cast(CursorResult[Any], self._session.execute(statement))
        except IntegrityError as error:
            raise Conflict(f"intent {intent_id}: another intent holds its place in the slot") from error
        if result.rowcount != 1:
            raise Conflict(f"intent {intent_id} is no longer {expected.value}")


def _values(intent: Intent) -> dict[str, Any]:
    """What may change of an intent, by column."""
    return {
        "status": intent.status.value,
        "attempts": intent.attempts,
        "changed_unix_s": intent.changed_unix_s,
        "sender": intent.sender,
        "nonce": intent.nonce,
        "position": intent.position,
        "transaction_hash": intent.transaction_hash,
        "gas_used": intent.gas_used,
        "block_number": intent.block_number,
        "block_hash": intent.block_hash,
        "is_final": intent.is_final,
        "error": None if intent.error is None else intent.error[:_ERROR_LENGTH],
    }


def _intent(row: IntentRow) -> Intent:
    return Intent(
        id=row.id,
        key=row.key,
        call=decode_call(row.kind, row.payload),
        status=IntentStatus(row.status),
        attempts=row.attempts,
        changed_unix_s=row.changed_unix_s,
        sender=row.sender,
        nonce=row.nonce,
        position=row.position,
        transaction_hash=row.transaction_hash,
        gas_used=row.gas_used,
        block_number=row.block_number,
        block_hash=row.block_hash,
        is_final=row.is_final,
        error=row.error,
        correlation_id=row.correlation_id,
    )


def _place(row: IntentRow) -> tuple[str, int]:
    assert row.sender is not None, "what is in flight has a slot"
    assert row.nonce is not None, "what is in flight has a slot"
    return row.sender, row.nonce
