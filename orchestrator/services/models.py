"""The registry of models: adapters of final rounds, their lineage, and a card for each."""

from dataclasses import dataclass

from contracts.phase import Phase
from contracts.settlement import Standing
from orchestrator.domain.artifacts import ArtifactStore
from orchestrator.domain.errors import NotFound
from orchestrator.domain.models import AncestorView, ContributionView, ModelCard, ModelView
from orchestrator.domain.pages import Key, Page
from orchestrator.domain.ports import Records, Unit
from orchestrator.domain.state import RoundState, TaskState
from orchestrator.services.queries import task_of_unit
from orchestrator.services.reports import reports_of
from orchestrator.services.tasks import order_of, stored_spec

LIMITS = (
    "The figures of a report are the network's own word; no other party can check them.",
    "An evaluation is the consortium admin's measurement on the test set that it names.",
    "Scores say what a proposal adds on the voters' own records, not how the model does in care.",
    "This card does not say how much privacy was spent: the networks' reports do not hold it.",
)


@dataclass(frozen=True)
class ModelService:
    """Reads models; a model is known by its digest."""

    records: Records
    artifacts: ArtifactStore

    def models(self, after: Key | None, limit: int) -> Page[ModelView]:
        """The models of all final rounds, by task and round."""
        task, round_number = (0, 0) if after is None else (int(after[0]), int(after[1]))
        with self.records.read() as unit:
            found = unit.projection.final_rounds_after(task, round_number, limit + 1)
            page = Page.of(found, limit, lambda state: (state.task, state.round))
            return page.shown_as(lambda state: _model_view(unit, state))

    def model(self, digest: str) -> ModelView:
        """A model. Raises NotFound."""
        with self.records.read() as unit:
            return _model_view(unit, _final_round(unit, digest))

    def card(self, digest: str) -> ModelCard:
        """A model's card. Raises NotFound, ArtifactMissing when the task's spec is not stored."""
        with self.records.read() as unit:
            state = _final_round(unit, digest)
            task, names = task_of_unit(unit, state.task), unit.names.names()
            model = _model_view(unit, state)
            ancestors = _ancestors(unit, task, state)
            evaluations = [each for each in unit.evaluations.of_task(task.task) if each.round <= state.round]
        spec = stored_spec(self.artifacts, task.config.spec_digest)
        return ModelCard(
            model=model,
            spec_digest=task.config.spec_digest,
            base_model=spec.base_model.source,
            base_model_digest=spec.base_model.digest,
            method=spec.adapter.method,
            rank=spec.adapter.rank,
            target_modules=spec.adapter.target_modules,
            adapter_bytes=spec.manifest.file_bytes,
            labels=len(spec.data.labels),
            rule=spec.aggregation.rule,
            outer_optimiser=spec.outer_optimiser.name,
            lineage=(
                AncestorView(0, task.config.genesis_digest, 0, 0),
                *(
                    AncestorView(
                        each.round, each.aggregate_digest or "", len(each.proposals), _accepted(each)
                    )
                    for each in ancestors
                ),
            ),
            contributions=tuple(
                ContributionView(
                    each.round,
                    proposal.node,
                    names.get(proposal.node),
                    proposal.adapter_digest,
                    proposal.median_improvement_micronats,
                )
                for each in ancestors
                for proposal in each.proposals
                if proposal.standing is Standing.ACCEPTED
            ),
            reports=tuple(report for each in ancestors for report in reports_of(each, names, self.artifacts)),
            evaluations=tuple(evaluations),
            limits=LIMITS,
        )


def _final_round(unit: Unit, digest: str) -> RoundState:
    state = unit.projection.final_round_of(digest)
    if state is None:
        raise NotFound(f"no final round ended with the model {digest[:80]}")
    return state


def _ancestors(unit: Unit, task: TaskState, last: RoundState) -> list[RoundState]:
    """The final rounds that a model went through, oldest first, its own included."""
    finals = [
        each
        for each in unit.projection.rounds(task.task)
        if each.phase is Phase.FINAL and each.round <= last.round
    ]
    lineage: list[RoundState] = []
    wanted = last.aggregate_digest
    for each in reversed(finals):
        if each.aggregate_digest == wanted:
            lineage.append(each)
            wanted = each.parent_digest
    return lineage[::-1]


def _accepted(state: RoundState) -> int:
    return sum(proposal.standing is Standing.ACCEPTED for proposal in state.proposals)


def _model_view(unit: Unit, state: RoundState) -> ModelView:
    task = task_of_unit(unit, state.task)
    order = order_of(unit, task)
    assert state.aggregate_digest is not None, "a final round has its aggregate"
    return ModelView(
        digest=state.aggregate_digest,
        task=state.task,
        task_name=None if order is None else order.name,
        round=state.round,
        parent_digest=state.parent_digest,
        finished_unix_s=max((each.started_unix_s for each in state.phases), default=0),
        is_latest=task.parent_digest == state.aggregate_digest,
    )
