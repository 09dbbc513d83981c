"""``collegium enrolment …``: the council invites networks, and decides about their statements."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from orchestrator.client.errors import HubError
from orchestrator.commands.client import HubClient, TokenFileOption, UrlOption
from orchestrator.commands.output import Answer, CommandError, ExitCode, JsonOption, answering
from orchestrator.commands.waiting import TimeoutOption, mined, wait_for

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
            body = {"network": name, "group": group, "lasts_s": lasts_h * _HOUR_S}
            answer = HubClient(url, token_file).post("/v1/enrolments/invites", body)
        except (CommandError, HubError):
            out.unlink()
            raise
        file.write(answer.pop("secret") + "\n")
    return Answer({**answer, "file": str(out)}, f"{out} holds the invite of {name}, good for {lasts_h} hours")


@enrolment.command("list")
@answering
def list_enrolments(url: UrlOption, token_file: TokenFileOption, as_json: JsonOption = False) -> Answer:
    """List the networks that handed in a statement."""
    items = HubClient(url, token_file).items("/v1/enrolments")
    return Answer(
        {"items": items}, "\n".join(map(_line, items)) or "no network has handed in a statement yet"
    )


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
    from orchestrator.client.answers import Intent
    from orchestrator.client.session import parsed

    hub = HubClient(url, token_file)
    answer = hub.post(f"/v1/enrolments/{number}/approval", {})
    statement, intent = answer["enrolment"]["statement"], parsed(Intent, answer["intent"])

    def admitted() -> object | None:
        mined(hub.api, intent)
        return hub.api.node(statement["node"])

    wait_for(admitted, "the admission", timeout_s)
    words = f"{statement['network']} ({statement['node']}) is admitted"
    return Answer({"enrolment": number, "node": statement["node"]}, words)


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
    answer = HubClient(url, token_file).post(f"/v1/enrolments/{number}/refusal", {"reason": reason})
    return Answer({"enrolment": number, "status": answer["status"]}, f"enrolment {number} is refused")


def _line(item: Any) -> str:
    said = item["statement"]
    flower = "with" if said["flower_key"] else "no"
    words = f"{item['id']}  {said['network']}  account {said['node']}, signing key {said['signer']}"
    return f"{words}, {flower} Flower key, certificate {said['certificate']}: {item['status']}"
