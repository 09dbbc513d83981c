"""HTTP with the hub: a token, a timeout, no redirects, and requests that are sent again but done once."""

import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from orchestrator.client.errors import HubRefused, HubUnreachable

TIMEOUT_S = 60.0
TRIES = 3
_FIRST_PAUSE_S = 0.2
_KEY_HEADER = "Idempotency-Key"

Model = TypeVar("Model", bound=BaseModel)


class Session:
    """Requests in the name of one token."""

    def __init__(
        self,
        url: str,
        token: str,
        *,
        timeout_s: float = TIMEOUT_S,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._http = httpx.Client(
            base_url=url,
            headers={"Authorization": f"Bearer {token}"},
            timeout=timeout_s,
            follow_redirects=False,
            transport=transport,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    def get(self, path: str, **query: str | int | None) -> Any:
        """The JSON under a path. Raises HubError."""
        return self.send("GET", path, params=_given(query)).json()

    def items(self, path: str, **query: str | int | None) -> Iterator[Any]:
        """The items of a list, page after page. Raises HubError."""
        cursor: str | None = None
        while True:
            page = self.get(path, **query, cursor=cursor)
            yield from page["items"]
            cursor = page.get("next_cursor")
            if cursor is None:
                return

    def post(self, path: str, body: Mapping[str, Any] | None = None, *, if_match: str | None = None) -> Any:
        """The answer to a post, which is done once however often it is sent. Raises HubError."""
        headers = {_KEY_HEADER: str(uuid.uuid4())} | _condition(if_match)
        return self.send("POST", path, json=body, headers=headers, tries=TRIES).json()

    def delete(self, path: str, *, if_match: str | None = None) -> Any:
        """The answer to a removal; None where there is none. Raises HubError."""
        answer = self.send("DELETE", path, headers=_condition(if_match))
        return answer.json() if answer.content else None

    def send(self, method: str, path: str, *, tries: int = 1, **arguments: Any) -> httpx.Response:
        """An answer that is no refusal; where the hub does not answer, it is asked again. Raises HubError."""
        for attempt in range(1, tries + 1):
            try:
                return accepted(self._http.request(method, path, **arguments))
            except httpx.HTTPError as error:
                if attempt == tries:
                    raise self._unreachable(error) from error
            except HubRefused as error:
                if error.status != httpx.codes.SERVICE_UNAVAILABLE or attempt == tries:
                    raise
            time.sleep(_FIRST_PAUSE_S * 2**attempt)
        raise AssertionError("the last attempt returns or raises")

    @contextmanager
    def stream(self, method: str, path: str, **arguments: Any) -> Iterator[httpx.Response]:
        """An answer that is no refusal, before its body is read. Raises HubError."""
        try:
            with self._http.stream(method, path, **arguments) as response:
                if response.is_error:
                    response.read()
                yield accepted(response)
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: Exception) -> HubUnreachable:
        return HubUnreachable(f"the orchestrator at {self._http.base_url} cannot be reached: {error}")


def parsed(model: type[Model], data: Any) -> Model:
    """An answer as its type. Raises HubUnreachable when it is none."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise HubUnreachable(f"the orchestrator's answer cannot be read: {where}: {first['msg']}") from error


def accepted(response: httpx.Response) -> httpx.Response:
    """The answer, unless it is a refusal. Raises HubRefused."""
    if response.is_success:
        return response
    try:
        body = response.json()
        code, detail, correlation_id = body["code"], body["detail"], body.get("correlation_id")
    except (ValueError, KeyError, TypeError):
        code, detail = "unexpected_answer", f"the orchestrator answered {response.status_code}"
        correlation_id = None
    raise HubRefused(response.status_code, str(code), str(detail), correlation_id)


def _given(query: Mapping[str, str | int | None]) -> dict[str, str | int]:
    return {name: value for name, value in query.items() if value is not None}


def _condition(if_match: str | None) -> dict[str, str]:
    return {} if if_match is None else {"If-Match": if_match}
