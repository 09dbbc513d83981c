"""Models as the registry shows them: the adapters that final rounds ended with, and where they come from."""

from dataclasses import dataclass

from orchestrator.domain.ports import EvaluationRecord


@dataclass(frozen=True)
class ModelView:
    """The aggregate of a final round; ``is_latest`` while the task's next round would start from it."""

    digest: str
    task: int
    task_name: str | None
    round: int
    parent_digest: str
    finished_unix_s: int
    is_latest: bool


@dataclass(frozen=True)
class NetworkReport:
    """What a network says about the adapter that it trained; nobody else can check these figures."""

    network: str
    sites: int
    records: int
    steps_per_site: int
    first_loss_nats: float | None
    last_loss_nats: float | None
    seconds: float


@dataclass(frozen=True)
class ReportView:
    """A proposal's report; ``report`` None where it is not stored, or is no report."""

    node: str
    node_name: str | None
    adapter_digest: str
    report_digest: str
    report: NetworkReport | None


@dataclass(frozen=True)
class AncestorView:
    """One step of a model's lineage; round 0 is the genesis adapter. The counts are of its proposals."""

    round: int
    digest: str
    proposed: int
    accepted: int


@dataclass(frozen=True)
class ContributionView:
    """An accepted proposal of the rounds that a model went through."""

    round: int
    node: str
    node_name: str | None
    adapter_digest: str
    median_improvement_micronats: int | None


@dataclass(frozen=True)
class ModelCard:
    """What is known of a model: from the chain, from the task's spec, and from what the networks declared.

    ``lineage`` goes from the genesis adapter to the model; ``limits`` says what is not known.
    """

    model: ModelView
    spec_digest: str
    base_model: str
    base_model_digest: str
    method: str
    rank: int
    target_modules: tuple[str, ...]
    adapter_bytes: int
    labels: int
    rule: str
    outer_optimiser: str
    lineage: tuple[AncestorView, ...]
    contributions: tuple[ContributionView, ...]
    reports: tuple[ReportView, ...]
    evaluations: tuple[EvaluationRecord, ...]
    limits: tuple[str, ...]
