"""``collegium tokens …``: API tokens. A secret goes into a private file, never to a screen."""

from pathlib import Path
from typing import Annotated, Any

import typer

from orchestrator.commands.client import HubClient, TokenFileOption, UrlOption
from orchestrator.commands.hub import settings_or_error
from orchestrator.commands.output import Answer, CommandError, ExitCode, JsonOption, answering

tokens = typer.Typer(no_args_is_help=True, help="API tokens: make, list, replace and revoke them.")

_DAY_S = 86_400
OutOption = Annotated[Path, typer.Option("--out", help="The file that the secret is written to.")]
NumberOption = Annotated[int, typer.Option("--token", min=1, help="The token's number, as listed.")]


@tokens.command("bootstrap")
@answering
def bootstrap(as_json: JsonOption = False) -> Answer:
    """Write the first tokens (admin, conductor, auditor) into private files, on the hub's own machine."""
    from orchestrator.composition import SystemClock, open_database
    from orchestrator.services.audit import AuditedRecords, attempt_here, attempting
    from orchestrator.services.tokens import TokenService

    settings, clock = settings_or_error(), SystemClock()
    records = AuditedRecords(open_database(settings), clock)
    with attempting(attempt_here("bootstrap_tokens")):
        files = TokenService(records, clock).bootstrap(settings.token_folder)
    folder = settings.token_folder
    return Answer({"files": [str(file) for file in files]}, f"tokens are in {folder}; each file holds one")


@tokens.command("create")
@answering
def create(
    name: Annotated[str, typer.Option(help="What it is for.")],
    role: Annotated[str, typer.Option(help="admin, operator, auditor or conductor.")],
    out: OutOption,
    url: UrlOption,
    token_file: TokenFileOption,
    node: Annotated[str | None, typer.Option(help="The node of an operator.")] = None,
    operation: Annotated[
        list[str] | None, typer.Option(help="Narrow it to this operation; may be given several times.")
    ] = None,
    days: Annotated[int, typer.Option(min=1, max=366, help="How long it lasts.")] = 90,
    as_json: JsonOption = False,
) -> Answer:
    """Make a token; it cannot have more rights than the one that asks for it."""
    order: dict[str, Any] = {"name": name, "role": role, "lasts_s": days * _DAY_S}
    if node is not None:
        order["node"] = node
    if operation:
        order["operations"] = operation
    made = _write_secret(HubClient(url, token_file), "/v1/tokens", order, out)
    return Answer(made, f"token {made['token']} ({name}, {role}) is in {out}")


@tokens.command("list")
@answering
def list_tokens(url: UrlOption, token_file: TokenFileOption, as_json: JsonOption = False) -> Answer:
    """List the tokens that were not revoked."""
    items = HubClient(url, token_file).get("/v1/tokens")["items"]
    return Answer({"items": items}, "\n".join(map(_line, items)) or "there are no tokens")


@tokens.command("rotate")
@answering
def rotate(
    out: OutOption,
    url: UrlOption,
    token_file: TokenFileOption,
    number: Annotated[
        int | None, typer.Option("--token", min=1, help="Its number; else the token that asks.")
    ] = None,
    as_json: JsonOption = False,
) -> Answer:
    """Give a token a new secret; the old one is worthless at once."""
    hub = HubClient(url, token_file)
    chosen = hub.get("/v1/tokens/current")["token"] if number is None else number
    made = _write_secret(hub, f"/v1/tokens/{chosen}/rotation", {}, out)
    return Answer(made, f"the new secret of token {chosen} is in {out}")


@tokens.command("revoke")
@answering
def revoke(
    number: NumberOption, url: UrlOption, token_file: TokenFileOption, as_json: JsonOption = False
) -> Answer:
    """Make a token, and the sessions that it opened, worthless at once."""
    HubClient(url, token_file).remove(f"/v1/tokens/{number}")
    return Answer({"token": number}, f"token {number} is revoked")


def _write_secret(hub: HubClient, path: str, order: dict[str, Any], out: Path) -> dict[str, Any]:
    """Post, and put the answer's secret into a private file; the answer without it."""
    from orchestrator.services.private_files import private_file

    try:
        # The file is opened first: a secret that cannot be kept would be lost.
        with private_file(out) as file:
            made: dict[str, Any] = hub.post(path, order)
            file.write(made.pop("secret") + "\n")
    except OSError as error:
        message = f"{out} cannot be written: {error.strerror}"
        raise CommandError(message, code="bad_file", exit_code=ExitCode.BAD_INPUT) from error
    return {**made, "file": str(out)}


def _line(item: Any) -> str:
    from datetime import UTC, datetime

    ends = datetime.fromtimestamp(item["expires_unix_s"], UTC).strftime("%Y-%m-%d %H:%M UTC")
    bound = f" of {item['node']}" if item["node"] else ""
    narrowed = f", only {', '.join(item['operations'])}" if item["operations"] else ""
    rights = f"{item['role']}{bound}{narrowed}"
    return f"{item['token']}  {item['name']}: {rights}, until {ends}, by {item['issued_by']}"
