"""Builds services out of settings: the one place that knows which adapter stands behind which port."""

import time
from dataclasses import dataclass, field

from contracts.deployment import Deployment
from orchestrator.adapters.artifacts import FolderArtifactStore
from orchestrator.adapters.chain import open_contract_signers
from orchestrator.adapters.database import DatabaseRecords, open_records
from orchestrator.adapters.notifications import HttpReceivers
from orchestrator.domain.artifacts import ArtifactStore
from orchestrator.domain.ports import Clock, ContractSigners, Records, WebhookReceivers
from orchestrator.services.artifacts import ArtifactService
from orchestrator.services.audit import AuditService
from orchestrator.services.bundle import Services
from orchestrator.services.council import CouncilService
from orchestrator.services.declarations import DeclarationService
from orchestrator.services.enrolment import EnrolmentService
from orchestrator.services.evaluations import EvaluationService
from orchestrator.services.feed import EventFeed
from orchestrator.services.figures import FigureService
from orchestrator.services.idempotency import IdempotencyService
from orchestrator.services.listings import ListingService
from orchestrator.services.messages import MessageService
from orchestrator.services.models import ModelService
from orchestrator.services.node_sign_in import NodeSignInService
from orchestrator.services.nodes import NodeService
from orchestrator.services.queries import QueryService
from orchestrator.services.reports import ReportService
from orchestrator.services.retention import RetentionService
from orchestrator.services.signatures import SignatureService
from orchestrator.services.tasks import TaskService
from orchestrator.services.throttle import Throttle
from orchestrator.services.tokens import TokenService
from orchestrator.services.webhooks import WebhookDeliveries, WebhookKey, WebhookService
from orchestrator.settings import Settings


class SystemClock:
    """This machine's clock."""

    def now_unix_s(self) -> int:
        """Seconds since 1970, UTC."""
        return int(time.time())


@dataclass(frozen=True)
class WebhookOutlet:
    """What webhooks need; ``key`` None where there are none."""

    receivers: WebhookReceivers = field(default_factory=lambda: HttpReceivers(development=False))
    key: WebhookKey | None = None


def build_services(
    records: Records,
    artifacts: ArtifactStore,
    deployment: Deployment,
    clock: Clock,
    audit: AuditService,
    outlet: WebhookOutlet,
    node_sign_in: NodeSignInService,
    throttle: Throttle,
    signatures: SignatureService,
) -> Services:
    """The services over given adapters."""
    queries = QueryService(records, clock)
    return Services(
        tokens=TokenService(records, clock),
        node_sign_in=node_sign_in,
        throttle=throttle,
        queries=queries,
        listings=ListingService(records, clock),
        models=ModelService(records, artifacts),
        reports=ReportService(records, artifacts),
        feed=EventFeed(queries),
        artifacts=ArtifactService(records, artifacts),
        nodes=NodeService(records, clock),
        council=CouncilService(records, clock),
        tasks=TaskService(records, artifacts, clock),
        messages=MessageService(records, artifacts, deployment, clock, signatures),
        audit=audit,
        declarations=DeclarationService(records, clock),
        enrolment=EnrolmentService(records, deployment, clock, signatures),
        evaluations=EvaluationService(records, clock),
        idempotency=IdempotencyService(records, clock),
        figures=FigureService(records, artifacts, queries, clock),
        webhooks=WebhookService(records, outlet.receivers, outlet.key, clock),
    )


def open_database(settings: Settings) -> DatabaseRecords:
    """The records that the settings name."""
    return open_records(settings.database_url)


def open_signers(settings: Settings, deployment: Deployment) -> ContractSigners | None:
    """What asks contracts for their signatures; None without the chain's address."""
    if settings.rpc_url is None:
        return None
    return open_contract_signers(settings.chain_rpc_urls(), deployment)


def open_artifacts(settings: Settings) -> ArtifactStore:
    """The artifact store that the settings name."""
    return FolderArtifactStore(
        settings.artifact_folder,
        settings.artifact_limit_bytes,
        quota_bytes=settings.artifact_quota_bytes or None,
        reserve_bytes=settings.artifact_reserve_bytes,
    )


def open_retention(settings: Settings, records: Records, clock: Clock) -> RetentionService | None:
    """What removes artifacts that nothing names; None where everything is kept."""
    if settings.artifact_retention_days == 0:
        return None
    kept_s = settings.artifact_retention_days * 24 * 3600
    return RetentionService(records, open_artifacts(settings), clock, kept_s)


def open_outlet(settings: Settings) -> WebhookOutlet:
    """What webhooks need, as the settings say. Raises SettingsError."""
    key = settings.webhook_key()
    return WebhookOutlet(
        receivers=HttpReceivers(settings.development), key=None if key is None else WebhookKey(key)
    )


def build_deliveries(records: Records, outlet: WebhookOutlet, clock: Clock) -> WebhookDeliveries | None:
    """What delivers webhooks; None without a key."""
    if outlet.key is None:
        return None
    return WebhookDeliveries(records, outlet.receivers, outlet.key, clock)
