"""The dashboard: server-rendered pages that htmx keeps current; ``register`` puts it on an application."""

import logging

from fastapi import FastAPI

from orchestrator.dashboard import ledger_routes, people_sign_in, routes, sign_in, static_files
from orchestrator.dashboard.pages import missing_vendor_files
from orchestrator.dashboard.setting import DashboardSetting, SingleSignOn
from orchestrator.domain.ports import Clock, Records
from orchestrator.services.ledger_facts import LedgerFactsService
from orchestrator.services.people import PeopleService
from orchestrator.services.queries import QueryService
from orchestrator.services.sessions import SessionService
from orchestrator.services.task_facts import TaskFactsService
from orchestrator.services.throttle import Throttle
from orchestrator.services.tokens import TokenService

__all__ = ["SingleSignOn", "missing_vendor_files", "register"]

logger = logging.getLogger(__name__)


def register(
    app: FastAPI,
    records: Records,
    clock: Clock,
    people: PeopleService,
    throttle: Throttle,
    single_sign_on: SingleSignOn | None,
    is_https: bool,
) -> None:
    """Put the dashboard's routes on ``app``.

    The browser libraries come from ``npm ci`` in this folder. Without them the pages say so, and
    ``missing_vendor_files`` names what is missing, for ``/readyz``.
    """
    app.state.dashboard = DashboardSetting(
        people=people,
        throttle=throttle,
        single_sign_on=single_sign_on,
        is_https=is_https,
        tokens=TokenService(records, clock),
        sessions=SessionService(records, clock),
        queries=QueryService(records, clock),
        task_facts=TaskFactsService(records, clock),
        ledger_facts=LedgerFactsService(records, clock),
    )
    for router in (
        static_files.router,
        sign_in.router,
        people_sign_in.router,
        sign_in.tickets_router,
        routes.router,
        ledger_routes.router,
    ):
        app.include_router(router)
    missing = missing_vendor_files()
    if missing:
        logger.warning("the dashboard lacks %s: run npm ci in orchestrator/dashboard", ", ".join(missing))
