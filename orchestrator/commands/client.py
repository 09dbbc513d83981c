"""The hub as commands see it: an address and a token file, asked for in the same way by every command."""

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.commands.output import CommandError, ExitCode

UrlOption = Annotated[
    str, typer.Option("--url", envvar="COLLEGIUM_URL", help="Where the orchestrator answers.")
]
TokenFileOption = Annotated[
    Path, typer.Option("--token-file", envvar="COLLEGIUM_TOKEN_FILE", help="A file with an API token.")
]


class HubClient:
    """A session with the hub, in the name of the token in a file.

    ``api`` has a method for each operation. They raise ``HubError``, which commands turn into words and an
    exit code.
    """

    def __init__(self, url: str, token_file: Path) -> None:
        from orchestrator.client.api import Client

        try:
            token = token_file.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise CommandError(
                f"the token file {token_file} cannot be read ({error}); "
                "`collegium tokens bootstrap` writes the first ones",
                code="bad_token_file",
                exit_code=ExitCode.BAD_INPUT,
            ) from error
        if not (token.isascii() and token.isprintable()):
            message = f"{token_file} holds no token: a token is one line of letters and digits"
            raise CommandError(message, code="bad_token_file", exit_code=ExitCode.BAD_INPUT)
        self.api = Client(url, token)
