"""``collegium webhooks …``: who is told of what happens, and what became of telling them."""

from itertools import islice
from pathlib import Path
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
from orchestrator.services.private_files import private_file

if TYPE_CHECKING:
    from orchestrator.client.answers import Delivery

webhooks = typer.Typer(no_args_is_help=True, help="Webhooks: receivers that are told of what happens.")

NumberOption = Annotated[int, typer.Option("--webhook", min=1, help="The webhook's number.")]


@webhooks.command("create")
@answering
def create(
    receiver: Annotated[str, typer.Option(help="Where to post to: https://…, at a public address.")],
    secret_file: Annotated[Path, typer.Option(help="A new file for the secret, which is shown only once.")],
    url: UrlOption,
    token_file: TokenFileOption,
    kind: Annotated[
        list[str] | None, typer.Option(help="A kind of events, or round.* for a family; several times.")
    ] = None,
    as_json: JsonOption = False,
) -> Answer:
    """Tell a receiver of what happens from now on (needs an admin's token)."""
    if secret_file.exists():
        message = f"{secret_file} exists already; a secret goes into a new file"
        raise CommandError(message, code="file_exists", exit_code=ExitCode.BAD_INPUT)
    # The file first: a secret that cannot be written would be lost.
    with private_file(secret_file) as file:
        made = HubClient(url, token_file).api.create_webhook(receiver, kind or ())
        file.write(made.secret + "\n")
    data = made.model_dump(mode="json", exclude={"secret"})
    return Answer(data, f"webhook {made.id} is made; its secret is in {secret_file}")


@webhooks.command("list")
@answering
def list_webhooks(url: UrlOption, token_file: TokenFileOption, as_json: JsonOption = False) -> Answer:
    """List the webhooks (needs an admin's token)."""
    found = list(HubClient(url, token_file).api.webhooks())
    lines = [f"webhook {each.id}  {each.url}  {' '.join(each.kinds) or 'everything'}" for each in found]
    return Answer({"items": as_json_items(found)}, "\n".join(lines) or "there are no webhooks")


@webhooks.command("delete")
@answering
def delete(
    number: NumberOption, url: UrlOption, token_file: TokenFileOption, as_json: JsonOption = False
) -> Answer:
    """Tell a receiver nothing more (needs an admin's token)."""
    HubClient(url, token_file).api.delete_webhook(number)
    return Answer({"webhook": number}, f"webhook {number} is gone")


@webhooks.command("deliveries")
@answering
def deliveries(
    number: NumberOption,
    url: UrlOption,
    token_file: TokenFileOption,
    most: Annotated[int, typer.Option(min=1, help="How many to list.")] = 50,
    as_json: JsonOption = False,
) -> Answer:
    """List a webhook's newest deliveries (needs an admin's token)."""
    found = list(islice(HubClient(url, token_file).api.deliveries(number), most))
    words = "\n".join(map(_line, found)) or "nothing was delivered yet"
    return Answer({"items": as_json_items(found)}, words)


@webhooks.command("replay")
@answering
def replay(
    number: NumberOption,
    delivery: Annotated[int, typer.Option(min=1, help="The delivery's number.")],
    url: UrlOption,
    token_file: TokenFileOption,
    as_json: JsonOption = False,
) -> Answer:
    """Deliver once more, under the same message id (needs an admin's token)."""
    again = HubClient(url, token_file).api.replay_delivery(number, delivery)
    return Answer(again.model_dump(mode="json"), f"delivery {delivery} will be tried again")


def _line(each: "Delivery") -> str:
    said = f"delivery {each.id}  event {each.event}  {each.status} after {each.attempts} attempts"
    return said if each.error is None else f"{said}: {each.error}"
