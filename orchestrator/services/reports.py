"""The reports that networks hand in with their proposals, as far as they can be read."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from contracts.phase import Phase
from orchestrator.domain.artifacts import ArtifactStore, ArtifactTooLarge
from orchestrator.domain.errors import NotFound
from orchestrator.domain.models import NetworkReport, ReportView
from orchestrator.domain.ports import Records
from orchestrator.domain.state import RoundState

_MOST_REPORT_BYTES = 1 << 16
_Count = Annotated[int, Field(ge=0, lt=1 << 53)]
_Loss = Annotated[float, Field(allow_inf_nan=False)] | None


class _TrainReport(BaseModel):
    """The fields of a network's report that are shown; it may hold more."""

    model_config = ConfigDict(extra="ignore")

    network: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._\-]{0,99}$")]
    sites: _Count
    records: _Count
    steps_per_site: _Count
    first_loss_nats: _Loss
    last_loss_nats: _Loss
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True)
class ReportService:
    """Reads reports out of the store; they are public once their round's proposal phase is over."""

    records: Records
    artifacts: ArtifactStore

    def of_round(self, task: int, round_number: int) -> tuple[ReportView, ...]:
        """A round's reports, by node; none before its proposal phase is over. Raises NotFound."""
        with self.records.read() as unit:
            state, names = unit.projection.round(task, round_number), unit.names.names()
        if state is None:
            raise NotFound(f"task {task} has no round {round_number}")
        return reports_of(state, names, self.artifacts)


def reports_of(state: RoundState, names: dict[str, str], artifacts: ArtifactStore) -> tuple[ReportView, ...]:
    """The reports of a round's proposals."""
    if state.phase <= Phase.TRAINING:
        return ()
    return tuple(
        ReportView(
            node=proposal.node,
            node_name=names.get(proposal.node),
            adapter_digest=proposal.adapter_digest,
            report_digest=proposal.report_digest,
            report=_read(artifacts, proposal.report_digest),
        )
        for proposal in state.proposals
    )


def _read(artifacts: ArtifactStore, digest: str) -> NetworkReport | None:
    try:
        report = _TrainReport.model_validate_json(artifacts.read(digest, _MOST_REPORT_BYTES))
    except (NotFound, ArtifactTooLarge, ValidationError):
        return None
    return NetworkReport(**report.model_dump())
