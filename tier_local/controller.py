"""The network's own server in an inner job: asks every hospital once and folds the answers.

Runs inside NVFlare's server, sees adapters and sums, never a record; knows no torch. Answers are folded
in the order of the sites' names, so that the same answers give the same bytes whoever was faster.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from nvflare.app_common.abstract.fl_model import FLModel, ParamsType
from nvflare.app_common.workflows.model_controller import ModelController

from contracts.aggregation.mean import mean
from contracts.errors import ContractViolation
from contracts.manifest import FloatArray, Manifest
from contracts.parent import adapter_of
from contracts.task import TaskSpec
from tier_local.errors import BadInput, ExitCode, InnerRoundError, JobFailed, RefusedBySite
from tier_local.exchange import (
    JOB_FILE,
    OUTCOME_FILE,
    PARENT,
    RESULT_FILE,
    Assignment,
    JobFile,
    Outcome,
    assignment_meta,
    failure_in,
    pack_adapters,
    refused_rule_in,
    unpack_adapters,
    unpack_sums,
)
from tier_local.job_folder import CONFIG_FOLDER, MEASURE_TASK, TRAIN_TASK
from tier_local.report import LeftOut, finite
from tier_local.scoring import StratumSums

_NVFLARE_TASK = {"train": TRAIN_TASK, "evaluate": MEASURE_TASK}
_TASK_CHECK_SECONDS = 0.1


class InnerRoundController(ModelController):  # type: ignore[misc] # NVFlare ships no types
    """One task to all sites; the outcome goes to a file, written last of all."""

    def __init__(self) -> None:
        # The answers of sites that fail are looked at here, and are no reason for NVFlare to panic.
        super().__init__(persistor_id="", ignore_result_error=True, task_check_period=_TASK_CHECK_SECONDS)

    def run(self) -> None:
        """Ask, fold, write; a failure becomes an outcome too, so that nobody waits for nothing."""
        workspace, job_id = self.engine.get_workspace(), self.fl_ctx.get_job_id()
        # Not get_app_config_dir: a provisioned server has no name for the folder.
        inputs = Path(workspace.get_app_dir(job_id)) / CONFIG_FOLDER
        results = Path(workspace.get_run_dir(job_id))
        try:
            outcome = self._ask_and_fold(JobFile.read(inputs / JOB_FILE), inputs, results)
        except RefusedBySite as error:
            outcome = Outcome(
                failure=str(error), exit_code=error.exit_code, refused_by=error.site, rule=error.rule.value
            )
        except (InnerRoundError, ContractViolation) as error:
            code = error.exit_code if isinstance(error, InnerRoundError) else JobFailed.exit_code
            outcome = Outcome(failure=str(error), exit_code=code)
        beside = results / f"{OUTCOME_FILE}.part"
        outcome.write(beside)
        beside.replace(results / OUTCOME_FILE)

    def _ask_and_fold(self, job: JobFile, inputs: Path, results: Path) -> Outcome:
        spec = TaskSpec.parse((inputs / job.spec_file).read_bytes())
        adapters = {
            name: adapter_of(spec, (inputs / file).read_bytes())
            for name, file in sorted(job.adapters.items())
        }
        assignment = Assignment(
            kind=job.kind,
            spec=spec.canonical_bytes().decode(),
            parent_digest=job.parent_digest,
            approved_policy_digests=job.approved_policy_digests,
        )
        there = {client.name for client in self.engine.get_clients()}
        answers = self.send_model_and_wait(
            task_name=_NVFLARE_TASK[job.kind],
            data=FLModel(
                params=pack_adapters(adapters), params_type=ParamsType.FULL, meta=assignment_meta(assignment)
            ),
            targets=[site for site in sorted(job.sites) if site in there],
            timeout=_seconds_to_answer(job),
        )
        usable = _usable(job, {str(answer.meta["client_name"]): answer for answer in answers})
        in_order = [usable.answers[site] for site in sorted(usable.answers)]
        outcome = (
            _fold_training(results / RESULT_FILE, spec, in_order)
            if job.kind == "train"
            else _fold_losses(spec, in_order)
        )
        return outcome.model_copy(
            update={"sites": tuple(sorted(usable.answers)), "sites_left_out": usable.left_out}
        )


@dataclass(frozen=True)
class _Usable:
    """The answers that count, by site, and why the other sites have none."""

    answers: Mapping[str, FLModel]
    left_out: Mapping[str, LeftOut]


def _usable(job: JobFile, by_site: Mapping[str, FLModel]) -> _Usable:
    """Part the answers.

    Raises:
        InnerRoundError: fewer sites than are needed answered; the first site that failed says why.
            RefusedBySite, where its policy refuses.
    """
    failures = {site: failure_in(answer.meta) for site, answer in by_site.items()}
    answers = {site: answer for site, answer in by_site.items() if failures[site] is None}
    left_out: dict[str, LeftOut] = {
        site: "failed" if site in by_site else "no answer" for site in sorted(set(job.sites) - answers.keys())
    }
    if len(answers) < job.least_sites:
        for site in left_out:
            if (failure := failures.get(site)) is not None:
                exit_code, message = failure
                if (rule := refused_rule_in(by_site[site].meta)) is not None:
                    raise RefusedBySite(site, rule)
                error = BadInput if exit_code is ExitCode.BAD_INPUT else JobFailed
                raise error(f"site {site}: {message}")
        raise JobFailed(
            f"{len(answers)} sites answered, {job.least_sites} must; no answer from {', '.join(left_out)}"
        )
    return _Usable(answers, left_out)


def _seconds_to_answer(job: JobFile) -> int:
    """For NVFlare: whole seconds, 0 for ever; whoever started the job ends it at its own deadline."""
    if job.answer_by_unix_s is None:
        return 0
    return max(1, math.ceil(job.answer_by_unix_s - time.time()))


def fold_adapters(manifest: Manifest, adapters: Sequence[Mapping[str, Any]]) -> dict[str, FloatArray]:
    """The plain mean of the sites' adapters, in the order given, each one checked first."""
    for tensors in adapters:
        manifest.check(dict(tensors))
    return mean(adapters)


def _fold_training(result_file: Path, spec: TaskSpec, answers: Sequence[FLModel]) -> Outcome:
    adapters = [unpack_adapters(answer.params)[PARENT] for answer in answers]
    result_file.write_bytes(spec.manifest.encode(fold_adapters(spec.manifest, adapters)))
    metrics = [answer.metrics for answer in answers]
    return Outcome(
        records=sum(int(of_site["records"]) for of_site in metrics),
        losses_nats={
            which: finite(float(np.mean([float(of_site[which]) for of_site in metrics])))
            for which in ("first", "last")
        },
    )


def _fold_losses(spec: TaskSpec, answers: Sequence[FLModel]) -> Outcome:
    sums = [unpack_sums(answer.params, strata=len(spec.data.labels)) for answer in answers]
    totals = {name: StratumSums.total([of_site[name] for of_site in sums]) for name in sums[0]}
    least = spec.data.least_stratum_records
    return Outcome(
        records=totals[PARENT].records,
        strata=totals[PARENT].strata_with(least),
        losses_nats={name: finite(total.loss_nats(least)) for name, total in totals.items()},
    )
