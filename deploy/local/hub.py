"""The launcher's view of the orchestrator: a few calls of its REST API, as a consortium admin."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from deploy.local.supervisor import LauncherError

TIMEOUT_S = 30.0


class Hub:
    """An admin's HTTP session with the orchestrator."""

    def __init__(self, url: str, token_file: Path) -> None:
        self.url = url
        self._token_file = token_file
        self._session: httpx.Client | None = None

    def is_ready(self) -> bool:
        """Whether the orchestrator says that it is ready."""
        try:
            return httpx.get(f"{self.url}/readyz", timeout=TIMEOUT_S).is_success
        except httpx.TransportError:
            return False

    def get(self, path: str) -> Any:
        """The JSON under ``path``.

        Raises:
            LauncherError: the orchestrator refuses or cannot be reached.
        """
        return self._ask("GET", path).json()

    def find(self, path: str) -> Any | None:
        """The JSON under ``path``, or None where there is nothing yet."""
        response = self._send("GET", path)
        if response.status_code == httpx.codes.NOT_FOUND:
            return None
        return _accepted(response).json()

    def post(self, path: str, body: Mapping[str, object] | None = None) -> Any:
        """Post JSON, if any, and give the answer's JSON; errors as ``get``."""
        return self._ask("POST", path, json=body).json()

    def download(self, digest: str, destination: Path) -> None:
        """Write an artifact to a file; errors as ``get``."""
        destination.write_bytes(self._ask("GET", f"/v1/artifacts/{digest}").content)

    def _ask(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        return _accepted(self._send(method, path, **arguments))

    def _send(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        if self._session is None:
            token = self._token_file.read_text().strip()
            self._session = httpx.Client(
                base_url=self.url, headers={"Authorization": f"Bearer {token}"}, timeout=TIMEOUT_S
            )
        try:
            return self._session.request(method, path, **arguments)
        except httpx.TransportError as error:
            raise LauncherError(f"the orchestrator cannot be reached: {error}") from error


def _accepted(response: httpx.Response) -> httpx.Response:
    if response.is_error:
        asked = f"{response.request.method} {response.request.url.path}"
        raise LauncherError(f"{asked}: {response.status_code} {response.text[:500]}")
    return response
