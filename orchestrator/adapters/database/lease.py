"""The worker's lease in a table of one row."""

from sqlalchemy.orm import Session

from orchestrator.adapters.database.models import LeaseRow
from orchestrator.domain.lease import Lease

_LEASE = 1


class SqlLeaseRepository:
    """``LeaseRepository`` over one session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def current(self) -> Lease | None:
        """The lease as it stands, run out or not; None before the first."""
        row = self._session.get(LeaseRow, _LEASE, populate_existing=True)
        return None if row is None else Lease(row.holder, row.fence, row.expires_unix_s)

    def save(self, lease: Lease) -> None:
        """Replace the lease."""
        self._session.merge(
            LeaseRow(id=_LEASE, holder=lease.holder, fence=lease.fence, expires_unix_s=lease.expires_unix_s)
        )
