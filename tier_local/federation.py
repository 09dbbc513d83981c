"""An inner job in the federation that the network has deployed: submitted, followed, picked up again.

The job is submitted under a token. Whoever asks again under the same token, after a crash say, follows the
job that is there, running or done, and no second one is submitted, unless the first failed: a hospital may
permit today what it refused yesterday. NVFlare's server is what remembers.
"""

import contextlib
import json
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from contracts.digests import sha256_digest
from tier_local.admin_session import CONNECT_SECONDS, admin_session
from tier_local.errors import BadInput, DeadlinePassed, JobFailed
from tier_local.exchange import OUTCOME_FILE, RESULT_FILE, Outcome
from tier_local.job import LOG_FILE, JobRequest
from tier_local.kit import Kit
from tier_local.report import PROGRESS_FILE, Progress, Stage

_POLL_SECONDS = 0.25
_MOST_ATTEMPTS = 3
_COMPLETED = "FINISHED:COMPLETED"
_FINISHED_PREFIX = "FINISHED"
_SUBMITTED = "SUBMITTED"
_RUNNING = "RUNNING"


def run_deployed(request: JobRequest) -> tuple[Outcome, bytes | None]:
    """The outcome and the adapter of the job with the request's token.

    When this process is killed, the job goes on.

    Raises:
        BadInput: the network file names no startup kit of an admin.
        DeadlinePassed: the deadline came first; the job is aborted.
        JobFailed: the server cannot be reached, refuses the job, or ended it without an outcome.
    """
    with tempfile.TemporaryDirectory(prefix="collegium-inner-") as scratch, session_of(request) as session:
        return run_in(session, request, Path(scratch))


def run_in(session: Any, request: JobRequest, scratch: Path) -> tuple[Outcome, bytes | None]:
    """As ``run_deployed``, in a session that is there; job and result are kept in ``scratch`` meanwhile."""
    for attempt in range(1, _MOST_ATTEMPTS + 1):
        token = f"{_token(request)}.{attempt}"
        job_id = _job_of(session, token)
        is_new = job_id is None
        if job_id is None:
            folder_of_job = str(request.write_folder(scratch / str(attempt)))
            job_id = str(session.submit_job(folder_of_job, submit_token=token))
        status = _follow(session, request, job_id)
        is_last = attempt == _MOST_ATTEMPTS or _is_too_late(request)
        if status == _COMPLETED:
            outcome, adapter = _download(session, job_id, scratch / f"result-{attempt}")
            # What a hospital refused or lacked when it was asked before, it may have by now.
            if outcome.failure is None or is_new or is_last:
                return outcome, adapter
        if is_last:
            break
    raise JobFailed(f"NVFlare's server ended the job: {status}; the log is {request.out_folder / LOG_FILE}")


def _is_too_late(request: JobRequest) -> bool:
    """Whether no site could answer a job that was submitted now."""
    return request.answer_by_unix_s is not None and time.time() >= request.answer_by_unix_s


def _token(request: JobRequest) -> str:
    """What was asked for by whom, and a digest of all that goes into it: other bytes are another job."""
    content = {
        "kind": request.kind,
        "spec": sha256_digest(request.spec),
        "parent": request.parent_digest,
        "adapters": {name: sha256_digest(data) for name, data in request.adapters.items()},
        "sites": sorted(site.name for site in request.network.sites),
        "policies": request.network.approved_policy_digests,
    }
    digest = sha256_digest(json.dumps(content, sort_keys=True).encode()).removeprefix("0x")[:16]
    return f"{request.purpose}.{digest}"


@contextlib.contextmanager
def session_of(request: JobRequest) -> Iterator[Any]:
    """NVFlare's session as the network's admin; what NVFlare prints meanwhile goes to the job's log.

    Raises:
        BadInput: the network file names no startup kit of an admin.
        JobFailed: the server does not answer, or refuses; so do all calls of the session.
    """
    if request.network.admin_kit is None:
        raise BadInput("the network file names no admin_kit")
    left_s = request.deadline_unix_s - time.time()
    kit = Kit.at(request.network.admin_kit)
    with _output_to(request), admin_session(kit, max(1.0, min(CONNECT_SECONDS, left_s))) as session:
        yield session


def _job_of(session: Any, token: str) -> str | None:
    """The id of the token's job, if there is one.

    Looked for before a job is submitted: the same job written again holds another time to answer by, and
    NVFlare refuses a token that comes back with other content.
    """
    from nvflare.fuel.flare_api.api_spec import JobNotFound

    with contextlib.suppress(JobNotFound):
        for job in session.list_jobs(submit_token=token):
            return str(job["job_id"])
    return None


def _follow(session: Any, request: JobRequest, job_id: str) -> str:
    """Wait for the job's end; its last status.

    Raises:
        DeadlinePassed, JobFailed: the deadline came, or the time for answers before the job could begin; the
            job is aborted.
    """
    from nvflare.fuel.flare_api.api_spec import JobNotFound, JobNotRunning

    progress = Progress(
        stage=Stage.STARTING, done=0, total=1, unit="steps" if request.kind == "train" else "records"
    )
    while True:
        status = str(session.get_job_status(job_id))
        if status.startswith(_FINISHED_PREFIX):
            return status
        if status == _RUNNING:
            at_work = Stage.TRAINING if request.kind == "train" else Stage.MEASURING
            progress = progress.model_copy(update={"stage": at_work})
        progress.write(request.out_folder / PROGRESS_FILE)
        try:
            request.check_deadline()
            if status == _SUBMITTED and _is_too_late(request):
                raise JobFailed(
                    f"fewer than {request.network.sites_that_must_answer} sites are there to answer"
                )
        except (DeadlinePassed, JobFailed):
            with contextlib.suppress(JobNotFound, JobNotRunning):
                session.abort_job(job_id)
            raise
        time.sleep(_POLL_SECONDS)


def _download(session: Any, job_id: str, folder: Path) -> tuple[Outcome, bytes | None]:
    result = Path(session.download_job_result(job_id, destination=str(folder)))
    outcomes = sorted(result.rglob(OUTCOME_FILE))
    if not outcomes:
        raise JobFailed(f"the job {job_id} ended without an outcome")
    adapter = outcomes[0].with_name(RESULT_FILE)
    return Outcome.read(outcomes[0]), adapter.read_bytes() if adapter.exists() else None


@contextlib.contextmanager
def _output_to(request: JobRequest) -> Iterator[None]:
    """What NVFlare prints in this process goes to the job's log."""
    log = os.open(request.out_folder / LOG_FILE, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    kept = os.dup(1), os.dup(2)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    try:
        yield
    finally:
        for descriptor, original in zip((1, 2), kept, strict=True):
            os.dup2(original, descriptor)
            os.close(original)
