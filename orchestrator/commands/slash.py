"""``collegium slash …``: amounts set aside for faults, which the council waives or which go to the pool."""

from typing import Annotated, Any

import typer

from orchestrator.commands.client import HubClient, TokenFileOption, UrlOption
from orchestrator.commands.output import Answer, JsonOption, answering
from orchestrator.commands.waiting import TimeoutOption, answer_when_mined

slash = typer.Typer(no_args_is_help=True, help="Slashes: amounts set aside for faults.")

NumberOption = Annotated[int, typer.Option("--slash", min=0, help="The slash's number.")]


@slash.command("list")
@answering
def list_slashes(url: UrlOption, token_file: TokenFileOption, as_json: JsonOption = False) -> Answer:
    """List the slashes."""
    items = HubClient(url, token_file).items("/v1/slashes")
    return Answer({"items": items}, "\n".join(map(_line, items)) or "nobody was slashed yet")


@slash.command("waive")
@answering
def waive(
    number: NumberOption,
    url: UrlOption,
    token_file: TokenFileOption,
    timeout_s: TimeoutOption = 60.0,
    as_json: JsonOption = False,
) -> Answer:
    """Give a pending slash back to the node, within the appeal window (needs an admin's token)."""
    hub = HubClient(url, token_file)
    intent = hub.post(f"/v1/slashes/{number}/waiver", {})
    return answer_when_mined(hub, intent, f"slash {number} is waived", timeout_s)


@slash.command("execute")
@answering
def execute(
    number: NumberOption,
    url: UrlOption,
    token_file: TokenFileOption,
    timeout_s: TimeoutOption = 60.0,
    as_json: JsonOption = False,
) -> Answer:
    """Pay a slash to its task's pool, when the appeal window is over (needs an admin's token)."""
    hub = HubClient(url, token_file)
    intent = hub.post(f"/v1/slashes/{number}/execution", {})
    return answer_when_mined(hub, intent, f"slash {number} went to its task's pool", timeout_s)


def _line(item: Any) -> str:
    return (
        f"slash {item['slash']}  {item['node']}  {item['fault']} in round {item['round']} of task "
        f"{item['task']}: {item['amount']}, {item['status']}"
    )
