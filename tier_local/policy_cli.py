"""``collegium local policy …`` and ``collegium local egress …``: a hospital looks at its policy and log."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tier_local.errors import ExitCode
from tier_local.output import JsonOption, fail, finish

if TYPE_CHECKING:
    from tier_local.egress import EgressRow
    from tier_local.policy import Policy, Refusal

policy_app = typer.Typer(help="A hospital's own policy.", no_args_is_help=True)
egress_app = typer.Typer(help="What left the hospital.", no_args_is_help=True)

PolicyArgument = Annotated[Path, typer.Argument(metavar="FILE", help="The policy file.")]
StateArgument = Annotated[Path, typer.Argument(metavar="FOLDER", help="The site's state folder.")]
SpecOption = Annotated[
    Path | None, typer.Option("--spec", help="A task spec; what refuses it now is said, with exit code 3.")
]


@policy_app.command()
def check(file: PolicyArgument, spec: SpecOption = None, as_json: JsonOption = False) -> None:
    """Say whether a policy is valid and safe where it lies, and, with --spec, whether it permits the task."""
    policy = _policy(file, as_json)
    data = {"site": policy.site, "digest": policy.digest}
    _require_permitted(file, policy, spec, as_json)
    finish(data, f"{file} is a policy of {policy.site}; its digest is {policy.digest}", as_json)


@policy_app.command()
def explain(file: PolicyArgument, spec: SpecOption = None, as_json: JsonOption = False) -> None:
    """Say in words what a policy permits, and, with --spec, why it would refuse the task."""
    from tier_local.policy_words import words_of

    policy = _policy(file, as_json)
    words = words_of(policy)
    if not as_json:
        typer.echo("\n".join(words))
    _require_permitted(file, policy, spec, as_json)
    data = {"site": policy.site, "digest": policy.digest, "permits": words}
    finish(data, "this task is permitted now" if spec is not None else "", as_json)


@egress_app.command()
def show(folder: StateArgument, as_json: JsonOption = False) -> None:
    """List what left and what was begun, oldest first, and the newest row's hash to write down."""
    rows = _rows(folder, as_json)
    head = rows[-1].hash if rows else None
    lines = [*(_line(row) for row in rows), f"{len(rows)} rows, the newest row's hash is {head}"]
    data = {"rows": [row.model_dump(mode="json") for row in rows], "head": head}
    finish(data, "\n".join(lines), as_json)


@egress_app.command()
def verify(folder: StateArgument, as_json: JsonOption = False) -> None:
    """Find rows that were edited, dropped, inserted or reordered; exit code 1 when there are any."""
    from tier_local.egress import check_log

    rows = _rows(folder, as_json)
    try:
        found = check_log(folder, rows)
    except (OSError, ValueError) as error:
        fail(ExitCode.FAILED, f"{folder}: {error}", as_json)
    if found:
        tampering = [{"kind": each.kind, "first": each.first, "last": each.last} for each in found]
        words = "\n".join(f"{each.kind}: {each.sentence}" for each in found)
        fail(ExitCode.FAILED, words, as_json, {"tampering": tampering})
    head = rows[-1].hash if rows else None
    finish({"rows": len(rows), "head": head}, f"{len(rows)} rows are as they were written", as_json)


def _policy(file: Path, as_json: bool) -> "Policy":
    from tier_local.errors import Refused
    from tier_local.policy import read_policy

    try:
        return read_policy(file)
    except Refused as error:
        fail(ExitCode.BAD_INPUT, error.detail, as_json, {"rule": error.rule.value})


def _require_permitted(file: Path, policy: "Policy", spec_file: Path | None, as_json: bool) -> None:
    if spec_file is None:
        return
    found = list(_refusals(file, policy, spec_file, as_json))
    if found:
        words = "\n".join(f"policy rule {each.rule.value}: {each.detail}" for each in found)
        fail(ExitCode.REFUSED, words, as_json, {"rules": [each.rule.value for each in found]})


def _refusals(file: Path, policy: "Policy", spec_file: Path, as_json: bool) -> "Iterator[Refusal]":
    """What refuses training on a task now: all but what depends on the records and on what was spent."""
    from contracts.errors import ContractViolation
    from contracts.task import TaskSpec
    from tier_local.errors import Refused
    from tier_local.policy import Refusal, Wish, refusals, require_not_stopped

    try:
        spec = TaskSpec.parse(spec_file.read_bytes())
    except (OSError, ContractViolation) as error:
        fail(ExitCode.BAD_INPUT, f"{spec_file}: {error}", as_json)
    try:
        require_not_stopped(file, policy)
    except Refused as error:
        yield Refusal(error.rule, error.detail)
    wish = Wish("train", spec.digest, spec.base_model.digest, spec.training.steps, data_folder=None)
    yield from refusals(policy, wish, time.time())


def _rows(folder: Path, as_json: bool) -> "tuple[EgressRow, ...]":
    from tier_local.egress import read_rows

    try:
        return read_rows(folder)
    except OSError as error:
        fail(ExitCode.BAD_INPUT, f"{error.filename}: {error.strerror}", as_json)
    except ValueError as error:
        fail(ExitCode.FAILED, f"{folder}: {error}", as_json)


def _line(row: "EgressRow") -> str:
    from tier_local.egress import Work

    entry = row.entry
    stamp = datetime.fromtimestamp(entry.time_unix_s, tz=UTC).strftime("%Y-%m-%d %H:%M:%S")
    where = f"{row.number}  {stamp}  task {entry.task_digest[:10]}"
    if isinstance(entry, Work):
        return f"{where}  began {entry.steps} steps"
    parts = ", ".join(f"{part.what} of {part.size_bytes} bytes {part.digest}" for part in entry.parts)
    release = entry.release
    spent = "" if release is None else f", ε of the year {release.epsilon_of_year:.2f} at δ {release.delta:g}"
    return f"{where}  to {entry.recipient}: {parts}{spent}"
