"""``collegium rounds …``: watch rounds."""

from typing import Annotated, Any

import typer

from orchestrator.commands.client import HubClient, TokenFileOption, UrlOption
from orchestrator.commands.output import Answer, CommandError, ExitCode, JsonOption, answering, say
from orchestrator.commands.waiting import wait_for

rounds = typer.Typer(no_args_is_help=True, help="Rounds of a task.")

_CLOSED = ("final", "rejected", "aborted")
_OVER = ("finished", "cancelled")


@rounds.callback()
def _group() -> None:
    """Keep ``watch`` a sub-command while it is the only one."""


@rounds.command("watch")
@answering
def watch(
    task: Annotated[int, typer.Option(help="The task's number.")],
    url: UrlOption,
    token_file: TokenFileOption,
    round_number: Annotated[
        int | None, typer.Option("--round", help="Watch one round; else all that the task has left.")
    ] = None,
    timeout_s: Annotated[float, typer.Option(help="When to give up.")] = 86_400.0,
    as_json: JsonOption = False,
) -> Answer:
    """Say every change of phase until the round, or the task, is over; fails unless all were final."""
    hub = HubClient(url, token_file)
    said: dict[int, str] = {}

    def over() -> list[Any] | None:
        items = hub.items(f"/v1/tasks/{task}/rounds")
        watched = [item for item in items if round_number in (None, item["round"])]
        for item in watched:
            if said.get(item["round"]) != item["phase"]:
                said[item["round"]] = item["phase"]
                say(_line(item))
        closed = [item for item in watched if item["phase"] in _CLOSED]
        if round_number is not None:
            return closed or None
        # A cancelled task ends before its last round.
        return closed if hub.get(f"/v1/tasks/{task}")["status"] in _OVER else None

    closed = wait_for(over, "watching", timeout_s)
    failed = [item["round"] for item in closed if item["phase"] != "final"]
    if failed:
        message = f"rounds that are not final: {', '.join(map(str, failed))}"
        raise CommandError(message, code="not_final", exit_code=ExitCode.FAILED)
    return Answer({"rounds": closed}, f"{len(closed)} rounds are final")


def _line(item: Any) -> str:
    line = f"round {item['round']}: {item['phase']}"
    match item["phase"]:
        case "training":
            return f"{line}, {len(item['proposers'])} proposers"
        case "committing":
            return f"{line}, {len(item['proposals'])} proposals"
        case "attesting":
            accepted = sum(proposal["standing"] == "accepted" for proposal in item["proposals"])
            return f"{line}, {accepted} of {len(item['proposals'])} proposals accepted"
        case "final":
            return f"{line}, aggregate {item['aggregate_digest']}"
    return line
