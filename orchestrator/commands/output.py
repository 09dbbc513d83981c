"""How commands answer: one JSON envelope on stdout with ``--json``, words for people on stderr, exit codes.

Exit codes: 0 done, 1 failed, 2 bad usage or input, 3 refused or not allowed, 4 timed out.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import wraps
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, ParamSpec

import typer

from orchestrator.client.errors import HubError, HubRefused, WrongBytes

if TYPE_CHECKING:
    from orchestrator.client.answers import Answer as Answered

_REFUSED = (401, 403, 409, 412)


class ExitCode(IntEnum):
    """What a command's exit code says."""

    DONE = 0
    FAILED = 1
    BAD_INPUT = 2
    REFUSED = 3
    TIMED_OUT = 4


class CommandError(Exception):
    """A command cannot do its work; the message says what to do next."""

    def __init__(self, message: str, *, code: str = "failed", exit_code: ExitCode = ExitCode.FAILED) -> None:
        super().__init__(message)
        self.code = code
        self.exit_code = exit_code


JsonOption = Annotated[bool, typer.Option("--json", help="Answer with one JSON envelope on stdout.")]


@dataclass(frozen=True)
class Answer:
    """What a command has to say: facts for programs, one sentence for people."""

    data: Mapping[str, Any]
    words: str


Parameters = ParamSpec("Parameters")


def answering(command: Callable[Parameters, Answer]) -> Callable[Parameters, None]:
    """Make a function that gives an ``Answer`` a command; it must take ``as_json``."""

    @wraps(command)
    def run(*arguments: Parameters.args, **options: Parameters.kwargs) -> None:
        as_json = bool(options["as_json"])
        try:
            answer = command(*arguments, **options)
        except (CommandError, HubError) as error:
            _fail(error, as_json)
        say(answer.words)
        if as_json:
            typer.echo(json.dumps({"ok": True, "data": answer.data}))

    run.__annotations__ = {**command.__annotations__, "return": None}
    return run


def reporting(command: Callable[Parameters, None]) -> Callable[Parameters, None]:
    """Make a function that runs until it is stopped a command."""

    @wraps(command)
    def run(*arguments: Parameters.args, **options: Parameters.kwargs) -> None:
        try:
            command(*arguments, **options)
        except CommandError as error:
            _fail(error, as_json=False)

    return run


def as_json_items(answers: "Sequence[Answered]") -> list[Any]:
    """The hub's answers as they go into an envelope; amounts as decimal strings, as in the API."""
    return [answer.model_dump(mode="json") for answer in answers]


def say(words: str) -> None:
    """Tell people something."""
    typer.echo(words, err=True)


def _fail(error: CommandError | HubError, as_json: bool) -> NoReturn:
    if isinstance(error, HubError):
        error = _of_hub(error)
    typer.echo(f"error: {error}", err=True)
    if as_json:
        typer.echo(json.dumps({"ok": False, "error": {"code": error.code, "message": str(error)}}))
    raise typer.Exit(error.exit_code)


def _of_hub(error: HubError) -> CommandError:
    """What the hub did not do, with the exit code that says why."""
    if not isinstance(error, HubRefused):
        code = "wrong_bytes" if isinstance(error, WrongBytes) else "unreachable"
        return CommandError(str(error), code=code)
    exit_code = ExitCode.FAILED
    if error.status in _REFUSED:
        exit_code = ExitCode.REFUSED
    elif 400 <= error.status < 500:
        exit_code = ExitCode.BAD_INPUT
    return CommandError(str(error), code=error.code, exit_code=exit_code)
