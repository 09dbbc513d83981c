"""``collegium task …``: create tasks, pause, let go on, cancel and refund them."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from orchestrator.commands.client import HubClient, TokenFileOption, UrlOption
from orchestrator.commands.output import Answer, CommandError, ExitCode, JsonOption, answering, say
from orchestrator.commands.waiting import TimeoutOption, answer_when_mined, wait_for

task = typer.Typer(no_args_is_help=True, help="Tasks: one model, fine-tuned over a number of rounds.")


NumberOption = Annotated[int, typer.Option("--task", min=1, help="The task's number on chain.")]


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
    timeout_s: TimeoutOption = 90.0,
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


@task.command("pause")
@answering
def pause(
    number: NumberOption,
    url: UrlOption,
    token_file: TokenFileOption,
    timeout_s: TimeoutOption = 60.0,
    as_json: JsonOption = False,
) -> Answer:
    """Abort the open round, without faults, and open no other (needs an admin's token)."""
    hub = HubClient(url, token_file)
    intent = hub.post(f"/v1/tasks/{number}/pause", {})
    return answer_when_mined(hub, intent, f"task {number} is paused", timeout_s)


@task.command("unpause")
@answering
def unpause(
    number: NumberOption,
    url: UrlOption,
    token_file: TokenFileOption,
    timeout_s: TimeoutOption = 60.0,
    as_json: JsonOption = False,
) -> Answer:
    """Let a paused task open rounds again (needs an admin's token)."""
    hub = HubClient(url, token_file)
    intent = hub.delete(f"/v1/tasks/{number}/pause")
    return answer_when_mined(hub, intent, f"task {number} goes on", timeout_s)


@task.command("cancel")
@answering
def cancel(
    number: NumberOption,
    url: UrlOption,
    token_file: TokenFileOption,
    timeout_s: TimeoutOption = 60.0,
    as_json: JsonOption = False,
) -> Answer:
    """End a task for good, after its open round if there is one (needs an admin's token)."""
    hub = HubClient(url, token_file)
    intent = hub.post(f"/v1/tasks/{number}/cancellation", {})
    return answer_when_mined(hub, intent, f"task {number} is cancelled", timeout_s)


@task.command("refund")
@answering
def refund(
    number: NumberOption,
    funder: Annotated[str, typer.Option(help="The account that put money into the pool.")],
    url: UrlOption,
    token_file: TokenFileOption,
    timeout_s: TimeoutOption = 60.0,
    as_json: JsonOption = False,
) -> Answer:
    """Pay a funder its part of what an ended task left in its pool (needs an admin's token)."""
    hub = HubClient(url, token_file)
    intent = hub.post(f"/v1/tasks/{number}/refunds", {"funder": funder})
    return answer_when_mined(hub, intent, f"{funder} is refunded its part of task {number}", timeout_s)


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
    for item in hub.items("/v1/tasks"):
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
