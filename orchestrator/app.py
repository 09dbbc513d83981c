"""The web application: REST API and dashboard over the services."""

import logging

from fastapi import APIRouter, FastAPI
from fastapi.responses import JSONResponse

from contracts.deployment import Deployment
from orchestrator import dashboard
from orchestrator.api import problems
from orchestrator.api.access import Caller, TokenFirst
from orchestrator.api.correlation import CorrelationMiddleware
from orchestrator.api.limits import BodyLimitMiddleware
from orchestrator.api.routers import artifacts as artifact_router
from orchestrator.api.routers import events, health, intents, nodes, rounds, sign_in, slashes, tasks, tokens
from orchestrator.api.security_headers import SecurityHeadersMiddleware
from orchestrator.api.uploads import Uploads
from orchestrator.composition import SystemClock, build_services, open_artifacts, open_database
from orchestrator.domain.ports import ArtifactStore, Clock, Records
from orchestrator.options import AppOptions
from orchestrator.settings import load_settings

_ROUTERS = (
    artifact_router.router,
    nodes.router,
    tasks.router,
    rounds.router,
    slashes.router,
    intents.router,
    tokens.router,
    sign_in.router,
    events.router,
)
_USUAL = AppOptions()


def create_app(
    records: Records,
    artifacts: ArtifactStore,
    deployment: Deployment,
    clock: Clock,
    options: AppOptions = _USUAL,
) -> FastAPI:
    """The application over given adapters; ``deployment`` names the contracts that nodes sign for."""
    # The API's description is served behind a token; the interactive pages would load foreign scripts.
    app = FastAPI(title="Collegium", version="1", openapi_url=None, docs_url=None, redoc_url=None)
    app.state.services = build_services(records, artifacts, deployment, clock, options)
    app.state.uploads = Uploads()
    problems.install(app)
    app.include_router(health.router)
    for router in _ROUTERS:
        app.include_router(router, responses=problems.PROBLEM_RESPONSES)
    app.include_router(_description(app))
    dashboard.register(app, records, clock, app.state.services.throttle, options)
    app.add_middleware(BodyLimitMiddleware, streamed_prefix=artifact_router.PREFIX)
    # Added last, so that they are outermost: errors of the others carry the id and the headers too.
    app.add_middleware(CorrelationMiddleware)
    app.add_middleware(SecurityHeadersMiddleware, is_https=options.is_https)
    return app


def create_app_from_environment() -> FastAPI:
    """The application that the environment describes; what ``collegium serve`` runs."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    settings = load_settings()
    return create_app(
        open_database(settings),
        open_artifacts(settings),
        settings.deployment(),
        SystemClock(),
        settings.app_options(),
    )


def _description(app: FastAPI) -> APIRouter:
    router = APIRouter(route_class=TokenFirst)

    @router.get("/v1/openapi.json", operation_id="describe", include_in_schema=False)
    def describe(_: Caller) -> JSONResponse:
        return JSONResponse(app.openapi())

    return router
