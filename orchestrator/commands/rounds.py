"""``collegium rounds …``: watch rounds."""

import time
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
)
from orchestrator.commands.progress import Progress
from orchestrator.commands.waiting import timed_out

if TYPE_CHECKING:
    from orchestrator.client.answers import Round
    from orchestrator.client.api import Client

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
    closed = _closed_rounds(HubClient(url, token_file).api, task, round_number, timeout_s)
    failed = [each.round for each in closed if each.phase != "final"]
    if failed:
        message = f"rounds that are not final: {', '.join(map(str, failed))}"
        raise CommandError(message, code="not_final", exit_code=ExitCode.FAILED)
    return Answer({"rounds": as_json_items(closed)}, f"{len(closed)} rounds are final")


def _closed_rounds(api: "Client", task: int, round_number: int | None, timeout_s: float) -> "list[Round]":
    """The rounds, once they are closed; looks whenever the hub says that something happened to the task."""
    said: dict[int, str] = {}
    with Progress(f"watching task {task}") as progress:
        for events in api.follow(for_s=timeout_s):
            if events and all(event.task not in (None, task) for event in events):
                continue
            watched = [each for each in api.rounds(task) if round_number in (None, each.round)]
            for each in watched:
                progress.now(_standing(each))
                if said.get(each.round) != each.phase:
                    said[each.round] = each.phase
                    progress.say(_line(each))
            closed = [each for each in watched if each.phase in _CLOSED]
            # A cancelled task ends before its last round.
            is_over = bool(closed) if round_number is not None else api.task(task).status in _OVER
            if is_over:
                return closed
    raise timed_out("watching", timeout_s)


def _standing(each: "Round") -> str:
    line = f"round {each.round} is {each.phase}: {len(each.proposals)} of {len(each.proposers)} proposals"
    committed, revealed = (
        sum(getattr(vote, name) for vote in each.votes) for name in ("committed", "revealed")
    )
    line = f"{line}, {committed} commits and {revealed} reveals of {len(each.voters)} voters"
    if each.deadline_unix_s == 0:
        return line
    return f"{line}; {max(0, each.deadline_unix_s - int(time.time()))} s left"


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
