"""The API's description (OpenAPI 3.1): what FastAPI finds, and what holds for all operations alike.

Each operation gets a summary, the errors that its shape can bring, the headers that ``TokenFirst`` handles,
and complete examples, put together from the schemas by the names of the fields.
"""

from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from orchestrator.api.idempotency import KEY_HEADER, KEY_PATTERN
from orchestrator.api.problems import PROBLEM_MEDIA_TYPE, Problem
from orchestrator.api.schema_examples import Examples
from orchestrator.api.schemas import EventAnswer

Json = dict[str, Any]

_ABOUT = (
    "The orchestrator of Collegium: federated fine-tuning among hospital networks that do not trust one "
    "central party. Errors are problem documents (RFC 9457) with a stable `code` and a correlation id. "
    "Lists are read page by page: `next_cursor` of one page is `cursor` of the next. Digests are `0x` and 64 "
    "lower-case hex digits, amounts of token decimal strings in base units, times unix seconds."
)
_PROBLEMS = {
    400: ("The body cannot be read.", "bad_request", "There was an error parsing the body"),
    401: ("No valid token.", "unauthenticated", "the token is not known, has expired or was revoked"),
    403: (
        "The token's role, or the node's role in the round, does not allow it.",
        "not_allowed",
        "this needs the role admin; yours is auditor",
    ),
    404: ("It does not exist, or not yet.", "not_found", "there is no task 99 on chain"),
    408: ("The body did not come in time.", "too_slow", "the body did not come within 20 s"),
    409: (
        "It contradicts what is recorded.",
        "wrong_phase",
        "the round is committing, the message belongs to training",
    ),
    412: (
        "It was changed since the caller read it.",
        "precondition_failed",
        "it was changed since you read it; read it again",
    ),
    413: ("The body is larger than the limit.", "too_large", "a request has at most 1048576 bytes"),
    415: (
        "The body is not said to be JSON.",
        "unsupported_media_type",
        "a body is application/json here, and its Content-Type says so",
    ),
    416: (
        "The range holds none of the bytes.",
        "range_not_satisfiable",
        "the artifact has 3000000 bytes, and the range holds none of them",
    ),
    422: (
        "What the request says is malformed or wrong.",
        "invalid_request",
        "query.limit: Input should be less than or equal to 200",
    ),
    429: (
        "Too many requests; `Retry-After` says when to ask again.",
        "too_many_requests",
        "too many requests; ask again in 12 s",
    ),
    500: (
        "The hub met an unexpected error; its log has the details under the correlation id.",
        "internal",
        "the hub met an unexpected error; its log has the details under the correlation id",
    ),
    503: (
        "Something that the hub depends on does not answer.",
        "unavailable",
        "the database does not answer; try again later",
    ),
    507: (
        "The store's quota is used up, or its disk is full; nothing was stored.",
        "storage_full",
        "the disk of the artifact store is full",
    ),
}
"""What each status means, with the code and the sentence of one such problem."""
_FOR_THE_KNOWN = ("/v1/", "/dashboard/")
"""Where nobody is served who shows nothing: no token, no invite."""
_CORRELATION_ID = "5e1f6c1f8a3a4b0f9a6d7c2e8b9f0a1b"
_METHODS = ("get", "head", "put", "post", "patch", "delete")
_KEY_PARAMETER = {
    "name": KEY_HEADER,
    "in": "header",
    "required": False,
    "description": "The same request with the same key is done once, and answered again for a day.",
    "schema": {"type": "string", "pattern": f"^{KEY_PATTERN}$"},
    "example": "0f6e2c1e-8f9a-4f5d-9c55-2f4f2a0c7d11",
}
_KNOWN_PARAMETER = {
    "name": "If-None-Match",
    "in": "header",
    "required": False,
    "description": "`ETag` of what the caller has; 304 when it is still the same.",
    "schema": {"type": "string", "pattern": r'^"[!#-~]{1,100}"$'},
    "example": '"5f0c1d"',
}


def install(app: FastAPI) -> None:
    """Have the app describe itself in this way."""

    def openapi() -> Json:
        if app.openapi_schema is None:
            app.openapi_schema = describe(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def describe(app: FastAPI) -> Json:
    """The description of an app's operations."""
    description = get_openapi(title=app.title, version=app.version, description=_ABOUT, routes=app.routes)
    schemas = description["components"]["schemas"]
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    schemas["Problem"] = Problem.model_json_schema()
    description["components"]["responses"] = {str(status): _problem(status) for status in _PROBLEMS}
    schemas["EventAnswer"] = EventAnswer.model_json_schema()
    examples = Examples(schemas)
    for method, path, operation in _operations(description):
        _describe(operation, method, path, examples)
    return description


def _operations(description: Json) -> Iterator[tuple[str, str, Json]]:
    for path, item in description["paths"].items():
        for method in _METHODS:
            if method in item:
                yield method, path, item[method]


def _describe(operation: Json, method: str, path: str, examples: Examples) -> None:
    text = operation.get("description", "").partition("\n\n")[0].replace("\n", " ")
    operation["summary"] = text.partition(". ")[0].rstrip(".")
    parameters = operation.setdefault("parameters", [])
    is_secured = bool(operation.get("security"))
    if is_secured and method == "post":
        parameters.append(_KEY_PARAMETER)
    if is_secured and method == "get" and "application/json" in _content(operation, "200"):
        parameters.append(_KNOWN_PARAMETER)
        operation["responses"]["304"] = {"description": "The caller has it already."}
    for parameter in parameters:
        parameter.setdefault("example", examples.of(parameter["schema"], parameter["name"]))
    _declare_problems(operation, method, path, is_secured)
    for body in (operation.get("requestBody", {}), *operation["responses"].values()):
        for media_type, content in body.get("content", {}).items():
            if media_type == "application/json" and "example" not in content:
                content["example"] = examples.of(content.get("schema", {}), "")
    if not operation["parameters"]:
        del operation["parameters"]


def _declare_problems(operation: Json, method: str, path: str, is_secured: bool) -> None:
    parameters = {parameter["name"] for parameter in operation["parameters"]}
    statuses = {500}
    is_for_the_known = is_secured or path.startswith(_FOR_THE_KNOWN)
    if is_for_the_known:
        statuses |= {401, 403, 429, 503}
    if parameters or "requestBody" in operation:
        statuses.add(422)
    if "{" in path:
        statuses.add(404)
    if method in ("put", "post", "patch", "delete"):
        # A body is read, within limits, before anybody knows whether one is wanted.
        statuses |= {408, 409, 413}
    if "requestBody" in operation:
        statuses.add(400)
        if "application/json" in operation["requestBody"]["content"]:
            statuses.add(415)
    if "If-Match" in parameters:
        statuses.add(412)
    # What an operation has declared beyond that, it has declared by number alone.
    statuses |= {int(status) for status in operation["responses"] if int(status) in _PROBLEMS}
    responses = operation["responses"]
    for status in sorted(statuses):
        if responses.get(str(status), {}).get("content", {}).keys() - {"application/json"}:
            continue
        if status == 503 and not is_for_the_known:
            continue
        responses[str(status)] = {"$ref": f"#/components/responses/{status}"}
    operation["responses"] = dict(sorted(responses.items()))


def _problem(status: int) -> Json:
    """What is declared of a status, with an example."""
    description, code, detail = _PROBLEMS[status]
    example = Problem(
        type=f"urn:collegium:problem:{code}",
        title=HTTPStatus(status).phrase,
        status=status,
        code=code,
        detail=detail,
        correlation_id=_CORRELATION_ID,
    )
    schema = {"$ref": "#/components/schemas/Problem"}
    content = {PROBLEM_MEDIA_TYPE: {"schema": schema, "example": example.model_dump()}}
    return {"description": description, "content": content}


def _content(operation: Json, status: str) -> Json:
    content: Json = operation["responses"].get(status, {}).get("content", {})
    return content
