"""The web application: REST API and dashboard over the services."""

from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.responses import JSONResponse

from contracts.deployment import Deployment
from orchestrator import dashboard
from orchestrator.adapters.artifacts import FolderArtifactStore
from orchestrator.adapters.database import open_records
from orchestrator.api import description, problems
from orchestrator.api.access import Caller, TokenFirst
from orchestrator.api.answers import RememberedAnswers
from orchestrator.api.audit import AuditMiddleware
from orchestrator.api.correlation import CorrelationMiddleware
from orchestrator.api.limits import BodyLimitMiddleware
from orchestrator.api.metrics import Metrics
from orchestrator.api.observation import ObservationMiddleware
from orchestrator.api.routers import artifacts as artifact_router
from orchestrator.api.routers import (
    audit,
    declarations,
    enrolment,
    events,
    health,
    intents,
    metrics,
    models,
    nodes,
    rewards,
    rounds,
    sign_in,
    slashes,
    tasks,
    tokens,
    webhooks,
)
from orchestrator.api.security_headers import SecurityHeadersMiddleware
from orchestrator.api.uploads import Uploads
from orchestrator.composition import (
    SystemClock,
    WebhookOutlet,
    build_services,
    open_artifacts,
    open_database,
    open_outlet,
    open_signers,
)
from orchestrator.dashboard import SingleSignOn
from orchestrator.domain.artifacts import ArtifactStore
from orchestrator.domain.ports import Clock, ContractSigners, Records
from orchestrator.logs import configure_logs
from orchestrator.options import AppOptions
from orchestrator.services.audit import AuditedRecords, AuditService
from orchestrator.services.node_sign_in import NodeSignInService
from orchestrator.services.people import PeopleService
from orchestrator.services.signatures import SignatureService
from orchestrator.services.throttle import Throttle
from orchestrator.services.tokens import TokenService
from orchestrator.settings import load_settings
from orchestrator.telemetry import start_tracing, trace_requests

_ROUTERS = (
    artifact_router.router,
    nodes.router,
    tasks.router,
    rounds.router,
    models.router,
    intents.router,
    rewards.router,
    slashes.router,
    tokens.router,
    sign_in.router,
    audit.router,
    enrolment.open_router,
    enrolment.router,
    declarations.router,
    events.router,
    metrics.router,
    webhooks.router,
)
_USUAL = AppOptions()


def create_app(
    records: Records,
    artifacts: ArtifactStore,
    deployment: Deployment,
    clock: Clock,
    outlet: WebhookOutlet | None = None,
    options: AppOptions = _USUAL,
    contract_signers: ContractSigners | None = None,
) -> FastAPI:
    """The application over given adapters; ``deployment`` names the contracts that nodes sign for.

    Without an ``outlet`` there are no webhooks; without ``contract_signers`` only keys sign.
    """
    # The API's description is served behind a token; the interactive pages would load foreign scripts.
    app = FastAPI(title="Collegium", version="1", openapi_url=None, docs_url=None, redoc_url=None)
    audited, audit_log = AuditedRecords(records, clock), AuditService(records, clock)
    throttle = Throttle(options.limits)
    signatures = SignatureService(contract_signers, throttle)
    # What strangers cause without being let in is not audited as a deed: attempts have rows of their own.
    node_sign_in = NodeSignInService(
        records, clock, TokenService(audited, clock), deployment, options.public_url, signatures
    )
    app.state.services = build_services(
        audited,
        artifacts,
        deployment,
        clock,
        audit_log,
        outlet or WebhookOutlet(),
        node_sign_in,
        throttle,
        signatures,
    )
    app.state.uploads = Uploads()
    app.state.metrics = Metrics(app.state.services)
    problems.install(app)
    description.install(app)
    app.include_router(health.router)
    for router in _ROUTERS:
        app.include_router(router)
    app.include_router(_description(app))
    dashboard.register(
        app,
        audited,
        clock,
        PeopleService(records, clock),
        throttle,
        _single_sign_on(options),
        options.is_https,
    )
    app.add_middleware(RememberedAnswers, records=records, clock=clock, throttle=throttle)
    app.add_middleware(BodyLimitMiddleware, streamed_prefix=artifact_router.PREFIX)
    app.add_middleware(AuditMiddleware, audit=audit_log, streamed_prefix=artifact_router.PREFIX)
    app.add_middleware(ObservationMiddleware, metrics=app.state.metrics)
    # Added last, so that they are outermost: errors of the others carry the id and the headers too.
    app.add_middleware(CorrelationMiddleware)
    app.add_middleware(SecurityHeadersMiddleware, is_https=options.is_https)
    return app


def create_app_from_environment() -> FastAPI:
    """The application that the environment describes; what ``collegium serve`` runs."""
    settings = load_settings()
    configure_logs(settings.log_format == "lines")
    deployment = settings.deployment()
    app = create_app(
        open_database(settings),
        open_artifacts(settings),
        deployment,
        SystemClock(),
        open_outlet(settings),
        settings.app_options(),
        open_signers(settings, deployment),
    )
    provider = start_tracing(settings, "collegium-api")
    if provider is not None:
        trace_requests(app, provider)
    return app


def describe_app() -> dict[str, Any]:
    """The description of the API (OpenAPI), as every such application gives it."""
    nowhere = "0x" + "00" * 20
    deployment = Deployment(
        chain_id=1,
        registry=nowhere,
        tasks=nowhere,
        rounds=nowhere,
        lens=nowhere,
        token=nowhere,
        anchors=nowhere,
        block=0,
    )
    records = open_records("sqlite://")
    try:
        app = create_app(records, FolderArtifactStore(Path(), 1), deployment, SystemClock())
        return app.openapi()
    finally:
        records.close()


def _single_sign_on(options: AppOptions) -> SingleSignOn | None:
    provider = options.identity_provider
    return None if provider is None else SingleSignOn(provider, options.roles, options.public_url)


def _description(app: FastAPI) -> APIRouter:
    router = APIRouter(route_class=TokenFirst)

    @router.get("/v1/openapi.json", operation_id="describe", include_in_schema=False)
    def describe(_: Caller) -> JSONResponse:
        return JSONResponse(app.openapi())

    return router
