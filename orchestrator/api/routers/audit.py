"""The audit log, for auditors: only to be read."""

from typing import Annotated

from fastapi import APIRouter, Query

from contracts.audit import AuditOutcome
from contracts.messages import Address
from orchestrator.api.access import Caller, ServicesOfApp, TokenFirst
from orchestrator.api.schemas import AuditPage
from orchestrator.domain.audit import AuditFilter

MOST_ROWS = 1000

router = APIRouter(prefix="/v1/audit", tags=["audit"], route_class=TokenFirst)

After = Annotated[int, Query(ge=0, lt=1 << 53, description="begin after this row")]
Limit = Annotated[int, Query(ge=1, le=MOST_ROWS, description="how many rows at most")]
Text = Annotated[str | None, Query(min_length=1, max_length=200, description="only rows with this")]
Task = Annotated[int | None, Query(ge=1, lt=1 << 53, description="only rows about this task")]
Node = Annotated[Address | None, Query(description="only rows about this node")]
Outcome = Annotated[AuditOutcome | None, Query(description="only rows that ended so")]


@router.get("", operation_id="list_audit_rows")
def list_audit_rows(
    services: ServicesOfApp,
    _: Caller,
    after: After = 0,
    limit: Limit = 100,
    principal: Text = None,
    operation: Text = None,
    outcome: Outcome = None,
    task: Task = None,
    node: Node = None,
) -> AuditPage:
    """Rows of the audit log, oldest first; ``next`` is the ``after`` of the page that follows."""
    wanted = AuditFilter(principal, operation, outcome, task, node)
    rows = services.audit.page(after, limit, wanted)
    return AuditPage(items=rows, next=rows[-1].number if len(rows) == limit else None)
