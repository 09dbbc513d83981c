"""Metrics for Prometheus; behind a token, because how busy a hub is concerns those who have one."""

from fastapi import APIRouter, Request, Response

from orchestrator.api.access import Caller, TokenFirst
from orchestrator.api.metrics import MEDIA_TYPE, Metrics

router = APIRouter(tags=["health"], route_class=TokenFirst)


@router.get("/metrics", operation_id="get_metrics", response_class=Response)
def get_metrics(request: Request, _: Caller) -> Response:
    """Prometheus' text format."""
    found: Metrics = request.app.state.metrics
    return Response(found.text(), media_type=MEDIA_TYPE)
