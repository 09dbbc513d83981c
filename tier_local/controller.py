"""The network's own server in an inner job: asks every hospital once and folds the answers.

Runs inside NVFlare's server, sees adapters and sums, never a record; knows no torch. Answers are folded
in the order of the sites' names, so that the same answers give the same bytes whoever was faster.
"""

import contextlib
import mmap
import queue
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from nvflare.apis.signal import Signal
from nvflare.app_common.abstract.fl_model import FLModel
from nvflare.app_common.workflows.model_controller import ModelController

from contracts.errors import ContractViolation
from contracts.parent import adapter_of
from contracts.task import TaskSpec
from tier_local.answers import SiteAnswer, fetch, write_mean
from tier_local.errors import BadInput, ExitCode, InnerRoundError, JobFailed, RefusedBySite
from tier_local.exchange import (
    JOB_FILE,
    OUTCOME_FILE,
    PARENT,
    RESULT_FILE,
    Assignment,
    JobFile,
    OfferedFile,
    Outcome,
    assignment_meta,
    failure_in,
    refused_rule_in,
)
from tier_local.job_folder import CONFIG_FOLDER, MEASURE_TASK, TRAIN_TASK
from tier_local.report import LeftOut, finite
from tier_local.scoring import StratumSums
from tier_local.transfers import CellWire, Wire, offer_adapter, take_no_arrays

WORK_FOLDER = "work"
"""In the folder of a job that asks and folds: the adapters on their way, as files without names."""

_NVFLARE_TASK = {"train": TRAIN_TASK, "evaluate": MEASURE_TASK}
_TASK_CHECK_SECONDS = 0.1
_FETCHES_AT_A_TIME = 4
_LOOK_SECONDS = 0.1
_REQUEST_SECONDS = 5.0
"""How long a site may take for one piece of its adapter."""


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
        except OSError as error:
            failure = f"the network's server: {error.strerror or type(error).__name__}"
            outcome = Outcome(failure=failure, exit_code=JobFailed.exit_code)
        beside = results / f"{OUTCOME_FILE}.part"
        outcome.write(beside)
        beside.replace(results / OUTCOME_FILE)

    def _ask_and_fold(self, job: JobFile, inputs: Path, results: Path) -> Outcome:
        spec = TaskSpec.parse((inputs / job.spec_file).read_bytes())
        work = results / WORK_FOLDER
        work.mkdir()
        usable = _usable(job, self._ask(job, spec, inputs, work))
        in_order = [usable.answers[site] for site in sorted(usable.answers)]
        outcome = (
            _fold_training(results / RESULT_FILE, spec, in_order)
            if job.kind == "train"
            else _fold_losses(spec, in_order)
        )
        # What lies here at the end is packed up and sent to whoever asked, who has the rest.
        shutil.rmtree(work, ignore_errors=True)
        for files in job.adapters.values():
            for file in files:
                (inputs / file).unlink()
        return outcome.model_copy(
            update={"sites": tuple(sorted(usable.answers)), "sites_left_out": usable.left_out}
        )

    def _ask(self, job: JobFile, spec: TaskSpec, inputs: Path, work: Path) -> dict[str, SiteAnswer]:
        """The answers that are here, whole, by the time until which sites may answer."""
        stop = Signal(parent=self.abort_signal)
        cell = self.engine.get_cell()
        take_no_arrays(cell)
        wire = CellWire(cell, stop, _REQUEST_SECONDS)
        fetches: dict[str, Future[SiteAnswer]] = {}
        # Waits for nobody at the end: a fetch from a site that froze in the middle of its answer is given up.
        pool = ThreadPoolExecutor(_FETCHES_AT_A_TIME)
        try:
            with _triggering(stop, job.answer_by_unix_s):
                task = _task(job, spec, _offered(job, spec, inputs, work, wire))
                for answer in self._announced(job, task, stop):
                    site = str(answer.meta["client_name"])
                    fetches[site] = pool.submit(fetch, answer.meta, job, spec, work, wire)
                while wait(fetches.values(), _LOOK_SECONDS).not_done and not stop.triggered:
                    pass
        finally:
            stop.trigger(True)
            pool.shutdown(wait=False, cancel_futures=True)
            wire.close()
        for site, fetched in fetches.items():
            if fetched.done() and not fetched.cancelled() and (error := fetched.exception()) is not None:
                self.error(f"the answer of site {site} cannot be kept: {error}")
        return {site: f.result() for site, f in fetches.items() if _succeeded(f)}

    def _announced(self, job: JobFile, task: FLModel, stop: Signal) -> Iterator[FLModel]:
        """Answers as sites announce them, until all have, time is up, or nobody is left who could."""
        there = {client.name for client in self.engine.get_clients()}
        targets = [site for site in sorted(job.sites) if site in there]
        announced: queue.SimpleQueue[FLModel] = queue.SimpleQueue()
        self.send_model(_NVFLARE_TASK[job.kind], task, targets, callback=announced.put)
        came = 0
        while came < len(targets) and not stop.triggered:
            # Looked at before the queue: what came just before the end still counts.
            nobody_left = not self.get_num_standing_tasks()
            try:
                yield announced.get(timeout=_LOOK_SECONDS)
            except queue.Empty:
                if nobody_left:
                    return
            else:
                came += 1


def _offered(job: JobFile, spec: TaskSpec, inputs: Path, work: Path, wire: Wire) -> dict[str, OfferedFile]:
    """The job's adapters, for the sites to fetch, each as the canonical file of the task's manifest."""
    offered = {}
    for name, files in sorted(job.adapters.items()):
        with tempfile.TemporaryFile(dir=work) as whole:
            for file in files:
                with (inputs / file).open("rb") as piece:
                    shutil.copyfileobj(piece, whole)
            whole.flush()
            adapter = adapter_of(spec, memoryview(mmap.mmap(whole.fileno(), 0, access=mmap.ACCESS_READ)))
            offered[name] = offer_adapter(wire, spec.manifest, adapter, work)
    return offered


def _task(job: JobFile, spec: TaskSpec, adapters: Mapping[str, OfferedFile]) -> FLModel:
    """What all sites are sent."""
    assignment = Assignment(
        kind=job.kind,
        spec=spec.canonical_bytes().decode(),
        parent_digest=job.parent_digest,
        adapters=dict(adapters),
        approved_policy_digests=job.approved_policy_digests,
    )
    # NVFlare wants parameters or metrics in every message.
    return FLModel(metrics={}, meta=assignment_meta(assignment))


@dataclass(frozen=True)
class _Usable:
    """The answers that count, by site, and why the other sites have none."""

    answers: Mapping[str, SiteAnswer]
    left_out: Mapping[str, LeftOut]


def _usable(job: JobFile, by_site: Mapping[str, SiteAnswer]) -> _Usable:
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


@contextlib.contextmanager
def _triggering(stop: Signal, at_unix_s: float | None) -> Iterator[None]:
    """Trigger ``stop`` at this time, if there is one and the block has not been left before."""
    if at_unix_s is None:
        yield
        return
    timer = threading.Timer(max(0.0, at_unix_s - time.time()), stop.trigger, [True])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _succeeded(fetched: "Future[SiteAnswer]") -> bool:
    return fetched.done() and not fetched.cancelled() and fetched.exception() is None


def _fold_training(result_file: Path, spec: TaskSpec, answers: Sequence[SiteAnswer]) -> Outcome:
    with result_file.open("wb") as file:
        write_mean([answer.adapter for answer in answers if answer.adapter is not None], spec.manifest, file)
    replies = [answer.reply for answer in answers]
    return Outcome(
        records=sum(reply.records for reply in replies),
        losses_nats={
            "first": _mean_loss_nats([reply.first_loss_nats for reply in replies]),
            "last": _mean_loss_nats([reply.last_loss_nats for reply in replies]),
        },
    )


def _mean_loss_nats(of_sites: Sequence[float | None]) -> float | None:
    """None where a site withheld its loss, or has none that is finite."""
    losses = [loss for loss in of_sites if loss is not None]
    return finite(float(np.mean(losses))) if len(losses) == len(of_sites) else None


def _fold_losses(spec: TaskSpec, answers: Sequence[SiteAnswer]) -> Outcome:
    names = sorted(answers[0].sums)
    totals = {name: StratumSums.total([answer.sums[name] for answer in answers]) for name in names}
    least = spec.data.least_stratum_records
    return Outcome(
        records=totals[PARENT].records,
        strata=totals[PARENT].strata_with(least),
        losses_nats={name: finite(total.loss_nats(least)) for name, total in totals.items()},
    )
