"""An inner job in NVFlare's simulator: server and sites as processes of this machine, for one job.

The simulator spawns processes in sessions of their own and waits without a deadline. So it runs in a
marked process tree (``processes``), while this module waits for the outcome, the deadline, or the
simulator's end, and then ends the tree. The simulator's own way out takes seconds of sleeping and leaves
nothing that anyone needs.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from tier_local.environment import federation_environment
from tier_local.errors import BadInput, JobFailed
from tier_local.exchange import OUTCOME_FILE, RESULT_FILE, Outcome, SiteFile
from tier_local.job import LOG_FILE, JobRequest
from tier_local.job_folder import CONTROLLER_CLASS, EXECUTOR_CLASS
from tier_local.processes import ProcessTree, runs
from tier_local.report import PROGRESS_FILE, Progress, Stage

_WATCH_SECONDS = 0.2
_MOST_ATTEMPTS = 3
_SECONDS_BETWEEN_STARTS = 60.0
"""All sites start in the same second; one that is so much later than the first will not come."""
_SERVER_RUN_FOLDER = Path("server", "simulate_job")


def run_simulated(request: JobRequest) -> tuple[Outcome, bytes | None]:
    """The job's outcome and adapter; no process of it lives when this returns or raises.

    Raises:
        DeadlinePassed: the deadline came first.
        JobFailed: the simulator ended without an outcome.
    """
    attempts = 1
    while True:
        try:
            return _attempt(request)
        except SiteNotStarted:
            if attempts == _MOST_ATTEMPTS:
                raise
            attempts += 1


class SiteNotStarted(JobFailed):
    """A site's process never came up.

    The simulator picks free ports, closes them and lets its processes open them again a second later; by
    then another job on the machine may have one. Another attempt gets other ports.
    """


def _attempt(request: JobRequest) -> tuple[Outcome, bytes | None]:
    request.check_deadline()
    with tempfile.TemporaryDirectory(prefix="collegium-inner-") as folder:
        scratch = Path(folder)
        if any(character.isspace() for character in folder):
            raise BadInput(f"NVFlare's simulator needs a temporary folder without spaces, not {folder}")
        with ProcessTree.guard(exit_with_parent=request.exit_with_parent, scratch_folder=scratch) as tree:
            simulator = _start(request, scratch, tree)
            try:
                outcome = _wait(request, scratch, simulator, tree)
            except JobFailed as failure:
                raise type(failure)(f"{failure}; the log is {request.out_folder / LOG_FILE}") from failure
        # The tree is stopped here, and it was still writing a moment ago; the outcome was written last.
        result = scratch / "nvflare" / _SERVER_RUN_FOLDER / RESULT_FILE
        return outcome, result.read_bytes() if result.exists() else None


def _start(request: JobRequest, scratch: Path, tree: ProcessTree) -> subprocess.Popen[bytes]:
    workspace = scratch / "nvflare"
    (workspace / "local").mkdir(parents=True)
    allowed = {"class_allow_list": [CONTROLLER_CLASS, EXECUTOR_CLASS]}
    (workspace / "local" / "resources.json").write_text(json.dumps(allowed))
    (scratch / "tmp").mkdir()
    _write_site_files(request, scratch)
    sites = sorted(site.name for site in request.network.sites)
    command = [
        *(sys.executable, "-m", "nvflare.private.fed.app.simulator.simulator"),
        str(request.write_folder(scratch)),
        *("-w", str(workspace), "-c", ",".join(sites)),
        # As many threads as sites: with fewer, NVFlare would start each site's process anew for each task.
        *("-t", str(len(sites))),
    ]
    log = os.open(request.out_folder / LOG_FILE, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        return tree.start(
            command,
            # What killed processes would leave in the system's temporary folder goes with the scratch folder.
            env=federation_environment(request.network.threads_per_site, scratch)
            | {"TMPDIR": str(scratch / "tmp")},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    finally:
        os.close(log)


def _write_site_files(request: JobRequest, scratch: Path) -> None:
    network = request.network
    for site in network.sites:
        if site.data_folder is None or network.model_cache is None:
            raise BadInput("the network file says nothing of the simulator's folders")
        SiteFile(
            site=site.name,
            data_folder=site.data_folder,
            model_cache=network.model_cache,
            threads=network.threads_per_site,
            progress_file=_site_progress_file(scratch, site.name),
            process_file=_site_process_file(scratch, site.name),
            recipient=f"the server of {network.name}",
            is_embedded=True,
            policy_file=site.policy_file,
            state_folder=site.state_folder,
        ).write(scratch / f"{site.name}.json")


def _wait(
    request: JobRequest, scratch: Path, simulator: subprocess.Popen[bytes], tree: ProcessTree
) -> Outcome:
    outcome_file = scratch / "nvflare" / _SERVER_RUN_FOLDER / OUTCOME_FILE
    progress = _ProgressOfAll(request, scratch)
    watch = Watch(request.network.sites_that_must_answer, _process_files(request, scratch), simulator, tree)
    while not outcome_file.exists():
        request.check_deadline()
        failure = watch.failure()
        # Looked at after the failure: an outcome that came just before it still counts.
        if failure is not None and not outcome_file.exists():
            raise failure
        progress.update()
        try:
            simulator.wait(_WATCH_SECONDS)
        except subprocess.TimeoutExpired:
            continue
    progress.finish()
    return Outcome.read(outcome_file)


class Watch:
    """Notices who died that the job cannot do without; NVFlare itself waits for a dead site for ever."""

    def __init__(
        self,
        least_sites: int,
        process_files: Mapping[str, Path],
        simulator: subprocess.Popen[bytes],
        tree: ProcessTree,
    ) -> None:
        self._least_sites, self._process_files = least_sites, process_files
        self._simulator, self._tree = simulator, tree
        self._all_started_by = float("inf")

    def failure(self) -> JobFailed | None:
        """Why the job cannot go on, if it cannot."""
        if not self._tree.guarded:
            return JobFailed("the guardian of the job's processes was killed")
        started = {site: file.read_text() for site, file in self._process_files.items() if file.exists()}
        late = sorted(self._process_files.keys() - started.keys())
        if (exit_code := self._simulator.poll()) is not None:
            reason = f"NVFlare ended without an outcome, with exit code {exit_code}"
            return SiteNotStarted(reason) if late else JobFailed(reason)
        # A file that is just being written is empty.
        dead = [site for site, process in started.items() if process and not runs(int(process))]
        if len(self._process_files) - len(dead) < self._least_sites:
            return JobFailed(f"the process of site {dead[0]} died")
        could_answer = len(self._process_files) - len(dead) - len(late)
        return self._too_late(late) if started and could_answer < self._least_sites else None

    def _too_late(self, sites: Sequence[str]) -> JobFailed | None:
        now = time.monotonic()
        self._all_started_by = min(self._all_started_by, now + _SECONDS_BETWEEN_STARTS)
        if now < self._all_started_by:
            return None
        return SiteNotStarted(f"the process of site {sites[0]} did not start")


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


def _process_files(request: JobRequest, scratch: Path) -> dict[str, Path]:
    return {site.name: _site_process_file(scratch, site.name) for site in request.network.sites}


def _site_process_file(scratch: Path, site: str) -> Path:
    return scratch / f"process-{site}"


def _site_progress_file(scratch: Path, site: str) -> Path:
    return scratch / f"progress-{site}.json"
