"""``collegium webhooks …``: who is told of what happens, and what became of telling them."""

from pathlib import Path
from typing import Annotated, Any

import typer

from orchestrator.commands.client import HubClient, TokenFileOption, UrlOption
from orchestrator.commands.output import Answer, CommandError, ExitCode, JsonOption, answering
from orchestrator.services.private_files import private_file

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
        made = HubClient(url, token_file).post("/v1/webhooks", {"url": receiver, "kinds": kind or []})
        file.write(made.pop("secret") + "\n")
    return Answer(made, f"webhook {made['id']} is made; its secret is in {secret_file}")


@webhooks.command("list")
@answering
def list_webhooks(url: UrlOption, token_file: TokenFileOption, as_json: JsonOption = False) -> Answer:
    """List the webhooks (needs an admin's token)."""
    items = HubClient(url, token_file).get("/v1/webhooks")["items"]
    lines = [
        f"webhook {each['id']}  {each['url']}  {' '.join(each['kinds']) or 'everything'}" for each in items
    ]
    return Answer({"items": items}, "\n".join(lines) or "there are no webhooks")


@webhooks.command("delete")
@answering
def delete(
    number: NumberOption, url: UrlOption, token_file: TokenFileOption, as_json: JsonOption = False
) -> Answer:
    """Tell a receiver nothing more (needs an admin's token)."""
    HubClient(url, token_file).remove(f"/v1/webhooks/{number}")
    return Answer({"webhook": number}, f"webhook {number} is gone")


@webhooks.command("deliveries")
@answering
def deliveries(
    number: NumberOption, url: UrlOption, token_file: TokenFileOption, as_json: JsonOption = False
) -> Answer:
    """List a webhook's newest deliveries (needs an admin's token)."""
    items = HubClient(url, token_file).get(f"/v1/webhooks/{number}/deliveries")["items"]
    return Answer({"items": items}, "\n".join(map(_line, items)) or "nothing was delivered yet")


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
    again = HubClient(url, token_file).post(f"/v1/webhooks/{number}/deliveries/{delivery}/replay", {})
    return Answer(again, f"delivery {delivery} will be tried again")


def _line(item: Any) -> str:
    said = f"delivery {item['id']}  event {item['event']}  {item['status']} after {item['attempts']} attempts"
    return said if item["error"] is None else f"{said}: {item['error']}"
