"""``collegium rounds …``: watch rounds."""

from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.commands.client import HubClient, TokenFileOption, UrlOption
from orchestrator.commands.output import (
    Answer,
    CommandError,
    ExitCode,
    JsonOption,
    answering,
    as_json_items,
    say,
)
from orchestrator.commands.waiting import wait_for

if TYPE_CHECKING:
    from orchestrator.client.answers import Round

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
    api = HubClient(url, token_file).api
    said: dict[int, str] = {}

    def over() -> "list[Round] | None":
        watched = [each for each in api.rounds(task) if round_number in (None, each.round)]
        for each in watched:
            if said.get(each.round) != each.phase:
                said[each.round] = each.phase
                say(_line(each))
        closed = [each for each in watched if each.phase in _CLOSED]
        if round_number is not None:
            return closed or None
        # A cancelled task ends before its last round.
        return closed if api.task(task).status in _OVER else None

    closed = wait_for(over, "watching", timeout_s)
    failed = [each.round for each in closed if each.phase != "final"]
    if failed:
        message = f"rounds that are not final: {', '.join(map(str, failed))}"
        raise CommandError(message, code="not_final", exit_code=ExitCode.FAILED)
    return Answer({"rounds": as_json_items(closed)}, f"{len(closed)} rounds are final")


def _line(each: "Round") -> str:
    line = f"round {each.round}: {each.phase}"
    match each.phase:
        case "training":
            return f"{line}, {len(each.proposers)} proposers"
        case "committing":
            return f"{line}, {len(each.proposals)} proposals"
        case "attesting":
            accepted = sum(proposal.standing == "accepted" for proposal in each.proposals)
            return f"{line}, {accepted} of {len(each.proposals)} proposals accepted"
        case "final":
            return f"{line}, aggregate {each.aggregate_digest}"
    return line
