"""How the node's commands answer: a sentence, or one JSON envelope with ``--json``; exit codes."""

import json
from collections.abc import Mapping
from enum import IntEnum
from pathlib import Path
from typing import Annotated, NoReturn

import typer

ConfigOption = Annotated[
    Path, typer.Option("--config", envvar="COLLEGIUM_NODE_CONFIG", help="The node's node.json.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON envelope on stdout.")]


class ExitCode(IntEnum):
    """What a command's exit code says."""

    DONE = 0
    FAILED = 1
    BAD_INPUT = 2
    REFUSED = 3


def finish(data: Mapping[str, object], sentence: str, as_json: bool) -> None:
    """Say what was done."""
    if as_json:
        typer.echo(json.dumps({"ok": True, "data": data}))
    else:
        typer.echo(sentence)


def fail(code: ExitCode, sentence: str, as_json: bool) -> NoReturn:
    """Say why nothing was done, and exit."""
    if as_json:
        typer.echo(json.dumps({"ok": False, "error": {"code": code.name.lower(), "message": sentence}}))
    typer.echo(sentence, err=True)
    raise typer.Exit(code)
