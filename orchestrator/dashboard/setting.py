"""What the dashboard's routes work with, put on the application by ``register``."""

from dataclasses import dataclass

from starlette.requests import Request

from orchestrator.domain.single_sign_on import IdentityProvider, RoleMap
from orchestrator.services.ledger_facts import LedgerFactsService
from orchestrator.services.people import PeopleService
from orchestrator.services.queries import QueryService
from orchestrator.services.sessions import SessionService
from orchestrator.services.task_facts import TaskFactsService
from orchestrator.services.throttle import Throttle
from orchestrator.services.tokens import TokenService


@dataclass(frozen=True)
class SingleSignOn:
    """The identity provider, what its groups may do, and where it sends people back to."""

    provider: IdentityProvider
    roles: RoleMap
    public_url: str


@dataclass(frozen=True)
class DashboardSetting:
    """The services that the pages call; ``single_sign_on`` None: there is none."""

    people: PeopleService
    throttle: Throttle
    single_sign_on: SingleSignOn | None
    is_https: bool

    tokens: TokenService
    sessions: SessionService
    queries: QueryService
    task_facts: TaskFactsService
    ledger_facts: LedgerFactsService


def setting_of(request: Request) -> DashboardSetting:
    """The setting that the application was registered with."""
    setting: DashboardSetting = request.app.state.dashboard
    return setting
