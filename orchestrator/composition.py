"""Builds services out of settings: the one place that knows which adapter stands behind which port."""

import time

from contracts.deployment import Deployment
from orchestrator.adapters.artifacts import FolderArtifactStore
from orchestrator.adapters.database import DatabaseRecords, open_records
from orchestrator.domain.ports import ArtifactStore, Clock, Records
from orchestrator.services.artifacts import ArtifactService
from orchestrator.services.audit import AuditService
from orchestrator.services.bundle import Services
from orchestrator.services.council import CouncilService
from orchestrator.services.enrolment import EnrolmentService
from orchestrator.services.evaluations import EvaluationService
from orchestrator.services.feed import EventFeed
from orchestrator.services.messages import MessageService
from orchestrator.services.nodes import NodeService
from orchestrator.services.queries import QueryService
from orchestrator.services.tasks import TaskService
from orchestrator.services.tokens import TokenService
from orchestrator.settings import Settings


class SystemClock:
    """This machine's clock."""

    def now_unix_s(self) -> int:
        """Seconds since 1970, UTC."""
        return int(time.time())


def build_services(
    records: Records, artifacts: ArtifactStore, deployment: Deployment, clock: Clock, audit: AuditService
) -> Services:
    """The services over given adapters."""
    queries = QueryService(records, clock)
    return Services(
        tokens=TokenService(records, clock),
        queries=queries,
        feed=EventFeed(queries),
        artifacts=ArtifactService(records, artifacts),
        nodes=NodeService(records, clock),
        council=CouncilService(records, clock),
        tasks=TaskService(records, artifacts, clock),
        messages=MessageService(records, artifacts, deployment, clock),
        audit=audit,
        enrolment=EnrolmentService(records, deployment, clock),
        evaluations=EvaluationService(records, clock),
    )


def open_database(settings: Settings) -> DatabaseRecords:
    """The records that the settings name."""
    return open_records(settings.database_url)


def open_artifacts(settings: Settings) -> ArtifactStore:
    """The artifact store that the settings name."""
    return FolderArtifactStore(settings.artifact_folder, settings.artifact_limit_bytes)
