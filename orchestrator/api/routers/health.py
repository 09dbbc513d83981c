"""Whether the process is alive, and whether it can work."""

from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, Response

from orchestrator.api.access import ServicesOfApp
from orchestrator.api.schemas import HealthAnswer, ReadyAnswer

router = APIRouter(tags=["health"])


@router.get("/healthz", operation_id="health")
def health() -> HealthAnswer:
    """Always 200 while the process answers."""
    return HealthAnswer(status="ok")


_NOT_READY: dict[int | str, dict[str, Any]] = {
    503: {"model": ReadyAnswer, "description": "What is not ready."}
}


@router.get("/readyz", operation_id="readiness", responses=_NOT_READY)
def readiness(services: ServicesOfApp, response: Response) -> ReadyAnswer:
    """200 when requests can be served; 503 names what is not ready."""
    not_ready = services.queries.not_ready()
    if not_ready:
        response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
    return ReadyAnswer(not_ready=not_ready, warnings=services.queries.warnings())
