"""``collegium enrolment …``: the council invites networks, and decides about their statements."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.client.errors import HubError
from orchestrator.commands.client import HubClient, TokenFileOption, UrlOption
from orchestrator.commands.output import (
    Answer,
    CommandError,
    ExitCode,
    JsonOption,
    answering,
    as_json_items,
)
from orchestrator.commands.waiting import TimeoutOption, mined, wait_for

if TYPE_CHECKING:
    from orchestrator.client.answers import Enrolment

enrolment = typer.Typer(no_args_is_help=True, help="Networks on their way in.")

_HOUR_S = 3600

NumberArgument = Annotated[int, typer.Argument(min=1, help="The enrolment's number.")]


@enrolment.command("invite")
@answering
def invite(
    name: Annotated[str, typer.Option(help="The network's name.")],
    group: Annotated[int, typer.Option(min=1, help="Shared by sister networks; not 0.")],
    out: Annotated[Path, typer.Option(help="The file to write the invite to; only you can read it.")],
    url: UrlOption,
    token_file: TokenFileOption,
    lasts_h: Annotated[int, typer.Option(min=1, max=720, help="For how many hours it is good.")] = 72,
    as_json: JsonOption = False,
) -> Answer:
    """Make an invite for one network; give the file to it by a way that others do not read."""
    try:
        # Made first, so that no invite is lost because it cannot be written.
        descriptor = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise CommandError(
            f"{out}: {error.strerror}", code="bad_file", exit_code=ExitCode.BAD_INPUT
        ) from error
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        try:
            api = HubClient(url, token_file).api
            made = api.invite_network(name, group=group, lasts_s=lasts_h * _HOUR_S)
        except (CommandError, HubError):
            out.unlink()
            raise
        file.write(made.secret + "\n")
    answer = made.model_dump(mode="json", exclude={"secret"})
    return Answer({**answer, "file": str(out)}, f"{out} holds the invite of {name}, good for {lasts_h} hours")


@enrolment.command("list")
@answering
def list_enrolments(url: UrlOption, token_file: TokenFileOption, as_json: JsonOption = False) -> Answer:
    """List the networks that handed in a statement."""
    found = list(HubClient(url, token_file).api.enrolments())
    words = "\n".join(map(_line, found)) or "no network has handed in a statement yet"
    return Answer({"items": as_json_items(found)}, words)


@enrolment.command("approve")
@answering
def approve(
    number: NumberArgument,
    url: UrlOption,
    token_file: TokenFileOption,
    timeout_s: TimeoutOption = 60.0,
    as_json: JsonOption = False,
) -> Answer:
    """Have the network's node admitted on chain, and wait until it is."""
    api = HubClient(url, token_file).api
    approved = api.approve_enrolment(number)
    statement = approved.enrolment.statement

    def admitted() -> object | None:
        mined(api, approved.intent)
        return api.node(statement.node)

    wait_for(admitted, "the admission", timeout_s)
    words = f"{statement.network} ({statement.node}) is admitted"
    return Answer({"enrolment": number, "node": statement.node}, words)


@enrolment.command("refuse")
@answering
def refuse(
    number: NumberArgument,
    reason: Annotated[str, typer.Option(help="Why; the statement is kept with it.")],
    url: UrlOption,
    token_file: TokenFileOption,
    as_json: JsonOption = False,
) -> Answer:
    """Say no to a statement; the network needs another invite to come again."""
    refused = HubClient(url, token_file).api.refuse_enrolment(number, reason)
    return Answer({"enrolment": number, "status": refused.status}, f"enrolment {number} is refused")


@enrolment.command("register-flower-keys")
@answering
def register_flower_keys(url: UrlOption, token_file: TokenFileOption, as_json: JsonOption = False) -> Answer:
    """Have the SuperLink let in the Flower keys of approved networks, each for the node that signed for it.

    After an approval, and after every start of the SuperLink, which forgets them (COLLEGIUM_FLOWER_HOME,
    COLLEGIUM_FLOWER_CONNECTION).
    """
    from orchestrator.adapters.flower import FlowerCommandNodes
    from orchestrator.commands.hub import settings_or_error
    from orchestrator.domain.ports import FlowerError

    settings = settings_or_error()
    if settings.flower_home is None:
        raise CommandError(
            "COLLEGIUM_FLOWER_HOME names no folder", code="bad_settings", exit_code=ExitCode.BAD_INPUT
        )
    nodes = FlowerCommandNodes(settings.flower_home, settings.flower_connection)
    registered = []
    for each in HubClient(url, token_file).api.enrolments():
        said = each.statement
        if each.status == "approved" and said.flower_key:
            try:
                new = nodes.register(said.node, said.flower_key)
            except FlowerError as error:
                raise CommandError(
                    f"the Flower key of {said.network}: {error}", code="flower_failed"
                ) from error
            registered.append({"node": said.node, "network": said.network, "new": new})
    names = ", ".join(str(each["network"]) for each in registered if each["new"])
    words = (
        f"registered the Flower keys of {names}" if names else "no Flower key was missing at the SuperLink"
    )
    return Answer({"items": registered}, words)


def _line(each: "Enrolment") -> str:
    said = each.statement
    flower = "with" if said.flower_key else "no"
    words = f"{each.id}  {said.network}  account {said.node}, signing key {said.signer}"
    return f"{words}, {flower} Flower key, certificate {said.certificate}: {each.status}"
