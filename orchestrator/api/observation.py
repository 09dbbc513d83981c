"""Every request is counted and timed; one that changed something, or was refused, is a line of the log."""

import logging
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator.api.metrics import Metrics

_READS = ("GET", "HEAD", "OPTIONS")
_METHODS = (*_READS, "POST", "PUT", "PATCH", "DELETE")

logger = logging.getLogger(__name__)


class ObservationMiddleware:
    """Counts by operation, never by path: a path is whatever a stranger writes, and may hold a secret."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began_s = time.perf_counter()
        status, answered_s = 0, 0.0

        async def send_observed(message: Message) -> None:
            nonlocal status, answered_s
            if message["type"] == "http.response.start":
                status, answered_s = message["status"], time.perf_counter()
            await send(message)

        try:
            await self._app(scope, receive, send_observed)
        except BaseException:
            # The server answers with 500 further out, unless the client is gone.
            if not answered_s:
                status, answered_s = 500, time.perf_counter()
            raise
        finally:
            if answered_s:
                self._observe(scope, status, answered_s - began_s)

    def _observe(self, scope: Scope, status: int, taken_s: float) -> None:
        operation = operation_of(scope)
        self._metrics.requests.labels(operation, f"{status // 100}xx").inc()
        self._metrics.latency_s.labels(operation).observe(taken_s)
        method = scope["method"]
        if status >= 400 or method not in _READS:
            facts = {
                "operation": operation,
                "method": method if method in _METHODS else "other",
                "status": status,
                "milliseconds": round(1000 * taken_s, 1),
            }
            logger.info("request", extra=facts)


def operation_of(scope: Scope) -> str:
    """The operation that a request was routed to; ``unmatched`` when there is none."""
    route = scope.get("route")
    if route is None:
        return "unmatched"
    operation: str | None = getattr(route, "operation_id", None) or getattr(route, "name", None)
    return operation or "unmatched"
