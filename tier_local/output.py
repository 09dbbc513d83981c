"""How ``collegium local`` answers: words, or one JSON envelope with ``--json``; exit codes as everywhere."""

import json
from collections.abc import Mapping
from typing import Annotated, NoReturn

import typer

from tier_local.errors import ExitCode

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON envelope on stdout.")]


def finish(data: Mapping[str, object], words: str, as_json: bool) -> None:
    """Say what was found or done."""
    if as_json:
        typer.echo(json.dumps({"ok": True, "data": data}))
    else:
        typer.echo(words)


def fail(code: ExitCode, words: str, as_json: bool, data: Mapping[str, object] | None = None) -> NoReturn:
    """Say what is wrong, and exit."""
    if as_json:
        error = {"code": code.name.lower(), "message": words, **(data or {})}
        typer.echo(json.dumps({"ok": False, "error": error}))
    typer.echo(words, err=True)
    raise typer.Exit(code)
