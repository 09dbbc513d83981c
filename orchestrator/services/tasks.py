"""Tasks as the consortium's admin orders them; the chain gives them their number."""

from dataclasses import dataclass

from contracts.manifest import Manifest
from contracts.task import MAX_SPEC_BYTES, TaskSpec
from contracts.task_config import TaskConfig
from orchestrator.domain.artifacts import ArtifactStore
from orchestrator.domain.chain import CreateTask
from orchestrator.domain.errors import ArtifactMissing, Conflict, NotFound, WrongTerms
from orchestrator.domain.outbox import Intent, IntentStatus
from orchestrator.domain.ports import Clock, Records, TaskOrder, Unit
from orchestrator.domain.projection import Announcement
from orchestrator.domain.state import TaskState
from orchestrator.domain.terms import check_durations, check_terms
from orchestrator.services.outbox import enqueue

_SLACK_BYTES = 1 << 20


@dataclass(frozen=True)
class OrderedTask:
    """Where an order stands; ``task`` None until it is on chain."""

    spec_digest: str
    task: int | None
    status: IntentStatus
    error: str | None


@dataclass(frozen=True)
class TaskService:
    """Orders of tasks."""

    records: Records
    artifacts: ArtifactStore
    clock: Clock

    def create(self, name: str, config: TaskConfig, pool: int) -> OrderedTask:
        """Order a task, which the worker creates and funds on chain; the same order again changes nothing.

        Raises:
            ArtifactMissing: the spec or the genesis adapter is not stored.
            WrongTerms: the terms contradict the spec or break a bound.
            ContractViolation: the spec or the genesis adapter is not what it should be.
            Conflict: the spec was ordered before on other terms.
        """
        check_terms(config)
        spec = stored_spec(self.artifacts, config.spec_digest)
        if spec.genesis_digest != config.genesis_digest:
            raise WrongTerms(
                f"the spec's genesis adapter is {spec.genesis_digest}, not {config.genesis_digest}"
            )
        if config.proposers < (least := spec.aggregation.least_contributions):
            raise WrongTerms(
                f"the spec's rule {spec.aggregation.rule} needs {least} contributions, "
                f"a round has {config.proposers} proposers"
            )
        check_stored_adapter(self.artifacts, spec.manifest, config.genesis_digest)
        now_unix_s = self.clock.now_unix_s()
        order = TaskOrder(config.spec_digest, name, f"create_task:{config.spec_digest}", pool, now_unix_s)
        with self.records.write() as unit:
            registry = unit.projection.registry()
            if registry is not None:
                check_durations(config, registry.terms)
            known = unit.orders.by_spec(config.spec_digest)
            if known is not None and (known.name, known.pool) != (name, pool):
                raise Conflict("this spec was ordered before under another name or with another pool")
            intent = enqueue(unit, order.call_key, CreateTask(config), now_unix_s)
            if known is None:
                unit.orders.add(order)
                facts = {"spec_digest": config.spec_digest, "name": name}
                unit.stream.append(Announcement("task.ordered", facts=facts), now_unix_s)
            return _ordered(unit, config.spec_digest, intent)


def stored_spec(artifacts: ArtifactStore, spec_digest: str) -> TaskSpec:
    """A spec from the store.

    Raises:
        ArtifactMissing: it is not stored.
        InvalidTaskSpec: it is no spec.
        WrongTerms: its bytes are not the canonical ones.
    """
    try:
        data = artifacts.read(spec_digest, MAX_SPEC_BYTES)
    except NotFound as error:
        raise ArtifactMissing(f"the task's spec {spec_digest} is not stored; upload it first") from error
    spec = TaskSpec.parse(data)
    if spec.digest != spec_digest:
        raise WrongTerms("the stored spec is not in canonical form (RFC 8785), so its digest is not a spec's")
    return spec


def check_stored_adapter(artifacts: ArtifactStore, manifest: Manifest, digest: str) -> None:
    """Refuse a stored adapter that breaks the manifest.

    Raises:
        ArtifactMissing: it is not stored.
        ArtifactTooLarge, InvalidAdapter: it is not an adapter of this manifest.
    """
    try:
        # Room for a wrong adapter that is somewhat larger, so that the error can say what is wrong with it.
        data = artifacts.read(digest, 2 * manifest.file_bytes + _SLACK_BYTES)
    except NotFound as error:
        raise ArtifactMissing(f"the adapter {digest} is not stored; upload it first") from error
    manifest.decode(data, digest=digest)


def fund_key(spec_digest: str) -> str:
    """The outbox key of the payment into a task's pool."""
    return f"fund:{spec_digest}"


def order_of(unit: Unit, task: TaskState) -> TaskOrder | None:
    """The order that a task on chain came from: the first task with the order's spec."""
    order = unit.orders.by_spec(task.config.spec_digest)
    if order is None:
        return None
    first = unit.projection.tasks_of_spec(order.spec_digest)[0]
    return order if first.task == task.task else None


def _ordered(unit: Unit, spec_digest: str, intent: Intent) -> OrderedTask:
    tasks = unit.projection.tasks_of_spec(spec_digest)
    return OrderedTask(spec_digest, tasks[0].task if tasks else None, intent.status, intent.error)
