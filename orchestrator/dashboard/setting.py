"""What the dashboard's routes work with, put on the application by ``register``."""

from dataclasses import dataclass

from starlette.requests import Request

from orchestrator.services.queries import QueryService
from orchestrator.services.sessions import SessionService
from orchestrator.services.task_facts import TaskFactsService
from orchestrator.services.tokens import TokenService


@dataclass(frozen=True)
class DashboardSetting:
    """The services that the pages call."""

    tokens: TokenService
    sessions: SessionService
    queries: QueryService
    task_facts: TaskFactsService


def setting_of(request: Request) -> DashboardSetting:
    """The setting that the application was registered with."""
    setting: DashboardSetting = request.app.state.dashboard
    return setting
