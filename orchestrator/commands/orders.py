"""Commands that order one thing of a number and wait until it is on chain: they differ in a line each."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import typer

from orchestrator.commands.client import HubClient, TokenFileOption, UrlOption
from orchestrator.commands.output import Answer, JsonOption, answering
from orchestrator.commands.waiting import TimeoutOption, answer_when_mined

if TYPE_CHECKING:
    from orchestrator.client.answers import Intent
    from orchestrator.client.api import Client


def add_order(
    group: typer.Typer,
    name: str,
    number_option: Any,
    ask: "Callable[[Client, int], Intent]",
    *,
    about: str,
    done: str,
) -> None:
    """Add a command to a group; ``done`` is what it says at the end, with the number for ``{number}``."""

    def order(
        number: int,
        url: UrlOption,
        token_file: TokenFileOption,
        timeout_s: TimeoutOption = 60.0,
        as_json: JsonOption = False,
    ) -> Answer:
        api = HubClient(url, token_file).api
        return answer_when_mined(api, ask(api, number), done.format(number=number), timeout_s)

    order.__annotations__["number"] = number_option
    group.command(name, help=about)(answering(order))
