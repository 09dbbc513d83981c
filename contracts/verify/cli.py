"""``collegium verify``: recompute a task from a chain and its artifacts, and say what is wrong."""

import json
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from enum import IntEnum
from pathlib import Path
from types import FrameType, TracebackType
from typing import Annotated, Literal

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from contracts.deployment import Deployment
from contracts.errors import ContractViolation
from contracts.hostile_text import printable
from contracts.verify.errors import BadInput, CannotVerify, TimedOut
from contracts.verify.verdict import Verdict

app = typer.Typer(help="Recompute a task from the chain and its artifacts.", add_completion=False)

_MOST_FILE_BYTES = 1 << 20
_ALARM_AGAIN_S = 5.0


class ExitCode(IntEnum):
    """What the command's exit code says."""

    OK = 0
    WRONG_FACT = 1
    NO_VERDICT = 2
    TIMED_OUT = 4


@app.callback(invoke_without_command=True)
def verify(
    task: Annotated[int, typer.Option(min=1, help="The task's number on the chain.")],
    rpc_url: Annotated[str, typer.Option(envvar="COLLEGIUM_RPC_URL", help="The chain's JSON-RPC address.")],
    deployment: Annotated[
        Path, typer.Option(envvar="COLLEGIUM_DEPLOYMENT_FILE", help="The deployment file.")
    ],
    artifacts: Annotated[
        str,
        typer.Option(
            envvar="COLLEGIUM_ARTIFACT_FOLDER",
            help="A folder of artifacts, or the address of an orchestrator that serves them.",
        ),
    ],
    token_file: Annotated[
        Path | None, typer.Option(help="A file with the token that the orchestrator asks for.")
    ] = None,
    timeout_s: Annotated[
        float, typer.Option(min=1, max=1e6, help="How long all of it may take, in seconds.")
    ] = 3600.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON envelope on stdout.")] = False,
) -> None:
    """Say ok, or name the first fact that is wrong.

    Exit code: 0 ok, 1 wrong fact, 2 no verdict, 4 timed out.
    """
    with _NoAccusationByCrash(as_json):
        verdict = _verdict(task, rpc_url, deployment, artifacts, token_file, timeout_s, as_json)
        if as_json:
            _print_envelope(_envelope(verdict))
        else:
            Console().print(_table(verdict))
        _say_result(verdict, Console(stderr=as_json))
        raise typer.Exit(ExitCode.OK if verdict.ok else ExitCode.WRONG_FACT)


def _verdict(
    task: int,
    rpc_url: str,
    deployment: Path,
    artifacts: str,
    token_file: Path | None,
    timeout_s: float,
    as_json: bool,
) -> Verdict:
    # The aggregation loads when it is needed, so that --help is quick.
    from contracts.verify.artifact_source import open_source
    from contracts.verify.checks import verify_task

    try:
        with _time_limit(timeout_s):
            token = _text_of(token_file) if token_file else None
            source = open_source(artifacts, token=token)
            return verify_task(rpc_url, source, Deployment.parse(_bytes_of(deployment)), task)
    except TimedOut as error:
        _say_no_verdict(str(error), as_json, "timed_out")
        raise typer.Exit(ExitCode.TIMED_OUT) from error
    except (CannotVerify, ContractViolation, OSError) as error:
        _say_no_verdict(str(error), as_json, "no_verdict")
        raise typer.Exit(ExitCode.NO_VERDICT) from error


class _NoAccusationByCrash:
    """Makes any other way to end exit with 2: Python's own 1 would accuse somebody of a wrong fact."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json

    def __enter__(self) -> None:
        """Nothing to set up."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]:
        if error is None or isinstance(error, (typer.Exit, SystemExit)):
            return False
        if not isinstance(error, KeyboardInterrupt):
            traceback.print_exception(error, file=sys.stderr)
        text = "interrupted" if isinstance(error, KeyboardInterrupt) else f"the verifier failed: {error!r}"
        _say_no_verdict(text, self._as_json, "no_verdict")
        raise typer.Exit(ExitCode.NO_VERDICT) from error


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """Raise TimedOut in the main thread when the time is over, whatever it is doing then."""

    def over(number: int, frame: FrameType | None) -> None:
        raise TimedOut(f"it took more than {seconds:g} s; --timeout-s allows more")

    before = signal.signal(signal.SIGALRM, over)
    # Again and again: a library might swallow the first.
    signal.setitimer(signal.ITIMER_REAL, seconds, _ALARM_AGAIN_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _bytes_of(path: Path) -> bytes:
    with path.open("rb") as file:
        data = file.read(_MOST_FILE_BYTES + 1)
    if len(data) > _MOST_FILE_BYTES:
        raise BadInput(f"{path} has more than {_MOST_FILE_BYTES} bytes")
    return data


def _text_of(token_file: Path) -> str:
    try:
        token = _bytes_of(token_file).decode("ascii").strip()
    except UnicodeDecodeError as error:
        raise BadInput(f"{token_file} is no token: it holds other bytes than ASCII text") from error
    if not token or not token.isprintable():
        raise BadInput(f"{token_file} is no token: it is empty or has several lines")
    return token


def _envelope(verdict: Verdict) -> dict[str, object]:
    envelope: dict[str, object] = {"ok": verdict.ok, "data": verdict.model_dump(mode="json")}
    if verdict.wrong is not None:
        envelope["error"] = {"code": "wrong_fact", "message": verdict.wrong.sentence}
    return envelope


def _print_envelope(envelope: dict[str, object]) -> None:
    typer.echo(json.dumps(envelope))


def _table(verdict: Verdict) -> Table:
    # Narrow enough for a terminal of 80 columns.
    table = Table(title=f"Task {verdict.task}, verified at block {verdict.block}", box=box.SIMPLE)
    for heading in ("round", "phase", "parent", "accepted", "votes", "faults", "aggregate", "paid"):
        table.add_column(heading, no_wrap=True)
    for checked in verdict.rounds:
        table.add_row(
            str(checked.round),
            "paused" if checked.was_paused else checked.phase,
            _short(checked.parent_digest),
            f"{checked.accepted} of {checked.proposals}",
            f"{checked.reveals}+{checked.attested}",
            str(checked.faults),
            _short(checked.aggregate_digest) if checked.aggregate_digest else "none",
            f"{Decimal(checked.paid).scaleb(-verdict.token_decimals):,.2f}",
        )
    table.caption = "votes: scores revealed + attestations; paid: tokens"
    return table


def _say_result(verdict: Verdict, console: Console) -> None:
    for note in verdict.notes:
        _say(console, f"not checked: {note}", "yellow")
    unchecked = f", {verdict.facts_unchecked} could not be checked" if verdict.facts_unchecked else ""
    if verdict.wrong is None:
        _say(console, f"ok: {verdict.facts_compared} facts agree{unchecked}", "green")
    else:
        _say(console, f"WRONG: {verdict.wrong.sentence}", "bold red")


def _say_no_verdict(reason: str, as_json: bool, code: str) -> None:
    if as_json:
        _print_envelope({"ok": False, "error": {"code": code, "message": reason}})
    _say(Console(stderr=True), f"no verdict: {reason}", "red")


def _say(console: Console, sentence: str, style: str) -> None:
    # A hostile endpoint, source or file may have a word in it, and could clear the screen or say "ok".
    console.print(printable(sentence), style=style, markup=False, highlight=False, soft_wrap=True)


def _short(digest: str) -> str:
    return digest[:8] + "…"
