"""A small typed client of the hub's REST API, for commands."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from orchestrator.commands.output import CommandError, ExitCode

_TIMEOUT_S = 60.0
_REFUSED = (401, 403, 409)
_CHUNK_BYTES = 1 << 18

UrlOption = Annotated[
    str, typer.Option("--url", envvar="COLLEGIUM_URL", help="Where the orchestrator answers.")
]
TokenFileOption = Annotated[
    Path, typer.Option("--token-file", envvar="COLLEGIUM_TOKEN_FILE", help="A file with an API token.")
]


class HubClient:
    """A session with the hub, in the name of a token."""

    def __init__(self, url: str, token_file: Path) -> None:
        import httpx

        try:
            token = token_file.read_text().strip()
        except OSError as error:
            raise CommandError(
                f"the token file {token_file} cannot be read ({error.strerror}); "
                "`collegium tokens bootstrap` writes the first ones",
                code="bad_token_file",
                exit_code=ExitCode.BAD_INPUT,
            ) from error
        headers = {"Authorization": f"Bearer {token}"}
        self._session = httpx.Client(base_url=url, headers=headers, timeout=_TIMEOUT_S)

    def get(self, path: str) -> Any:
        """The JSON under a path. Raises CommandError."""
        return self._ask("GET", path).json()

    def find(self, path: str) -> Any | None:
        """The JSON under a path, or None where there is nothing yet. Raises CommandError."""
        response = self._send("GET", path)
        return None if response.status_code == 404 else _accepted(response).json()

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """The answer to a JSON body. Raises CommandError."""
        return self._ask("POST", path, json=body).json()

    def delete(self, path: str) -> Any:
        """The answer to a removal. Raises CommandError."""
        return self._ask("DELETE", path).json()

    def remove(self, path: str) -> None:
        """Remove what has no more to say. Raises CommandError."""
        self._ask("DELETE", path)

    def upload(self, digest: str, file: Path) -> None:
        """Store a file's bytes as an artifact. Raises CommandError."""

        def chunks() -> Any:
            with file.open("rb") as opened:
                while chunk := opened.read(_CHUNK_BYTES):
                    yield chunk

        self._ask("PUT", f"/v1/artifacts/{digest}", content=chunks())

    def upload_bytes(self, digest: str, data: bytes) -> None:
        """Store bytes as an artifact. Raises CommandError."""
        self._ask("PUT", f"/v1/artifacts/{digest}", content=data)

    def _ask(self, method: str, path: str, **arguments: Any) -> Any:
        return _accepted(self._send(method, path, **arguments))

    def _send(self, method: str, path: str, **arguments: Any) -> Any:
        import httpx

        try:
            return self._session.request(method, path, **arguments)
        except httpx.HTTPError as error:
            raise CommandError(
                f"the orchestrator at {self._session.base_url} cannot be reached: {error}", code="unreachable"
            ) from error


def _accepted(response: Any) -> Any:
    if response.is_success:
        return response
    code, detail = _problem(response)
    exit_code = ExitCode.FAILED
    if response.status_code in _REFUSED:
        exit_code = ExitCode.REFUSED
    elif 400 <= response.status_code < 500:
        exit_code = ExitCode.BAD_INPUT
    raise CommandError(detail, code=code, exit_code=exit_code)


def _problem(response: Any) -> tuple[str, str]:
    """The code and sentence of a problem document, or what can be said without one."""
    try:
        body = response.json()
        return str(body["code"]), str(body["detail"])
    except (ValueError, KeyError, TypeError):
        return "unexpected_answer", f"the orchestrator answered {response.status_code}"
