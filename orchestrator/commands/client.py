"""The hub as commands see it: an address and a token file, asked for in the same way by every command."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

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

    ``api`` has a method for each operation; the methods here ask for JSON by path. Both raise ``HubError``,
    which commands turn into words and an exit code.
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

    def get(self, path: str) -> Any:
        """The JSON under a path."""
        return self.api.get(path)

    def items(self, path: str) -> list[Any]:
        """All items of the list under a path, page after page."""
        return list(self.api.items(path))

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """The answer to a JSON body."""
        return self.api.post(path, body)

    def remove(self, path: str) -> None:
        """Remove what is under a path."""
        self.api.delete(path)
