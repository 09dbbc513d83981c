"""JSON-RPC over HTTP, for an endpoint that is not trusted: every answer is bounded in size, depth and time.

Whatever the endpoint sends, the caller gets a value of the kind it asked for, or ``ChainUnavailable``.
"""

import itertools
import json
import re
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from contracts.hostile_text import shown
from contracts.verify.errors import ChainUnavailable
from contracts.verify.plain_http import HEADERS, plain_chunks

MOST_ANSWER_BYTES = 64 << 20
_MOST_RECURSION = 2_000
"""Python's own limit, roughly; libraries raise it so far that deeply nested JSON ends the process."""
_BATCH_REQUESTS = 20
_QUANTITY = re.compile(r"0x[0-9a-fA-F]{1,64}")
_DATA = re.compile(r"0x(?:[0-9a-fA-F]{2})*")


@dataclass(frozen=True)
class RpcRequest:
    """One call: a method and its parameters."""

    method: str
    parameters: tuple[object, ...]


class RpcRefused(ChainUnavailable):
    """The endpoint answered with a JSON-RPC error."""


class JsonRpc:
    """One endpoint. ``timeout_s`` is for one exchange, however slowly it comes."""

    def __init__(self, url: str, *, timeout_s: float = 60.0, most_bytes: int = MOST_ANSWER_BYTES) -> None:
        self._url = url
        self._timeout_s = timeout_s
        self._most_bytes = most_bytes
        self._numbers = itertools.count(1)
        self._takes_batches = True
        try:
            self._client = httpx.Client(headers=HEADERS, timeout=min(timeout_s, 20.0))
        except (ValueError, OSError) as error:
            raise ChainUnavailable(f"no connection can be set up: {error}") from error

    def ask(self, method: str, *parameters: object) -> Any:
        """The result of one call: whatever JSON the endpoint gives.

        Raises:
            RpcRefused: it answered with an error.
            ChainUnavailable: it gave no usable answer.
        """
        request = RpcRequest(method, parameters)
        number = next(self._numbers)
        return _result_of(request, self._exchange(_body(number, request)), number)

    def ask_all(self, requests: Sequence[RpcRequest]) -> list[Any]:
        """The results of many calls, in their order.

        Raises:
            RpcRefused, ChainUnavailable: as ``ask``, for any of them.
        """
        results: list[Any] = []
        for start in range(0, len(requests), _BATCH_REQUESTS):
            results += self._ask_batch(requests[start : start + _BATCH_REQUESTS])
        return results

    def _ask_batch(self, requests: Sequence[RpcRequest]) -> list[Any]:
        if self._takes_batches:
            numbered = {next(self._numbers): request for request in requests}
            answers = self._exchange([_body(number, request) for number, request in numbered.items()])
            if isinstance(answers, list):
                by_number = {
                    answer.get("id"): answer
                    for answer in answers
                    if isinstance(answer, dict) and type(answer.get("id")) is int
                }
                return [
                    _result_of(request, by_number.get(number), number) for number, request in numbered.items()
                ]
            self._takes_batches = False
        return [self.ask(request.method, *request.parameters) for request in requests]

    def _exchange(self, body: object) -> object:
        try:
            with self._client.stream("POST", self._url, json=body) as response:
                data = self._read(response)
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, ValueError, OSError) as error:
            raise ChainUnavailable(f"the RPC endpoint failed: {error or type(error).__name__}") from error
        # Errors of the calls themselves come with status 200 or, from some endpoints, 4xx and a JSON body.
        return _parse(data, response.status_code)

    def _read(self, response: httpx.Response) -> bytes:
        give_up = time.monotonic() + self._timeout_s
        received = bytearray()
        for chunk in plain_chunks(response):
            received += chunk
            if len(received) > self._most_bytes:
                raise ChainUnavailable(f"the RPC endpoint's answer has more than {self._most_bytes} bytes")
            if time.monotonic() > give_up:
                raise ChainUnavailable(f"the RPC endpoint's answer took more than {self._timeout_s:g} s")
        return bytes(received)


def quantity(value: object, what: str) -> int:
    """A number as JSON-RPC writes it.

    Raises:
        ChainUnavailable: it is none.
    """
    if not isinstance(value, str) or _QUANTITY.fullmatch(value) is None:
        raise _unusable(what, value)
    return int(value, 16)


def data_bytes(value: object, what: str, *, length: int | None = None) -> bytes:
    """Bytes as JSON-RPC writes them, of a certain length if one is given.

    Raises:
        ChainUnavailable: they are none.
    """
    if not isinstance(value, str) or _DATA.fullmatch(value) is None:
        raise _unusable(what, value)
    data = bytes.fromhex(value[2:])
    if length is not None and len(data) != length:
        raise _unusable(what, value)
    return data


def fields(value: object, what: str) -> dict[str, Any]:
    """A JSON object.

    Raises:
        ChainUnavailable: it is none.
    """
    if not isinstance(value, dict):
        raise _unusable(what, value)
    return value


def items(value: object, what: str) -> list[Any]:
    """A JSON array.

    Raises:
        ChainUnavailable: it is none.
    """
    if not isinstance(value, list):
        raise _unusable(what, value)
    return value


def _body(number: int, request: RpcRequest) -> dict[str, object]:
    return {"jsonrpc": "2.0", "id": number, "method": request.method, "params": list(request.parameters)}


def _result_of(request: RpcRequest, answer: object, number: int) -> Any:
    what = f"{request.method}'s answer"
    if not isinstance(answer, dict) or type(answer.get("id")) is not int or answer["id"] != number:
        raise _unusable(what, answer)
    error = answer.get("error")
    if error is not None:
        message = error.get("message") if isinstance(error, dict) else error
        raise RpcRefused(f"the RPC endpoint refused {request.method}: {_shown(message)}")
    if "result" not in answer:
        raise _unusable(what, answer)
    return answer["result"]


def _parse(data: bytes, status_code: int) -> object:
    try:
        with _bounded_recursion():
            return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ChainUnavailable(
            f"the RPC endpoint answered {status_code} with what is no usable JSON: {_shown(error)}"
        ) from error


@contextmanager
def _bounded_recursion() -> Iterator[None]:
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(min(before, _MOST_RECURSION))
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


def _unusable(what: str, value: object) -> ChainUnavailable:
    return ChainUnavailable(f"the RPC endpoint gave no usable {what}: {_shown(value)}")


def _shown(value: object) -> str:
    """A hostile value for a sentence: short, and without characters that a terminal obeys."""
    kind = "nothing" if value is None else f"a {type(value).__name__}"
    text = str(value) if isinstance(value, (str, int, float, Exception)) else kind
    return shown(text)
