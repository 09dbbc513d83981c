"""``collegium slash …``: amounts set aside for faults, which the council waives or which go to the pool."""

from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.commands.client import HubClient, TokenFileOption, UrlOption
from orchestrator.commands.orders import add_order
from orchestrator.commands.output import Answer, JsonOption, answering, as_json_items

if TYPE_CHECKING:
    from orchestrator.client.answers import Slash

slash = typer.Typer(no_args_is_help=True, help="Slashes: amounts set aside for faults.")

NumberOption = Annotated[int, typer.Option("--slash", min=0, help="The slash's number.")]


@slash.command("list")
@answering
def list_slashes(url: UrlOption, token_file: TokenFileOption, as_json: JsonOption = False) -> Answer:
    """List the slashes."""
    slashes = list(HubClient(url, token_file).api.slashes())
    words = "\n".join(map(_line, slashes)) or "nobody was slashed yet"
    return Answer({"items": as_json_items(slashes)}, words)


add_order(
    slash,
    "waive",
    NumberOption,
    lambda api, number: api.waive_slash(number),
    about="Give a pending slash back to the node, within the appeal window (needs an admin's token).",
    done="slash {number} is waived",
)
add_order(
    slash,
    "execute",
    NumberOption,
    lambda api, number: api.execute_slash(number),
    about="Pay a slash to its task's pool, when the appeal window is over (needs an admin's token).",
    done="slash {number} went to its task's pool",
)


def _line(slash: "Slash") -> str:
    return (
        f"slash {slash.slash}  {slash.node}  {slash.fault} in round {slash.round} of task "
        f"{slash.task}: {slash.amount}, {slash.status}"
    )
