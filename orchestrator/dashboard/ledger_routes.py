"""The ledger's page."""

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse, Response

from orchestrator.dashboard import pages
from orchestrator.dashboard.html_route import HtmlRoute
from orchestrator.dashboard.ledger import ledger_page
from orchestrator.dashboard.sign_in import Session, Setting
from orchestrator.domain.outbox import IntentStatus

router = APIRouter(route_class=HtmlRoute, include_in_schema=False)

Before = Annotated[int | None, Query(ge=1, lt=1 << 63)]


@router.get("/ledger")
def show_ledger(
    session: Session, setting: Setting, before: Before = None, status: IntentStatus | None = None
) -> Response:
    """The hub's transactions, the faults in appeal, and what each node has earned."""
    page = ledger_page(setting.ledger_facts.read(before, status), status, is_newest=before is None)
    values = {"page": page, "signed_in_as": session.name, "place": "ledger"}
    return HTMLResponse(pages.render("ledger.html", **values))
