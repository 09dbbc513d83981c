"""One inner job in NVFlare: the only place that builds its recipes and environments.

The simulator spawns processes in sessions of their own, cannot be stopped and waits without a
deadline. So a job runs in a marked process tree (``processes``): ``recipe.execute`` waits in a thread,
while this module waits for the outcome, the deadline, or the simulator's end, and then ends the tree.
The simulator's own way out takes seconds of sleeping and leaves nothing that anyone needs.
"""

import os
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tier_local
from tier_local.errors import BadInput, DeadlinePassed, ExitCode, JobFailed, RefusedBySite
from tier_local.exchange import JobFile, JobKind, Outcome, SiteFile
from tier_local.network import Network
from tier_local.processes import ProcessTree, runs
from tier_local.report import PROGRESS_FILE, Progress, Stage
from tier_local.rules import Rule

_JOB_NAME = "inner-round"
_LOG_FILE = "job.log"
_WATCH_SECONDS = 0.2
_THREAD_END_SECONDS = 10.0
_MOST_ATTEMPTS = 3
_SECONDS_BETWEEN_STARTS = 60.0
"""All sites start in the same second; one that is so much later than the first will not come."""
_ENVIRONMENT = {
    # No library may look for a model hub or another accelerator of tokenising than the site's threads.
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONUNBUFFERED": "1",
}
_NOT_INHERITED = ("NVFLARE_SIMULATOR_WORKSPACE_ROOT",)


@dataclass(frozen=True)
class JobRequest:
    """What an inner job is asked to do; all of it has been checked.

    ``adapters`` are canonical files by name: ``parent`` and, in an evaluate job, the candidates.
    """

    kind: JobKind
    spec: bytes
    parent_digest: str
    adapters: dict[str, bytes]
    network: Network
    out_folder: Path
    deadline_unix_s: float
    exit_with_parent: int | None


@dataclass(frozen=True)
class JobResult:
    """The network's figures and, from a train job, the network's adapter (canonical file)."""

    outcome: Outcome
    adapter: bytes | None
    seconds: float


def run_job(request: JobRequest) -> JobResult:
    """Run the job to its end; no process of it lives when this returns or raises.

    Raises:
        BadInput: a hospital found its input wrong; the message names site and reason.
        RefusedBySite: a hospital's policy forbids it; the message names site and rule.
        DeadlinePassed: the deadline came first.
        JobFailed: the federation ended without an outcome.
    """
    started = time.monotonic()
    attempts = 1
    while True:
        try:
            outcome, adapter = _attempt(request)
            break
        except _SiteNotStarted:
            if attempts == _MOST_ATTEMPTS:
                raise
            attempts += 1
    return JobResult(outcome=outcome, adapter=adapter, seconds=time.monotonic() - started)


def _attempt(request: JobRequest) -> tuple[Outcome, bytes | None]:
    if time.time() >= request.deadline_unix_s:
        raise DeadlinePassed("the deadline had passed before the job began")
    with tempfile.TemporaryDirectory(prefix="collegium-inner-") as folder:
        scratch = Path(folder)
        if any(character.isspace() for character in folder):
            raise BadInput(f"NVFlare's simulator needs a temporary folder without spaces, not {folder}")
        tree = ProcessTree.guard(exit_with_parent=request.exit_with_parent, scratch_folder=scratch)
        log = request.out_folder / _LOG_FILE
        with tree, _environment(request.network.threads_per_site, scratch), _output_to(log):
            tree.mark_children()
            job, site_files = _describe(request, scratch)
            try:
                outcome = _execute_and_watch(request, job, site_files, scratch, tree)
            except JobFailed as failure:
                raise type(failure)(f"{failure}; the log is {log}") from failure
        if outcome.exit_code is ExitCode.BAD_INPUT:
            raise BadInput(str(outcome.failure))
        if outcome.refused_by is not None and outcome.rule is not None:
            raise RefusedBySite(outcome.refused_by, Rule(outcome.rule))
        if outcome.failure is not None:
            raise JobFailed(outcome.failure)
        return outcome, job.adapter_file.read_bytes() if request.kind == "train" else None


def _describe(request: JobRequest, scratch: Path) -> tuple[JobFile, dict[str, Path]]:
    """Write the job's files; the job, and each site's own file."""
    spec_file = scratch / "spec.json"
    spec_file.write_bytes(request.spec)
    adapters: dict[str, Path] = {}
    for number, (name, data) in enumerate(sorted(request.adapters.items())):
        adapters[name] = scratch / f"adapter-{number}.safetensors"
        adapters[name].write_bytes(data)
    job = JobFile(
        kind=request.kind,
        spec_file=spec_file,
        sites=tuple(site.name for site in request.network.sites),
        adapters=adapters,
        outcome_file=scratch / "outcome.json",
        adapter_file=scratch / "result.safetensors",
    )
    job.write(scratch / "job.json")
    site_files: dict[str, Path] = {}
    for site in request.network.sites:
        site_files[site.name] = scratch / f"site-{site.name}.json"
        SiteFile(
            kind=request.kind,
            spec_file=spec_file,
            parent_digest=request.parent_digest,
            site=site.name,
            data_folder=site.data_folder,
            model_cache=request.network.model_cache,
            threads=request.network.threads_per_site,
            progress_file=_site_progress_file(scratch, site.name),
            process_file=_site_process_file(scratch, site.name),
            is_embedded=True,
            recipient=f"the server of {request.network.name}",
            policy_file=site.policy_file,
            state_folder=site.state_folder,
            approved_policy_digest=site.policy_digest,
        ).write(site_files[site.name])
    return job, site_files


def _execute_and_watch(
    request: JobRequest, job: JobFile, site_files: dict[str, Path], scratch: Path, tree: ProcessTree
) -> Outcome:
    errors: list[BaseException] = []
    simulator = threading.Thread(
        target=_execute, args=(scratch, site_files, errors), name="nvflare", daemon=True
    )
    simulator.start()
    try:
        progress = _ProgressOfAll(request, scratch)
        watch = _Watch(simulator, errors, job, scratch, tree)
        while not job.outcome_file.exists():
            if time.time() >= request.deadline_unix_s:
                raise DeadlinePassed("the deadline passed before the job was done")
            failure = watch.failure()
            # Looked at after the failure: an outcome that came just before it still counts.
            if failure is not None and not job.outcome_file.exists():
                raise failure
            progress.update()
            simulator.join(_WATCH_SECONDS)
        progress.finish()
        return Outcome.read(job.outcome_file)
    finally:
        tree.stop()
        # What the thread waited for is dead; it must not meet the next attempt's environment.
        simulator.join(_THREAD_END_SECONDS)


class _SiteNotStarted(JobFailed):
    """A site's process never came up.

    The simulator picks free ports, closes them and lets its processes open them again a second later; by
    then another job on the machine may have one. Another attempt gets other ports.
    """


class _Watch:
    """Notices who died that the job cannot do without; NVFlare itself waits for a dead site for ever."""

    def __init__(
        self,
        simulator: threading.Thread,
        errors: Sequence[BaseException],
        job: JobFile,
        scratch: Path,
        tree: ProcessTree,
    ) -> None:
        self._simulator, self._errors, self._tree = simulator, errors, tree
        self._process_files = {site: _site_process_file(scratch, site) for site in job.sites}
        self._all_started_by = float("inf")

    def failure(self) -> JobFailed | None:
        """Why the job cannot go on, if it cannot."""
        if not self._tree.guarded:
            return JobFailed("the guardian of the job's processes was killed")
        started = {site: file.read_text() for site, file in self._process_files.items() if file.exists()}
        late = sorted(self._process_files.keys() - started.keys())
        if not self._simulator.is_alive():
            reason = f"NVFlare ended without an outcome: {self._errors[0] if self._errors else 'no error'}"
            return _SiteNotStarted(reason) if late else JobFailed(reason)
        for site, process in started.items():
            # A file that is just being written is empty.
            if process and not runs(int(process)):
                return JobFailed(f"the process of site {site} died")
        return self._too_late(late) if started and late else None

    def _too_late(self, sites: Sequence[str]) -> JobFailed | None:
        now = time.monotonic()
        self._all_started_by = min(self._all_started_by, now + _SECONDS_BETWEEN_STARTS)
        if now < self._all_started_by:
            return None
        return _SiteNotStarted(f"the process of site {sites[0]} did not start")


def _execute(scratch: Path, site_files: dict[str, Path], errors: list[BaseException]) -> None:
    # Late: this import takes a second, and bad input is reported without it.
    from nvflare.job_config.api import FedJob
    from nvflare.job_config.script_runner import FrameworkType, ScriptRunner
    from nvflare.recipe.sim_env import SimEnv
    from nvflare.recipe.spec import Recipe

    from tier_local.controller import InnerRoundController

    try:
        job = FedJob(name=_JOB_NAME, min_clients=len(site_files))
        job.to_server(InnerRoundController(job_file=str(scratch / "job.json")))
        script = str(Path(tier_local.__file__).with_name("trainer.py"))
        for site, site_file in site_files.items():
            runner = ScriptRunner(
                script=script, script_args=f"--site-file {site_file}", framework=FrameworkType.NUMPY
            )
            job.to(runner, site)
        # As many threads as sites: with fewer, NVFlare would start each site's process anew for each task.
        environment = SimEnv(
            clients=list(site_files), num_threads=len(site_files), workspace_root=str(scratch / "nvflare")
        )
        Recipe(job).execute(environment)
    except Exception as error:  # whatever ends NVFlare ends the job, and the watcher says so
        errors.append(error)


@contextmanager
def _environment(threads: int, scratch: Path) -> Iterator[None]:
    """The environment that the job's processes inherit; this process gets its own back."""
    kept_environment, kept_folder = dict(os.environ), tempfile.tempdir
    own_packages = str(Path(tier_local.__file__).parent.parent)
    temporary = scratch / "tmp"
    temporary.mkdir()
    for name in _NOT_INHERITED:
        os.environ.pop(name, None)
    os.environ |= _ENVIRONMENT | {
        "PYTHONPATH": os.pathsep.join(filter(None, [own_packages, os.environ.get("PYTHONPATH", "")])),
        "OMP_NUM_THREADS": str(threads),
        # What killed processes would leave in the system's temporary folder goes with the scratch folder.
        "TMPDIR": str(temporary),
    }
    tempfile.tempdir = str(temporary)
    try:
        yield
    finally:
        tempfile.tempdir = kept_folder
        os.environ.clear()
        os.environ |= kept_environment


@contextmanager
def _output_to(path: Path) -> Iterator[None]:
    """Everything that this process and its children print goes to ``path`` instead."""
    kept = os.dup(1), os.dup(2)
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    try:
        yield
    finally:
        for descriptor, original in zip((1, 2), kept, strict=True):
            os.dup2(original, descriptor)
            os.close(original)


class _ProgressOfAll:
    """Adds the sites' progress up and writes it where the caller looks."""

    def __init__(self, request: JobRequest, scratch: Path) -> None:
        self._file = request.out_folder / PROGRESS_FILE
        self._site_files = [_site_progress_file(scratch, site.name) for site in request.network.sites]
        self._unit: Literal["steps", "records"] = "steps" if request.kind == "train" else "records"
        self._last = Progress(stage=Stage.STARTING, done=0, total=1, unit=self._unit)
        self._last.write(self._file)

    def update(self) -> None:
        """Write the sum, when it changed."""
        sites = [Progress.model_validate_json(f.read_bytes()) for f in self._site_files if f.exists()]
        if not sites:
            return
        # The slowest site says what the job is doing.
        stage = min((site.stage for site in sites), key=list(Stage).index)
        done, total = sum(site.done for site in sites), sum(site.total for site in sites)
        now = Progress(stage=stage, done=done, total=total, unit=self._unit)
        if now != self._last:
            self._last = now
            now.write(self._file)

    def finish(self) -> None:
        """Say that all is done."""
        self.update()
        self._last.model_copy(update={"stage": Stage.DONE, "done": self._last.total}).write(self._file)


def _site_process_file(scratch: Path, site: str) -> Path:
    return scratch / f"process-{site}"


def _site_progress_file(scratch: Path, site: str) -> Path:
    return scratch / f"progress-{site}.json"
