"""What was found out about the RPC endpoints, in a table."""

from collections.abc import Sequence

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from orchestrator.adapters.database.models import WitnessRow
from orchestrator.domain.witnesses import Verdict


class SqlWitnessRepository:
    """``WitnessRepository`` over one session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def all(self) -> tuple[Verdict, ...]:
        """Every endpoint that was looked at, in their order."""
        rows = self._session.scalars(select(WitnessRow).order_by(WitnessRow.position))
        return tuple(
            Verdict(row.name, row.head, row.checked_unix_s, row.fault, row.is_disputed) for row in rows
        )

    def replace(self, verdicts: Sequence[Verdict]) -> None:
        """Remember these, and nothing of others."""
        self._session.execute(delete(WitnessRow))
        self._session.add_all(
            WitnessRow(
                position=position,
                name=each.name,
                head=each.head,
                checked_unix_s=each.checked_unix_s,
                fault=each.fault,
                is_disputed=each.is_disputed,
            )
            for position, each in enumerate(verdicts)
        )
