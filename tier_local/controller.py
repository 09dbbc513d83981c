"""The network's own server in an inner job: asks every hospital once and folds the answers.

Runs inside NVFlare's server, sees adapters and sums, never a record; knows no torch. Answers are folded
in the order of the sites' names, so that the same answers give the same bytes whoever was faster.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from nvflare.app_common.abstract.fl_model import FLModel, ParamsType
from nvflare.app_common.app_constant import AppConstants
from nvflare.app_common.workflows.model_controller import ModelController

from contracts.aggregation.mean import mean
from contracts.errors import ContractViolation
from contracts.manifest import FloatArray, Manifest
from contracts.parent import adapter_of
from contracts.task import TaskSpec
from tier_local.errors import InnerRoundError, JobFailed
from tier_local.exchange import (
    PARENT,
    JobFile,
    Outcome,
    failure_in,
    pack_adapters,
    refused_rule_in,
    unpack_adapters,
    unpack_sums,
)
from tier_local.report import finite
from tier_local.scoring import StratumSums

_NVFLARE_TASK = {"train": AppConstants.TASK_TRAIN, "evaluate": AppConstants.TASK_VALIDATION}
_TASK_CHECK_SECONDS = 0.1


class InnerRoundController(ModelController):  # type: ignore[misc] # NVFlare ships no types
    """One task to all sites; the outcome goes to a file, written last of all."""

    def __init__(self, job_file: str) -> None:
        super().__init__(persistor_id="", ignore_result_error=False, task_check_period=_TASK_CHECK_SECONDS)
        # NVFlare writes constructor arguments into the job's configuration under their own names.
        self.job_file = job_file

    def run(self) -> None:
        """Ask, fold, write; a failure becomes an outcome too, so that nobody waits for nothing."""
        job = JobFile.read(Path(self.job_file))
        try:
            outcome = self._ask_and_fold(job)
        except (InnerRoundError, ContractViolation) as error:
            code = error.exit_code if isinstance(error, InnerRoundError) else JobFailed.exit_code
            outcome = Outcome(failure=str(error), exit_code=code)
        beside = job.outcome_file.with_suffix(".part")
        outcome.write(beside)
        beside.replace(job.outcome_file)

    def _ask_and_fold(self, job: JobFile) -> Outcome:
        spec = TaskSpec.parse(job.spec_file.read_bytes())
        adapters = {name: adapter_of(spec, path.read_bytes()) for name, path in sorted(job.adapters.items())}
        answers = self.send_model_and_wait(
            task_name=_NVFLARE_TASK[job.kind],
            data=FLModel(params=pack_adapters(adapters), params_type=ParamsType.FULL),
            targets=sorted(job.sites),
            timeout=0,  # the deadline is the supervisor's, who ends the whole job
        )
        by_site = {str(answer.meta["client_name"]): answer for answer in answers}
        for site in sorted(by_site):
            if (failure := failure_in(by_site[site].meta)) is not None:
                exit_code, message = failure
                rule = refused_rule_in(by_site[site].meta)
                return Outcome(
                    failure=f"site {site}: {message}",
                    exit_code=exit_code,
                    refused_by=None if rule is None else site,
                    rule=None if rule is None else rule.value,
                )
        if missing := sorted(set(job.sites) - by_site.keys()):
            raise JobFailed(f"site {missing[0]} gave no answer")
        in_order = [by_site[site] for site in sorted(by_site)]
        return _fold_training(job, spec, in_order) if job.kind == "train" else _fold_losses(spec, in_order)


def fold_adapters(manifest: Manifest, adapters: Sequence[Mapping[str, Any]]) -> dict[str, FloatArray]:
    """The plain mean of the sites' adapters, in the order given, each one checked first."""
    for tensors in adapters:
        manifest.check(dict(tensors))
    return mean(adapters)


def _fold_training(job: JobFile, spec: TaskSpec, answers: Sequence[FLModel]) -> Outcome:
    adapters = [unpack_adapters(answer.params)[PARENT] for answer in answers]
    job.adapter_file.write_bytes(spec.manifest.encode(fold_adapters(spec.manifest, adapters)))
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
