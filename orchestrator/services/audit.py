"""Keeps the audit log: a change is recorded within its own transaction, a refusal in one for itself.

``attempting`` says who is at work; it travels with the request by a context variable, so that no service can
forget to hand it on. What the worker does by itself is no attempt of anybody and leaves no rows.
"""

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from contracts.audit import AuditEntry, AuditOutcome, AuditRow
from orchestrator.domain.audit import ANY_ROW, AuditFilter
from orchestrator.domain.errors import OrchestratorError
from orchestrator.domain.pages import Key, Page
from orchestrator.domain.ports import Clock, Records, Unit
from orchestrator.services.correlation import new_correlation_id

logger = logging.getLogger(__name__)

ANONYMOUS, NO_ROLE = "anonymous", "none"
MOST_STRANGERS_ROWS = 600
"""Refusals of strangers and of limits that are recorded one by one within a minute, by one process."""
_WINDOW_S = 60.0
_MOST_TEXT = 200


@dataclass(frozen=True)
class Subject:
    """What an attempt is about."""

    task: int | None = None
    round: int | None = None
    node: str | None = None


@dataclass(frozen=True)
class Deed:
    """What somebody asks for, as far as it is known when it is recorded."""

    operation: str
    correlation_id: str
    subject: Subject = Subject()
    body_digest: str | None = None


@dataclass
class Attempt:
    """A request or a command at work: who it is by, and why it was refused, are found out on the way."""

    deed: Callable[[], Deed]
    principal: str = ANONYMOUS
    role: str = NO_ROLE
    reason: str | None = None

    def entry(self, outcome: AuditOutcome, now_unix_s: int) -> AuditEntry:
        """What the log says of it."""
        deed = self.deed()
        return AuditEntry(
            time_unix_s=now_unix_s,
            principal=self.principal[:_MOST_TEXT],
            role=self.role[:_MOST_TEXT],
            operation=deed.operation[:_MOST_TEXT],
            task=deed.subject.task,
            round=deed.subject.round,
            node=deed.subject.node,
            outcome=outcome,
            reason=self.reason if outcome == "refused" else None,
            correlation_id=deed.correlation_id[:_MOST_TEXT],
            body_digest=deed.body_digest,
        )


def attempt_here(operation: str) -> Attempt:
    """A command on the hub's own machine, by whoever runs it there."""
    deed = Deed(operation, new_correlation_id())
    return Attempt(lambda: deed, f"uid {os.geteuid()}", "host")


_current: ContextVar[Attempt | None] = ContextVar("audited_attempt", default=None)


@contextmanager
def attempting(attempt: Attempt) -> Iterator[Attempt]:
    """Record what is done within the block as this attempt's."""
    token = _current.set(attempt)
    try:
        yield attempt
    finally:
        _current.reset(token)


def identify(principal: str, role: str) -> None:
    """Say who the attempt at hand is by; nothing happens where none is."""
    attempt = _current.get()
    if attempt is not None:
        attempt.principal, attempt.role = principal, role


def asker() -> str | None:
    """Who the attempt at hand is by; None for a stranger, or where none is at hand."""
    attempt = _current.get()
    if attempt is None or attempt.principal == ANONYMOUS:
        return None
    return f"{attempt.role}:{attempt.principal}"


def note_refusal(reason: str) -> None:
    """Say why the attempt at hand is refused; nothing happens where none is."""
    attempt = _current.get()
    if attempt is not None:
        attempt.reason = reason


def record_change(unit: Unit, now_unix_s: int) -> None:
    """Write the row of the attempt at hand, if the unit has changed anything since the row before.

    A unit that several requests share calls it after each, in that request's context.
    """
    attempt = _current.get()
    if attempt is not None and unit.take_changes():
        unit.audit.append(attempt.entry("done", now_unix_s))


@dataclass(frozen=True)
class AuditedRecords:
    """``Records`` whose writing units end with a row of the audit log, when they changed something."""

    records: Records
    clock: Clock

    def read(self) -> AbstractContextManager[Unit]:
        """A unit that sees one consistent state and changes nothing."""
        return self.records.read()

    def version(self) -> int | None:
        """A number that changes whenever anything is written; None when that cannot be told at once."""
        return self.records.version()

    @contextmanager
    def write(self) -> Iterator[Unit]:
        """A unit that is committed at the end of its block, its row with it, or undone by an error."""
        with self.records.write() as unit:
            yield unit
            record_change(unit, self.clock.now_unix_s())


@dataclass
class _Budget:
    """How many rows strangers may still cause in the present minute; what is more is only counted."""

    most: int
    left: int = 0
    uncounted: int = 0
    ends_s: float = 0.0

    def take(self, now_s: float) -> tuple[bool, int]:
        """Whether one more row may be written, and how many were left out before a new minute began."""
        left_out = 0
        if now_s >= self.ends_s:
            left_out, self.uncounted = self.uncounted, 0
            self.left, self.ends_s = self.most, now_s + _WINDOW_S
        if self.left == 0:
            self.uncounted += 1
            return False, 0
        self.left -= 1
        return True, left_out


@dataclass(frozen=True)
class AuditService:
    """Writes refusals and what no unit of work records, and reads the log."""

    records: Records
    """Those without the log's own bookkeeping."""
    clock: Clock
    monotonic_s: Callable[[], float] = time.monotonic
    _budget: _Budget = field(default_factory=lambda: _Budget(MOST_STRANGERS_ROWS))

    def record(self, attempt: Attempt) -> None:
        """Record what was done to something else than the records. Raises RecordsUnavailable."""
        with self.records.write() as unit:
            unit.audit.append(attempt.entry("done", self.clock.now_unix_s()))

    def refuse(self, attempt: Attempt, *, is_limit: bool = False) -> None:
        """Record a refusal; the caller is refused all the same when the log cannot be written.

        A stranger, or somebody at a limit, may ask without end. Their rows are bounded; the count of those
        left out is in the row that comes next.
        """
        now_unix_s = self.clock.now_unix_s()
        entries = [attempt.entry("refused", now_unix_s)]
        if is_limit or attempt.principal == ANONYMOUS:
            may_write, left_out = self._budget.take(self.monotonic_s())
            if not may_write:
                return
            if left_out:
                entries.insert(0, _left_out(left_out, entries[0]))
        try:
            with self.records.write() as unit:
                for entry in entries:
                    unit.audit.append(entry)
        except OrchestratorError as error:
            logger.error("a refusal of %s is not in the audit log: %s", entries[-1].operation, error)

    def page(self, after: Key | None, limit: int, wanted: AuditFilter = ANY_ROW) -> Page[AuditRow]:
        """Rows, oldest first; only those that are wanted."""
        number = 0 if after is None else int(after[0])
        with self.records.read() as unit:
            found = unit.audit.after(number, limit + 1, wanted)
        return Page.of(found, limit, lambda row: (row.number,))


def _left_out(count: int, example: AuditEntry) -> AuditEntry:
    return AuditEntry(
        time_unix_s=example.time_unix_s,
        principal=ANONYMOUS,
        role=NO_ROLE,
        operation="unrecorded_refusals",
        outcome="refused",
        reason=f"{count} more in an earlier minute",
        correlation_id=example.correlation_id,
    )
