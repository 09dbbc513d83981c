"""The audit log, for auditors: only to be read."""

from hashlib import sha256
from typing import Annotated

from fastapi import APIRouter, Query

from contracts.audit import AuditOutcome
from contracts.messages import Address
from orchestrator.api.access import Caller, ServicesOfApp, TokenFirst
from orchestrator.api.paging import Listing, PagingOfRequest
from orchestrator.api.schemas import AuditRowList, WithoutNull
from orchestrator.domain.audit import AuditFilter

router = APIRouter(prefix="/v1/audit", tags=["audit"], route_class=TokenFirst)

Text = Annotated[
    Annotated[str, WithoutNull] | None,
    Query(min_length=1, max_length=200, description="only rows with this"),
]
Task = Annotated[int | None, Query(ge=1, lt=1 << 53, description="only rows about this task")]
Node = Annotated[Address | None, Query(description="only rows about this node")]
Outcome = Annotated[AuditOutcome | None, Query(description="only rows that ended so")]


@router.get("", operation_id="list_audit_rows")
def list_audit_rows(
    services: ServicesOfApp,
    _: Caller,
    paging: PagingOfRequest,
    principal: Text = None,
    operation: Text = None,
    outcome: Outcome = None,
    task: Task = None,
    node: Node = None,
) -> AuditRowList:
    """Rows of the audit log, oldest first; only those of a principal, an operation and so on, if wanted."""
    wanted = AuditFilter(principal, operation, outcome, task, node)
    listing = Listing(f"audit rows {_short_digest(wanted)}", (int,))
    page = services.audit.page(paging.after(listing), paging.limit, wanted)
    return AuditRowList(items=page.items, next_cursor=listing.cursor(page.next_key))


def _short_digest(wanted: AuditFilter) -> str:
    """A few letters that stand for a filter: its texts may be long."""
    return sha256(repr(wanted).encode()).hexdigest()[:16]
