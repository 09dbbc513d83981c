"""``collegium verify``: recompute a task from a chain and its artifacts, and say what is wrong."""

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
    as_json: Annotated[bool, typer.Option("--json", help="Print the verdict as JSON.")] = False,
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
        Console(stderr=True).print(f"no verdict: {error}", style="red", markup=False, soft_wrap=True)
        raise typer.Exit(ExitCode.NO_VERDICT) from error
    if as_json:
        typer.echo(verdict.model_dump_json(indent=2))
    else:
        _print(verdict, Console())
    raise typer.Exit(ExitCode.OK if verdict.ok else ExitCode.WRONG_FACT)


def _print(verdict: Verdict, console: Console) -> None:
    table = Table(title=f"Task {verdict.task}, verified at block {verdict.block}")
    for heading in ("round", "phase", "parent", "accepted", "voters", "aggregate", "paid"):
        table.add_column(heading, justify="right" if heading in ("round", "paid") else "left")
    for checked in verdict.rounds:
        table.add_row(
            str(checked.round),
            checked.phase,
            _short(checked.parent_digest),
            f"{checked.accepted} of {checked.proposals}",
            str(checked.reveals),
            _short(checked.aggregate_digest) if checked.aggregate_digest else "parent kept",
            str(checked.paid),
        )
    console.print(table)
    for note in verdict.notes:
        console.print(f"note: {note}", style="yellow", markup=False, soft_wrap=True)
    if verdict.wrong is None:
        console.print(f"ok: {verdict.facts_compared} facts agree", style="green", markup=False)
    else:
        console.print(f"WRONG: {verdict.wrong.sentence}", style="bold red", markup=False, soft_wrap=True)


def _short(digest: str) -> str:
    return digest[:14] + "…"
