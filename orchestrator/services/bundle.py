"""All services that the API and the dashboard call."""

from dataclasses import dataclass

from orchestrator.services.artifacts import ArtifactService
from orchestrator.services.audit import AuditService
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
from orchestrator.services.people import PeopleService
from orchestrator.services.queries import QueryService
from orchestrator.services.reports import ReportService
from orchestrator.services.sessions import SessionService
from orchestrator.services.tasks import TaskService
from orchestrator.services.throttle import Throttle
from orchestrator.services.tokens import TokenService
from orchestrator.services.webhooks import WebhookService


@dataclass(frozen=True)
class Services:
    """One of each."""

    tokens: TokenService
    node_sign_in: NodeSignInService
    throttle: Throttle
    queries: QueryService
    listings: ListingService
    models: ModelService
    reports: ReportService
    feed: EventFeed
    artifacts: ArtifactService
    nodes: NodeService
    council: CouncilService
    tasks: TaskService
    messages: MessageService
    evaluations: EvaluationService
    idempotency: IdempotencyService
    figures: FigureService
    webhooks: WebhookService
    audit: AuditService
    enrolment: EnrolmentService
    declarations: DeclarationService
    people: PeopleService
    sessions: SessionService
