"""Bodies are JSON and say so: anything else is refused before it is read. Some answers are made here too."""

from collections.abc import Callable, Coroutine
from http import HTTPStatus
from json import JSONDecodeError
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel
from pydantic_core import from_json

from orchestrator.domain.errors import OrchestratorError

_JSON = "application/json"


class UnsupportedMediaType(OrchestratorError):
    """The body is something else than JSON, or does not say what it is."""

    code = "unsupported_media_type"


class JsonRequest(Request):
    """A request whose JSON may be nested only so deep, whatever the interpreter's recursion limit is.

    Libraries raise that limit, and then Python's own parser overflows the stack: the process would end.
    """

    @classmethod
    def of(cls, request: Request) -> "JsonRequest":
        """The same request, whose body nobody has read yet."""
        return request if isinstance(request, cls) else cls(request.scope, request.receive)

    async def json(self) -> Any:
        """The body. Raises JSONDecodeError."""
        body = await self.body()
        try:
            return from_json(body)
        except ValueError as error:
            raise JSONDecodeError(str(error), "", 0) from error


class JsonRoute(APIRoute):
    """A route whose body, if it takes one, is JSON."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's handler, behind the check."""
        handle = super().get_route_handler()

        async def handle_json(request: Request) -> Response:
            if self.body_field is not None:
                require_json(request)
            return await handle(JsonRequest.of(request))

        return handle_json


def require_json(request: Request) -> None:
    """Raises UnsupportedMediaType unless a body, where there is one, is said to be JSON."""
    given = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if given == _JSON or (given.startswith("application/") and given.endswith("+json")):
        return
    if given or request.headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in request.headers:
        raise UnsupportedMediaType(f"a body is {_JSON} here, and its Content-Type says so")


def json_answer(answer: BaseModel, status: HTTPStatus) -> Response:
    """What FastAPI would answer with; it has a thread check the answer once more, which takes its time."""
    return Response(answer.model_dump_json(by_alias=True), status, media_type=_JSON)
