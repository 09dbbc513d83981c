"""``collegium verify``: recompute a task from a chain and its artifacts, and say what is wrong."""

import json
from decimal import Decimal
from enum import IntEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from contracts.deployment import Deployment
from contracts.errors import ContractViolation
from contracts.verify.verdict import Verdict

app = typer.Typer(help="Recompute a task from the chain and its artifacts.", add_completion=False)


class ExitCode(IntEnum):
    """What the command's exit code says."""

    OK = 0
    WRONG_FACT = 1
    NO_VERDICT = 2


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
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON envelope on stdout.")] = False,
) -> None:
    """Say ok, or name the first fact that is wrong. Exit code: 0 ok, 1 wrong fact, 2 no verdict."""
    # web3 and the aggregation load when they are needed, so that --help is quick.
    from contracts.verify.artifact_source import open_source
    from contracts.verify.checks import verify_task
    from contracts.verify.errors import CannotVerify

    try:
        token = token_file.read_text().strip() if token_file else None
        source = open_source(artifacts, token=token)
        verdict = verify_task(rpc_url, source, Deployment.parse(deployment.read_bytes()), task)
    except (CannotVerify, ContractViolation, OSError) as error:
        if as_json:
            _print_envelope({"ok": False, "error": {"code": "no_verdict", "message": str(error)}})
        _say(Console(stderr=True), f"no verdict: {error}", "red")
        raise typer.Exit(ExitCode.NO_VERDICT) from error
    if as_json:
        _print_envelope(_envelope(verdict))
    else:
        Console().print(_table(verdict))
    _say_result(verdict, Console(stderr=as_json))
    raise typer.Exit(ExitCode.OK if verdict.ok else ExitCode.WRONG_FACT)


def _envelope(verdict: Verdict) -> dict[str, object]:
    envelope: dict[str, object] = {"ok": verdict.ok, "data": verdict.model_dump(mode="json")}
    if verdict.wrong is not None:
        envelope["error"] = {"code": "wrong_fact", "message": verdict.wrong.sentence}
    return envelope


def _print_envelope(envelope: dict[str, object]) -> None:
    typer.echo(json.dumps(envelope))


def _table(verdict: Verdict) -> Table:
    table = Table(title=f"Task {verdict.task}, verified at block {verdict.block}")
    for heading in ("round", "phase", "parent", "accepted", "voters", "aggregate", "paid (tokens)"):
        table.add_column(heading, no_wrap=True)
    for checked in verdict.rounds:
        table.add_row(
            str(checked.round),
            checked.phase,
            _short(checked.parent_digest),
            f"{checked.accepted} of {checked.proposals}",
            str(checked.reveals),
            _short(checked.aggregate_digest) if checked.aggregate_digest else "parent kept",
            f"{Decimal(checked.paid).scaleb(-verdict.token_decimals):,.2f}",
        )
    return table


def _say_result(verdict: Verdict, console: Console) -> None:
    for note in verdict.notes:
        _say(console, f"note: {note}", "yellow")
    if verdict.wrong is None:
        _say(console, f"ok: {verdict.facts_compared} facts agree", "green")
    else:
        _say(console, f"WRONG: {verdict.wrong.sentence}", "bold red")


def _say(console: Console, sentence: str, style: str) -> None:
    console.print(sentence, style=style, markup=False, highlight=False, soft_wrap=True)


def _short(digest: str) -> str:
    return digest[:10] + "…"
