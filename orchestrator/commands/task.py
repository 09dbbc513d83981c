"""``collegium task …``: create tasks, pause, let go on, cancel and refund them."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.commands.client import HubClient, TokenFileOption, UrlOption
from orchestrator.commands.orders import add_order
from orchestrator.commands.output import Answer, CommandError, ExitCode, JsonOption, answering, say
from orchestrator.commands.waiting import TimeoutOption, answer_when_mined, wait_for

if TYPE_CHECKING:
    from orchestrator.client.api import Client

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

    try:
        parsed = TaskSpec.parse(_read(spec))
    except ContractViolation as error:
        raise CommandError(f"{spec}: {error}", code=error.code, exit_code=ExitCode.BAD_INPUT) from error
    if sha256_digest(_read(genesis)) != parsed.genesis_digest:
        message = f"{genesis} does not have the digest that the spec names, {parsed.genesis_digest}"
        raise CommandError(message, code="digest_mismatch", exit_code=ExitCode.BAD_INPUT)
    terms = _terms(config) | {"spec_digest": parsed.digest, "genesis_digest": parsed.genesis_digest}
    api = HubClient(url, token_file).api
    api.upload_bytes(parsed.digest, parsed.canonical_bytes())
    api.upload(parsed.genesis_digest, genesis)
    api.create_task(spec_digest=parsed.digest, name=name or parsed.name, config=terms, pool=pool)
    say("the task is ordered; waiting for the chain")
    number = wait_for(lambda: _number_on_chain(api, parsed.digest, int(pool)), "creating the task", timeout_s)
    return Answer({"task": number, "spec_digest": parsed.digest}, f"task {number} is on chain and funded")


add_order(
    task,
    "pause",
    NumberOption,
    lambda api, number: api.pause_task(number),
    about="Abort the open round, without faults, and open no other (needs an admin's token).",
    done="task {number} is paused",
)
add_order(
    task,
    "unpause",
    NumberOption,
    lambda api, number: api.unpause_task(number),
    about="Let a paused task open rounds again (needs an admin's token).",
    done="task {number} goes on",
)
add_order(
    task,
    "cancel",
    NumberOption,
    lambda api, number: api.cancel_task(number),
    about="End a task for good, after its open round if there is one (needs an admin's token).",
    done="task {number} is cancelled",
)


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
    api = HubClient(url, token_file).api
    intent = api.refund_task(number, funder)
    return answer_when_mined(api, intent, f"{funder} is refunded its part of task {number}", timeout_s)


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


def _number_on_chain(api: "Client", spec_digest: str, pool: int) -> int | None:
    """The task's number, once it is created and has its pool."""
    for each in api.tasks():
        if each.spec_digest != spec_digest:
            continue
        if each.status == "refused":
            message = f"the chain refuses the task: {each.error}"
            raise CommandError(message, code="refused", exit_code=ExitCode.REFUSED)
        if each.error is not None:
            message = f"task {each.task} is on chain, but it cannot be funded yet: {each.error}"
            raise CommandError(message, code="not_funded", exit_code=ExitCode.REFUSED)
        funded = pool == 0 or each.pool > 0 or each.rounds_requested > 0
        return each.task if funded else None
    return None
