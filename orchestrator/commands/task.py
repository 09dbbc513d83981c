"""``collegium task …``: create tasks."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from orchestrator.commands.client import HubClient, TokenFileOption, UrlOption
from orchestrator.commands.output import Answer, CommandError, ExitCode, JsonOption, answering, say
from orchestrator.commands.waiting import wait_for

task = typer.Typer(no_args_is_help=True, help="Tasks: one model, fine-tuned over a number of rounds.")


@task.callback()
def _group() -> None:
    """Keep ``create`` a sub-command while it is the only one."""


@task.command("create")
@answering
def create(
    spec: Annotated[Path, typer.Option(help="The task spec (JSON).")],
    genesis: Annotated[
        Path, typer.Option(help="The adapter that the first round starts from (safetensors).")
    ],
    config: Annotated[Path, typer.Option(help="The terms on chain (JSON): rounds, quorums, durations, …")],
    pool: Annotated[str, typer.Option(help="Base units of the token to pay into the task's pool.")],
    url: UrlOption,
    token_file: TokenFileOption,
    name: Annotated[str | None, typer.Option(help="A display name; else the spec's.")] = None,
    timeout_s: Annotated[float, typer.Option(help="How long to wait for the chain.")] = 90.0,
    as_json: JsonOption = False,
) -> Answer:
    """Upload a task's artifacts, create it on chain, fund its pool, and wait until that is done."""
    from contracts.digests import sha256_digest
    from contracts.errors import ContractViolation
    from contracts.task import TaskSpec

    hub = HubClient(url, token_file)
    try:
        parsed = TaskSpec.parse(_read(spec))
    except ContractViolation as error:
        raise CommandError(f"{spec}: {error}", code=error.code, exit_code=ExitCode.BAD_INPUT) from error
    if sha256_digest(_read(genesis)) != parsed.genesis_digest:
        message = f"{genesis} does not have the digest that the spec names, {parsed.genesis_digest}"
        raise CommandError(message, code="digest_mismatch", exit_code=ExitCode.BAD_INPUT)
    hub.upload_bytes(parsed.digest, parsed.canonical_bytes())
    hub.upload(parsed.genesis_digest, genesis)
    body = {
        "spec_digest": parsed.digest,
        "name": name or parsed.name,
        "config": _terms(config) | {"spec_digest": parsed.digest, "genesis_digest": parsed.genesis_digest},
        "pool": pool,
    }
    hub.post("/v1/tasks", body)
    say("the task is ordered; waiting for the chain")
    number = wait_for(lambda: _number_on_chain(hub, parsed.digest, int(pool)), "creating the task", timeout_s)
    return Answer({"task": number, "spec_digest": parsed.digest}, f"task {number} is on chain and funded")


def _terms(file: Path) -> dict[str, Any]:
    try:
        terms = json.loads(_read(file))
    except ValueError as error:
        raise CommandError(
            f"{file} is not JSON: {error}", code="bad_terms", exit_code=ExitCode.BAD_INPUT
        ) from error
    if not isinstance(terms, dict):
        raise CommandError(f"{file} is not a JSON object", code="bad_terms", exit_code=ExitCode.BAD_INPUT)
    return terms


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise CommandError(
            f"{file} cannot be read: {error.strerror}", code="bad_file", exit_code=ExitCode.BAD_INPUT
        ) from error


def _number_on_chain(hub: HubClient, spec_digest: str, pool: int) -> int | None:
    """The task's number, once it is created and has its pool."""
    for item in hub.get("/v1/tasks")["items"]:
        if item["spec_digest"] != spec_digest:
            continue
        if item["status"] == "refused":
            message = f"the chain refuses the task: {item['error']}"
            raise CommandError(message, code="refused", exit_code=ExitCode.REFUSED)
        if item["error"] is not None:
            message = f"task {item['task']} is on chain, but it cannot be funded yet: {item['error']}"
            raise CommandError(message, code="not_funded", exit_code=ExitCode.REFUSED)
        funded = pool == 0 or int(item["pool"]) > 0 or item["rounds_requested"] > 0
        return item["task"] if item["task"] is not None and funded else None
    return None
