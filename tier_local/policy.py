"""A hospital's own policy: what the hub and the network may have done with its records.

A JSON file at the hospital, ``collegium.policy/1``; ``docs/policy.md`` explains every field. Every field has
to be there: null says on purpose that something has no limit, and nothing is permitted by having been
forgotten. The file is read anew whenever it is needed.

Not here: where the rules are applied (``guard``), and what was used up already (``budgets``).
"""

import json
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import rfc8785
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from contracts.digests import Digest, sha256_digest
from tier_local.errors import Refused
from tier_local.network import SiteName
from tier_local.rules import Rule

MOST_POLICY_BYTES = 1 << 16
_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH

Day = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
_DAYS: tuple[Day, ...] = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
Use = Literal["train", "evaluate"]


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError("not a time zone that this machine knows") from error
    return name


def _absolute(path: str) -> str:
    if not Path(path).is_absolute() or ".." in Path(path).parts:
        raise ValueError("an absolute path without '..' is needed")
    return path


def _plain_name(name: str) -> str:
    if Path(name).name != name or name in (".", ".."):
        raise ValueError("a file's name without a folder is needed")
    return name


ClockTime = Annotated[str, StringConstraints(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]
Steps = Annotated[int, Field(ge=1, le=10**9)]
Digests = Annotated[tuple[Digest, ...], Field(min_length=1, max_length=1000)]
Anything = Literal["any"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class DataSet(_Part):
    """A folder of records, and what they may be used for."""

    folder: Annotated[str, StringConstraints(min_length=1, max_length=4096), AfterValidator(_absolute)]
    uses: Annotated[tuple[Use, ...], Field(min_length=1, max_length=2)]


class WorkLimits(_Part):
    """How much training; null is no limit. A day is any 24 hours."""

    most_steps_per_round: Steps | None
    most_epochs_per_round: Annotated[float, Field(gt=0, le=1_000_000)] | None
    most_steps_per_day: Steps | None
    most_steps_per_task: Steps | None


class Resources(_Part):
    """What the site's process may take of the machine.

    ``most_memory_bytes`` bounds what the process writes to (``RLIMIT_DATA``); the base model's file is only
    mapped, and does not count. ``gpu_memory_share``: null permits no GPU at all.
    """

    most_memory_bytes: Annotated[int, Field(ge=1 << 28, le=1 << 46)] | None
    gpu_memory_share: Annotated[float, Field(gt=0, le=1)] | None


class Window(_Part):
    """From one time of day to another; past midnight where the second is not later. Equal: 24 hours."""

    days: Annotated[tuple[Day, ...], Field(min_length=1, max_length=7)]
    """The days on which the window begins."""
    begins: ClockTime
    ends: ClockTime


class Hours(_Part):
    """When work is permitted, by the clock on the wall in a time zone."""

    time_zone: Annotated[str, StringConstraints(max_length=100), AfterValidator(_known_zone)]
    windows: Annotated[tuple[Window, ...], Field(min_length=1, max_length=50)]

    def permit(self, now_unix_s: float) -> bool:
        """Whether a moment lies in a window."""
        here = datetime.fromtimestamp(now_unix_s, tz=UTC).astimezone(ZoneInfo(self.time_zone))
        today, yesterday = _DAYS[here.weekday()], _DAYS[(here - timedelta(days=1)).weekday()]
        return any(_covers(window, here.time(), today, yesterday) for window in self.windows)


class PrivacyFloor(_Part):
    """Every update is clipped and gets Gaussian noise before it leaves; ``privacy`` says what that means."""

    clip_norm: Annotated[float, Field(gt=0, le=1e6)]
    noise_multiplier: Annotated[float, Field(ge=0.01, le=1e6)]
    """Standard deviation of the noise as a multiple of the clip norm."""
    delta: Annotated[float, Field(ge=1e-15, le=0.01)]
    most_epsilon_per_year: Annotated[float, Field(gt=0, le=1000)]
    """A year is any 365 days."""
    figures: Literal["exact", "withheld"]
    """Counts and losses carry no noise: ``withheld`` keeps them in, and with them every evaluation."""


class Policy(_Part):
    """What a hospital permits; read with ``read_policy``."""

    schema_version: Literal["collegium.policy/1"] = Field(alias="schema")
    site: SiteName
    tasks: Digests | Anything
    """Digests of task specs."""
    base_models: Digests | Anything
    data_sets: Annotated[tuple[DataSet, ...], Field(min_length=1, max_length=100)]
    work: WorkLimits
    resources: Resources
    hours: Hours | None
    least_records: Annotated[int, Field(ge=1, le=10**12)]
    privacy: PrivacyFloor | None
    logs_may_leave: bool
    """Whether the words of an error may leave; they may name files and lines, never a record."""
    kill_switch_file: Annotated[
        str, StringConstraints(min_length=1, max_length=255), AfterValidator(_plain_name)
    ]
    """While a file of this name lies beside the policy, nothing is permitted."""

    @model_validator(mode="after")
    def _folders_are_named_once(self) -> Self:
        folders = [data_set.folder for data_set in self.data_sets]
        if len(set(folders)) != len(folders):
            raise ValueError("data_sets: each folder appears once")
        return self

    @property
    def digest(self) -> str:
        """SHA-256 of the policy as canonical JSON (RFC 8785)."""
        return sha256_digest(rfc8785.dumps(self.model_dump(mode="json", by_alias=True)))


@dataclass(frozen=True)
class Wish:
    """What somebody wants done at a hospital, as far as it can be judged before its records are opened."""

    use: Use
    task_digest: str
    base_model_digest: str
    steps: int
    """Training steps; 0 in an evaluation."""
    data_folder: Path | None
    """None where it is not known yet: a policy's folders are not compared then."""


@dataclass(frozen=True)
class Refusal:
    """A rule that forbids a wish, and why, in words for the hospital's own people."""

    rule: Rule
    detail: str


def refusals(policy: Policy, wish: Wish, now_unix_s: float) -> Iterator[Refusal]:
    """Every rule that forbids the wish, by the policy's text and the time alone."""
    if policy.hours is not None and not policy.hours.permit(now_unix_s):
        yield Refusal(Rule.HOURS, f"no window of hours is open ({policy.hours.time_zone})")
    if policy.tasks != "any" and wish.task_digest not in policy.tasks:
        yield Refusal(Rule.TASKS, f"the task {wish.task_digest} is not among the policy's tasks")
    if policy.base_models != "any" and wish.base_model_digest not in policy.base_models:
        yield Refusal(
            Rule.BASE_MODELS, f"the base model {wish.base_model_digest} is not among the policy's base models"
        )
    if not _permits_use(policy, wish):
        yield Refusal(
            Rule.DATA_SETS,
            f"to {wish.use} on {wish.data_folder or 'records'} is not among the policy's data sets",
        )
    most_steps = policy.work.most_steps_per_round
    if most_steps is not None and wish.steps > most_steps:
        yield Refusal(
            Rule.STEPS_PER_ROUND,
            f"the task wants {wish.steps} steps in a round, the policy permits {most_steps}",
        )
    if wish.use == "evaluate" and policy.privacy is not None and policy.privacy.figures == "withheld":
        yield Refusal(Rule.FIGURES, "an evaluation's answer is figures, and privacy.figures withholds them")


def read_policy(path: Path) -> Policy:
    """The policy in the file at ``path``, as it is now.

    Raises:
        Refused: it is missing, not a plain file that only its owner can write, or not the schema.
    """
    try:
        data = _read_safely(path)
        return _parse(data)
    except OSError as error:
        raise Refused(Rule.POLICY_FILE, f"{path}: {error.strerror or error}") from error
    except ValueError as error:
        raise Refused(Rule.POLICY_FILE, f"{path}: {error}") from error


def require_not_stopped(policy_file: Path, policy: Policy) -> None:
    """Raises Refused while the kill switch is on, or cannot be looked for."""
    switch = policy_file.parent / policy.kill_switch_file
    try:
        switch.lstat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise Refused(Rule.KILL_SWITCH, f"{switch}: {error.strerror}") from error
    raise Refused(Rule.KILL_SWITCH, f"{switch} is there")


def _covers(window: Window, moment: time, today: Day, yesterday: Day) -> bool:
    begins, ends = time.fromisoformat(window.begins), time.fromisoformat(window.ends)
    if begins < ends:
        return today in window.days and begins <= moment < ends
    return (today in window.days and moment >= begins) or (yesterday in window.days and moment < ends)


def _permits_use(policy: Policy, wish: Wish) -> bool:
    wanted = None if wish.data_folder is None else wish.data_folder.resolve()
    return any(
        wish.use in data_set.uses and wanted in (None, Path(data_set.folder).resolve())
        for data_set in policy.data_sets
    )


def _read_safely(path: Path) -> bytes:
    """The file's bytes. Raises OSError, and ValueError where somebody else could have written them."""
    _require_own(path.parent.stat(), f"the folder {path.parent}")
    # Not blocking: opening a pipe that nobody writes to would wait for ever.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("not a plain file")
        _require_own(status, "the file")
        data = file.read(MOST_POLICY_BYTES + 1)
    if len(data) > MOST_POLICY_BYTES:
        raise ValueError(f"a policy has at most {MOST_POLICY_BYTES} bytes")
    return data


def _require_own(status: os.stat_result, what: str) -> None:
    if status.st_uid not in (0, os.geteuid()):
        raise ValueError(f"{what} belongs to another user")
    if status.st_mode & _WRITABLE_BY_OTHERS:
        raise ValueError(f"others can write to {what}; chmod go-w")


def _parse(data: bytes) -> Policy:
    try:
        # Before the schema, which would take the last of two fields of one name.
        json.loads(data, object_pairs_hook=_without_doubles, parse_constant=_no_constant)
        return Policy.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_input=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the policy"
        raise ValueError(f"{where}: {first['msg']}") from None
    except RecursionError:
        raise ValueError("nested too deep") from None


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    if len(set(names)) != len(names):
        raise ValueError("a field appears twice")
    return dict(pairs)


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no number of a policy")
