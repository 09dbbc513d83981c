"""``collegium tokens …``: API tokens. A secret goes into a private file, never to a screen."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.commands.client import HubClient, TokenFileOption, UrlOption
from orchestrator.commands.hub import settings_or_error
from orchestrator.commands.output import (
    Answer,
    CommandError,
    ExitCode,
    JsonOption,
    answering,
    as_json_items,
)

if TYPE_CHECKING:
    from orchestrator.client.answers import Token, TokenSecret

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
    api = HubClient(url, token_file).api
    lasts_s = days * _DAY_S
    made = _write_secret(
        lambda: api.create_token(name, role, lasts_s=lasts_s, node=node, operations=operation or None), out
    )
    return Answer(made, f"token {made['token']} ({name}, {role}) is in {out}")


@tokens.command("list")
@answering
def list_tokens(url: UrlOption, token_file: TokenFileOption, as_json: JsonOption = False) -> Answer:
    """List the tokens that were not revoked."""
    found = list(HubClient(url, token_file).api.tokens())
    words = "\n".join(map(_line, found)) or "there are no tokens"
    return Answer({"items": as_json_items(found)}, words)


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
    api = HubClient(url, token_file).api
    chosen = api.current_token().token if number is None else number
    made = _write_secret(lambda: api.rotate_token(chosen), out)
    return Answer(made, f"the new secret of token {chosen} is in {out}")


@tokens.command("revoke")
@answering
def revoke(
    number: NumberOption, url: UrlOption, token_file: TokenFileOption, as_json: JsonOption = False
) -> Answer:
    """Make a token, and the sessions that it opened, worthless at once."""
    HubClient(url, token_file).api.revoke_token(number)
    return Answer({"token": number}, f"token {number} is revoked")


def _write_secret(make: "Callable[[], TokenSecret]", out: Path) -> dict[str, Any]:
    """Make a token and put its secret into a private file; the rest of the answer."""
    from orchestrator.services.private_files import private_file

    try:
        # The file is opened first: a secret that cannot be kept would be lost.
        with private_file(out) as file:
            made = make()
            file.write(made.secret + "\n")
    except OSError as error:
        message = f"{out} cannot be written: {error.strerror}"
        raise CommandError(message, code="bad_file", exit_code=ExitCode.BAD_INPUT) from error
    return {**made.model_dump(mode="json", exclude={"secret"}), "file": str(out)}


def _line(token: "Token") -> str:
    from datetime import UTC, datetime

    ends = datetime.fromtimestamp(token.expires_unix_s, UTC).strftime("%Y-%m-%d %H:%M UTC")
    bound = f" of {token.node}" if token.node else ""
    narrowed = f", only {', '.join(token.operations)}" if token.operations else ""
    rights = f"{token.role}{bound}{narrowed}"
    return f"{token.token}  {token.name}: {rights}, until {ends}, by {token.issued_by}"
