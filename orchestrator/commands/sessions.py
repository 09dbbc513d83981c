"""``collegium sessions …``: which browsers are signed in at the dashboard, and signing one out."""

from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.commands.client import HubClient, TokenFileOption, UrlOption
from orchestrator.commands.output import Answer, JsonOption, answering, as_json_items

if TYPE_CHECKING:
    from orchestrator.client.answers import OpenSession

sessions = typer.Typer(no_args_is_help=True, help="Browsers that are signed in at the dashboard.")


@sessions.command("list")
@answering
def list_sessions(url: UrlOption, token_file: TokenFileOption, as_json: JsonOption = False) -> Answer:
    """List the browsers that are signed in (needs an admin's or an auditor's token)."""
    found = list(HubClient(url, token_file).api.sessions())
    words = "\n".join(map(_line, found)) or "nobody is signed in"
    return Answer({"items": as_json_items(found)}, words)


@sessions.command("end")
@answering
def end(
    number: Annotated[int, typer.Option("--session", min=1, help="The session's number, as listed.")],
    url: UrlOption,
    token_file: TokenFileOption,
    as_json: JsonOption = False,
) -> Answer:
    """Sign a browser out at once (needs an admin's token)."""
    HubClient(url, token_file).api.end_session(number)
    return Answer({"session": number}, f"session {number} is ended")


def _line(each: "OpenSession") -> str:
    from datetime import UTC, datetime

    ends = datetime.fromtimestamp(each.expires_unix_s, UTC).strftime("%Y-%m-%d %H:%M UTC")
    node = f" of {each.node}" if each.node else ""
    return f"{each.session}  {each.name}: {each.role}{node}, until {ends}"
