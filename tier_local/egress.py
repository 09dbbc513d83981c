"""A hospital's egress log: what left, and what work was begun, in one hash-chained file.

The file also is the ledger of the hospital's budgets: steps and privacy are counted from its rows, so that
there is one truth and not two that a crash could part. Preserved whatever is killed when:

* a row is on the disk before what it speaks of happens: bytes leave after their row, steps begin after
  theirs. A crash between the two counts what did not happen, never the other way round;
* a line that was torn by a crash was never acted upon, and goes before the next row is written;
* a log that is not as it was written takes no more rows, so that nothing leaves.

``head.json`` beside it holds the newest row's number and hash, so that rows missing at the end are noticed.
Who can write both files can rewrite the log: the head's hash belongs on paper, or on another machine, from
time to time.
"""

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from contracts.digests import Digest
from contracts.hash_chain import (
    MOST_EXACT,
    ChainedRow,
    Tampering,
    check_chain,
    next_number,
    next_previous_hash,
)
from tier_local.errors import Refused
from tier_local.files import write_whole
from tier_local.rules import Rule

LOG_FILE = "egress.jsonl"
HEAD_FILE = "head.json"
_LOCK_FILE = "lock"

_Count = Annotated[int, Field(ge=0, le=MOST_EXACT)]
_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    time_unix_s: _Count
    task_digest: Digest
    parent_digest: Digest
    policy_digest: Digest
    """The policy that permitted it."""


class Part(BaseModel):
    """One thing that left: an adapter as its canonical file, anything else as canonical JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    what: Literal["adapter", "figures", "sums", "refusal", "failure"]
    size_bytes: _Count
    digest: Digest


class Release(BaseModel):
    """What an adapter's departure cost in privacy."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    clip_norm: _Positive
    noise_multiplier: _Positive
    mu_squared: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    """Squared parameter of Gaussian differential privacy; these add up. 0 when the same bytes left before."""
    delta: _Positive
    epsilon_of_year: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    """Spent in the 365 days up to this row, with it."""


class Work(_Entry):
    """Training that was begun."""

    kind: Literal["work"] = "work"
    steps: Annotated[int, Field(ge=1, le=MOST_EXACT)]


class Departure(_Entry):
    """Bytes that left, or were about to when the process died."""

    kind: Literal["departure"] = "departure"
    recipient: Annotated[str, Field(min_length=1, max_length=200)]
    parts: Annotated[tuple[Part, ...], Field(min_length=1, max_length=8, strict=False)]
    release: Release | None = None
    """None where the policy sets no privacy floor, and for what is no adapter."""


class EgressRow(ChainedRow):
    """An entry in its place in the log."""

    entry: Annotated[Work | Departure, Field(discriminator="kind")]


class _Head(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    number: Annotated[int, Field(ge=1, le=MOST_EXACT)]
    hash: Digest


class EgressLog:
    """The log while it is locked; see ``locked``."""

    def __init__(self, folder: Path, descriptor: int, rows: list[EgressRow]) -> None:
        self._folder, self._descriptor = folder, descriptor
        self._rows = rows

    @property
    def rows(self) -> Sequence[EgressRow]:
        """Every row, oldest first."""
        return self._rows

    @property
    def newest_unix_s(self) -> int:
        """The newest row's time; 0 in an empty log."""
        return max((row.entry.time_unix_s for row in self._rows), default=0)

    def append(self, entry: Work | Departure) -> EgressRow:
        """Write an entry; it is on the disk when this returns. Raises Refused."""
        previous = self._rows[-1] if self._rows else None
        row = EgressRow(
            number=next_number(previous),
            previous_hash=next_previous_hash(previous),
            hash="0x" + "00" * 32,
            entry=entry,
        )
        row = row.model_copy(update={"hash": row.computed_hash()})
        try:
            _write_all(self._descriptor, row.line().encode() + b"\n")
            os.fsync(self._descriptor)
            head = _Head(number=row.number, hash=row.hash)
            write_whole(self._folder / HEAD_FILE, head.model_dump_json().encode())
        except OSError as error:
            raise Refused(Rule.EGRESS_LOG, f"{self._folder}: {error.strerror}") from error
        self._rows.append(row)
        return row


@contextmanager
def locked(folder: Path) -> Iterator[EgressLog]:
    """The log in ``folder``, made if it is not there, for this process alone.

    Raises:
        Refused: it cannot be read or written, or is not as it was written.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(folder / _LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Refused(Rule.EGRESS_LOG, f"{folder}: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with _opened(folder) as log:
            yield log
    finally:
        os.close(lock)


def read_rows(folder: Path) -> tuple[EgressRow, ...]:
    """The rows of the log in ``folder``, whole lines only.

    Raises:
        OSError: the log cannot be read.
        ValueError: a line is not a row; the message names it.
    """
    return tuple(_rows((folder / LOG_FILE).read_bytes()))


def check_log(folder: Path, rows: Sequence[EgressRow]) -> tuple[Tampering, ...]:
    """What is not as it was written. Raises ValueError when the head file is not one."""
    head = _read_head(folder)
    if head is None:
        # The first row's head may not have been written when the process died.
        missing = Tampering("dropped", len(rows) + 1, len(rows) + 1, f"{HEAD_FILE} is missing")
        return check_chain(rows) + ((missing,) if len(rows) > 1 else ())
    found = check_chain(rows, head.number)
    of_head = [row for row in rows if row.number == head.number]
    if of_head and of_head[0].hash != head.hash:
        sentence = f"row {head.number} is not the one that {HEAD_FILE} names"
        found += (Tampering("replaced", head.number, head.number, sentence),)
    return found


@contextmanager
def _opened(folder: Path) -> Iterator[EgressLog]:
    try:
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(folder / LOG_FILE, flags, 0o600)
    except OSError as error:
        raise Refused(Rule.EGRESS_LOG, f"{folder / LOG_FILE}: {error.strerror}") from error
    try:
        rows = _checked_rows(folder, descriptor)
        yield EgressLog(folder, descriptor, rows)
    finally:
        os.close(descriptor)


def _checked_rows(folder: Path, descriptor: int) -> list[EgressRow]:
    try:
        data = (folder / LOG_FILE).read_bytes()
        rows = list(_rows(data))
        tampering = check_log(folder, rows)
        if not tampering:
            _forget_torn_line(folder, descriptor, data)
    except (OSError, ValueError) as error:
        raise Refused(Rule.EGRESS_LOG, f"{folder}: {error}") from error
    if tampering:
        raise Refused(Rule.EGRESS_LOG, f"{folder}: {tampering[0].sentence}")
    return rows


def _forget_torn_line(folder: Path, descriptor: int, data: bytes) -> None:
    whole_bytes = data.rfind(b"\n") + 1
    if whole_bytes < len(data):
        os.ftruncate(descriptor, whole_bytes)
    if whole_bytes == 0:
        # A new file's name must outlive the machine's next failure too.
        _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _rows(data: bytes) -> Iterator[EgressRow]:
    for number, line in enumerate(data.split(b"\n")[:-1], start=1):
        try:
            yield EgressRow.model_validate_json(line)
        except ValidationError as error:
            first = error.errors(include_input=False, include_context=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or "the line"
            raise ValueError(f"{LOG_FILE} line {number} is not a row: {where}: {first['msg']}") from None


def _read_head(folder: Path) -> _Head | None:
    try:
        return _Head.model_validate_json((folder / HEAD_FILE).read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError:
        raise ValueError(f"{HEAD_FILE} does not hold a row's number and hash") from None


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
