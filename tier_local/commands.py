"""What the commands do, free of argument parsing: files in, files out, errors as exceptions."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from contracts.digests import ZERO_DIGEST, sha256_digest
from contracts.errors import ContractViolation
from contracts.manifest import Manifest, Tensors, TensorSpec
from contracts.network_policy import NetworkPolicy
from contracts.parent import adapter_of
from contracts.task import BaseModelSpec, TaskSpec
from tier_local.data import read_records
from tier_local.errors import BadInput, JobFailed
from tier_local.exchange import PARENT, JobKind
from tier_local.files import make_output_folder, read_input, write_whole
from tier_local.imports import without_collecting
from tier_local.job import JobRequest, JobResult, run_job
from tier_local.models import CachedModel, prepare, prepare_exactly
from tier_local.network import Network
from tier_local.network_policy import approved, policy_of
from tier_local.prompts import PromptEncoder
from tier_local.report import (
    ADAPTER_FILE,
    NETWORK_POLICY_FILE,
    PROGRESS_FILE,
    SPEC_FILE,
    EvaluateReport,
    Progress,
    Stage,
    TestReport,
    TestResult,
    TrainReport,
    finite,
)
from tier_local.scoring import StratumSums, wilson_interval


@dataclass(frozen=True)
class JobOptions:
    """Where an inner job finds its things and when it must be done."""

    spec_file: Path
    network_file: Path
    parent_file: Path
    out_folder: Path
    asked_unix_s: float
    deadline_unix_s: float
    exit_with_parent: int | None
    purpose: str
    policy_digest: str | None = None
    """The network's policy as it approved the task; None where nobody says."""


def genesis(draft_file: Path, model_cache: Path, out_folder: Path) -> TaskSpec:
    """Complete a draft: base model's digest, manifest, first adapter; writes both into ``out_folder``.

    Raises:
        BadInput: the draft is not a task spec without these three, or does not fit the base model.
    """
    draft = _parse_draft(draft_file)
    make_output_folder(out_folder)
    base = prepare(draft.base_model.source, model_cache)
    PromptEncoder(base.tokenizer(), draft.data)
    # Late: torch is needed to ask PEFT for the adapter's tensors, and bad drafts are refused before.
    with without_collecting():
        from tier_local import adapters

        tensors = adapters.genesis(draft.adapter, base.load(), draft.training.seed)
    manifest = Manifest.of(tensors)
    adapter = manifest.encode(tensors)
    spec = draft.model_copy(
        update={
            "base_model": BaseModelSpec(source=draft.base_model.source, digest=base.digest),
            "manifest": manifest,
            "genesis_digest": sha256_digest(adapter),
        }
    )
    write_whole(out_folder / ADAPTER_FILE, adapter)
    write_whole(out_folder / SPEC_FILE, spec.canonical_bytes())
    return spec


def train(options: JobOptions) -> TrainReport:
    """Train the network's next adapter from the parent; writes it and the report.

    Raises:
        InnerRoundError.
    """
    spec, network, parent = _read_job(options)
    result = _run(options, "train", spec, network, {PARENT: parent})
    if result.adapter is None:
        raise JobFailed("the job ended without an adapter")
    report = TrainReport(
        task_digest=spec.digest,
        network=network.name,
        parent_digest=sha256_digest(parent),
        adapter_digest=sha256_digest(result.adapter),
        adapter_bytes=len(result.adapter),
        sites=len(result.outcome.sites),
        sites_left_out=result.outcome.sites_left_out,
        records=result.outcome.records,
        steps_per_site=spec.training.steps,
        first_loss_nats=result.outcome.losses_nats["first"],
        last_loss_nats=result.outcome.losses_nats["last"],
        seconds=round(result.seconds, 3),
    )
    write_whole(options.out_folder / ADAPTER_FILE, result.adapter)
    report.write(options.out_folder)
    return report


def evaluate(options: JobOptions, candidate_files: Mapping[str, Path]) -> EvaluateReport:
    """Measure the parent and the candidates on the hospitals' held-out records; writes the report.

    Raises:
        InnerRoundError.
    """
    spec, network, parent = _read_job(options)
    candidates = {name: _read_adapter(spec, file, name) for name, file in candidate_files.items()}
    result = _run(options, "evaluate", spec, network, {PARENT: parent, **candidates})
    report = EvaluateReport(
        task_digest=spec.digest,
        network=network.name,
        parent_digest=sha256_digest(parent),
        candidates={name: sha256_digest(data) for name, data in candidates.items()},
        losses_nats=result.outcome.losses_nats,
        sites=len(result.outcome.sites),
        sites_left_out=result.outcome.sites_left_out,
        records=result.outcome.records,
        strata=result.outcome.strata,
        seconds=round(result.seconds, 3),
    )
    report.write(options.out_folder)
    return report


def test(
    spec_file: Path,
    records_file: Path,
    adapter_files: Mapping[str, Path],
    base_name: str | None,
    model_cache: Path,
    threads: int,
    out_folder: Path,
) -> TestReport:
    """Measure adapters on public records, here and without a federation; writes the report.

    Raises:
        InnerRoundError.
    """
    started = time.monotonic()
    spec = _read_spec(spec_file)
    adapters: dict[str, Tensors] = {
        name: adapter_of(spec, _read_adapter(spec, file, name)) for name, file in adapter_files.items()
    }
    records = read_records(records_file, spec.data)
    make_output_folder(out_folder)
    base = prepare_exactly(spec.base_model.source, spec.base_model.digest, model_cache)
    encoder = PromptEncoder(base.tokenizer(), spec.data)
    # Late, as in genesis.
    with without_collecting():
        from tier_local.adapters import base_alone
        from tier_local.learner import Learner

        learner = Learner(base, spec, encoder.label_tokens, threads)
    if base_name is not None:
        adapters[base_name] = base_alone(spec.manifest)

    def progress(done: int, total: int) -> None:
        stage = Stage.MEASURING if done < total else Stage.DONE
        Progress(stage=stage, done=done, total=total, unit="records").write(out_folder / PROGRESS_FILE)

    progress(0, len(records))
    sums = learner.measure(adapters, encoder.encode(records), progress)
    least = spec.data.least_stratum_records
    report = TestReport(
        task_digest=spec.digest,
        results={name: _test_result(of_adapter, least) for name, of_adapter in sums.items()},
        seconds=round(time.monotonic() - started, 3),
    )
    report.write(out_folder)
    return report


def export(spec_file: Path, adapter_file: Path, model_cache: Path, out_folder: Path) -> None:
    """Write an adapter as a folder that ``PeftModel.from_pretrained`` loads.

    Raises:
        BadInput: the adapter does not fit the task, or the base model is another one.
    """
    spec = _read_spec(spec_file)
    data = _read_adapter(spec, adapter_file, "adapter")
    adapter = spec.manifest.encode(adapter_of(spec, data))
    base = _base_of(spec, model_cache)
    make_output_folder(out_folder)
    # Late, as in genesis.
    with without_collecting():
        from tier_local import adapters

        adapters.export(spec, adapter, base.folder, out_folder)


def network_policy(network_file: Path, out_folder: Path) -> NetworkPolicy:
    """Write what the network approves in its hospitals' names.

    Raises:
        InnerRoundError.
    """
    policy = policy_of(Network.read(network_file))
    make_output_folder(out_folder)
    write_whole(out_folder / NETWORK_POLICY_FILE, policy.canonical_bytes())
    return policy


def _read_job(options: JobOptions) -> tuple[TaskSpec, Network, bytes]:
    spec = _read_spec(options.spec_file)
    network = approved(Network.read(options.network_file), options.policy_digest)
    parent = _read_adapter(spec, options.parent_file, PARENT)
    if network.model_cache is not None:
        # Before the sites ask for it at the same time, and with the error on one line.
        _base_of(spec, network.model_cache)
    make_output_folder(options.out_folder)
    return spec, network, parent


def _run(
    options: JobOptions, kind: JobKind, spec: TaskSpec, network: Network, adapters: dict[str, bytes]
) -> JobResult:
    return run_job(
        JobRequest(
            kind=kind,
            spec=spec.canonical_bytes(),
            parent_digest=sha256_digest(adapters[PARENT]),
            adapters=adapters,
            network=network,
            out_folder=options.out_folder,
            asked_unix_s=options.asked_unix_s,
            deadline_unix_s=options.deadline_unix_s,
            exit_with_parent=options.exit_with_parent,
            purpose=options.purpose,
        )
    )


def _read_spec(path: Path) -> TaskSpec:
    try:
        return TaskSpec.parse(read_input(path, "the task spec"))
    except ContractViolation as error:
        raise BadInput(f"task spec {path}: {error}") from error


def _read_adapter(spec: TaskSpec, path: Path, name: str) -> bytes:
    """An artifact with an adapter in it; a parent's may hold an outer optimiser's momentum beside."""
    data = read_input(path, f"the adapter {name}")
    try:
        adapter_of(spec, data)
    except ContractViolation as error:
        raise BadInput(f"adapter {name} ({path}): {error}") from error
    return data


def _base_of(spec: TaskSpec, model_cache: Path) -> CachedModel:
    return prepare_exactly(spec.base_model.source, spec.base_model.digest, model_cache)


def _parse_draft(path: Path) -> TaskSpec:
    """The draft with stand-ins for what genesis finds out, so that the one schema checks all the rest."""
    try:
        draft = json.loads(read_input(path, "the draft"))
    except ValueError as error:
        raise BadInput(f"draft {path}: not JSON: {error}") from error
    if not isinstance(draft, dict) or not isinstance(draft.get("base_model"), dict):
        raise BadInput(f"draft {path}: base_model: an object with a source is needed")
    for where, key in ((draft, "manifest"), (draft, "genesis_digest"), (draft["base_model"], "digest")):
        if key in where:
            raise BadInput(f"draft {path}: {key}: genesis finds this out; leave it away")
    stand_in = Manifest(tensors=(TensorSpec(name="stand-in", dtype="F32", shape=(1,)),))
    complete = draft | {
        "manifest": stand_in.model_dump(mode="json"),
        "genesis_digest": ZERO_DIGEST,
        "base_model": draft["base_model"] | {"digest": ZERO_DIGEST},
    }
    try:
        return TaskSpec.parse(json.dumps(complete).encode())
    except ContractViolation as error:
        raise BadInput(f"draft {path}: {error}") from error


def _test_result(sums: StratumSums, least_stratum_records: int) -> TestResult:
    low, high = wilson_interval(sums.correct, sums.records)
    return TestResult(
        accuracy=sums.correct / sums.records,
        correct=sums.correct,
        records=sums.records,
        interval_low=low,
        interval_high=high,
        loss_nats=finite(sums.loss_nats(least_stratum_records)),
    )
