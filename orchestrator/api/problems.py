"""Errors as RFC 9457 problem documents: one mapping from the domain's errors, one shape for all."""

import logging
from collections.abc import Mapping
from http import HTTPStatus

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match, Route

from contracts.errors import ContractViolation
from orchestrator.api.media_types import UnsupportedMediaType
from orchestrator.api.security_headers import USUAL_HEADERS
from orchestrator.domain.artifacts import ArtifactTooLarge, StorageFull
from orchestrator.domain.errors import (
    Conflict,
    NotAllowed,
    NotFound,
    OrchestratorError,
    TooLarge,
    TooManyRequests,
    TooSlow,
    Unacceptable,
    Unauthenticated,
    Unavailable,
)
from orchestrator.domain.ports import RecordsUnavailable
from orchestrator.domain.versions import PreconditionFailed
from orchestrator.services.audit import note_refusal
from orchestrator.services.correlation import correlation_id

PROBLEM_MEDIA_TYPE = "application/problem+json"

logger = logging.getLogger(__name__)

_STATUS: tuple[tuple[type[OrchestratorError], HTTPStatus], ...] = (
    (NotFound, HTTPStatus.NOT_FOUND),
    (Unauthenticated, HTTPStatus.UNAUTHORIZED),
    (NotAllowed, HTTPStatus.FORBIDDEN),
    (Conflict, HTTPStatus.CONFLICT),
    (PreconditionFailed, HTTPStatus.PRECONDITION_FAILED),
    (UnsupportedMediaType, HTTPStatus.UNSUPPORTED_MEDIA_TYPE),
    (Unacceptable, HTTPStatus.UNPROCESSABLE_ENTITY),
    (TooSlow, HTTPStatus.REQUEST_TIMEOUT),
    (TooManyRequests, HTTPStatus.TOO_MANY_REQUESTS),
    (TooLarge, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    (ArtifactTooLarge, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    (StorageFull, HTTPStatus.INSUFFICIENT_STORAGE),
    (Unavailable, HTTPStatus.SERVICE_UNAVAILABLE),
    (RecordsUnavailable, HTTPStatus.SERVICE_UNAVAILABLE),
)
_HEADERS = {
    HTTPStatus.UNAUTHORIZED: {"WWW-Authenticate": "Bearer"},
    HTTPStatus.REQUEST_TIMEOUT: {"Connection": "close"},
}


class Problem(BaseModel):
    """What went wrong, for programs (``code``) and for people (``detail``)."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "type": "urn:collegium:problem:wrong_phase",
                "title": "Conflict",
                "status": 409,
                "code": "wrong_phase",
                "detail": "the round is committing, the message belongs to training",
                "correlation_id": "5e1f6c1f8a3a4b0f9a6d7c2e8b9f0a1b",
            }
        }
    )

    type: str
    title: str
    status: int
    code: str
    detail: str
    correlation_id: str


def problem_response(
    status: HTTPStatus, code: str, detail: str, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """A problem document."""
    note_refusal(code)
    problem = Problem(
        type=f"urn:collegium:problem:{code}",
        title=status.phrase,
        status=status,
        code=code,
        detail=detail,
        correlation_id=correlation_id() or "none",
    )
    return JSONResponse(problem.model_dump(), status, headers=headers, media_type=PROBLEM_MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Answer every error of the app with a problem document."""
    for kind in (OrchestratorError, ContractViolation, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, _on_known_error)
    app.add_exception_handler(ClientDisconnect, _on_disconnect)
    app.add_exception_handler(Exception, _on_any_error)


def as_problem(error: Exception) -> JSONResponse | None:
    """The problem document for an error of ours or of a request; None for any other error."""
    match error:
        case OrchestratorError():
            status = next((status for kind, status in _STATUS if isinstance(error, kind)), None)
            if status is None:
                return None
            headers = dict(_HEADERS.get(status, {}))
            if isinstance(error, TooManyRequests):
                headers["Retry-After"] = str(error.retry_after_s)
            return problem_response(status, error.code, str(error), headers)
        case ContractViolation():
            return problem_response(HTTPStatus.UNPROCESSABLE_ENTITY, error.code, str(error))
        case RequestValidationError():
            return _of_validation_error(error)
        case HTTPException():
            return _of_http_exception(error)
    return None


def _on_known_error(request: Request, error: Exception) -> JSONResponse:
    problem = as_problem(error) or _on_any_error(request, error)
    if problem.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        problem.headers["Allow"] = ", ".join(_allowed_methods(request))
    return problem


def _allowed_methods(request: Request) -> list[str]:
    """Every method that a path takes: the router names those of the first operation only."""
    found: set[str] = set()
    for route in request.app.routes:
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE:
            found |= route.methods or set()
    return sorted(found)


def _of_validation_error(error: RequestValidationError) -> JSONResponse:
    first = error.errors()[0]
    # What was sent is not repeated: it may hold a secret, and says nothing new to its sender.
    where = ".".join(str(part) for part in first["loc"])
    return problem_response(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_request", f"{where}: {first['msg']}")


def _of_http_exception(error: HTTPException) -> JSONResponse:
    status = HTTPStatus(error.status_code)
    code = status.phrase.lower().replace(" ", "_")
    return problem_response(status, code, str(error.detail), error.headers)


def _on_disconnect(_: Request, error: Exception) -> Response:
    """Nobody hears this answer, and that a client went away is no error of ours."""
    return Response(status_code=HTTPStatus.BAD_REQUEST)


def _on_any_error(_: Request, error: Exception) -> JSONResponse:
    logger.error("unexpected error", exc_info=error)
    return problem_response(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "internal",
        "the hub met an unexpected error; its log has the details under the correlation id",
        # Sent from outside the middleware that adds them to everything else.
        USUAL_HEADERS,
    )
