"""One inner job, by the network's environment: simulated here, by POC here, or in the deployed federation.

Whatever the environment, the job is the same folder (``job_folder``), the sites run the same code, and
their answers are folded in the order of their names: the same inputs give the same bytes.
"""

import time
from dataclasses import dataclass
from pathlib import Path

from tier_local.errors import BadInput, DeadlinePassed, ExitCode, JobFailed, RefusedBySite
from tier_local.exchange import JobFile, JobKind, Outcome
from tier_local.job_folder import piece_names, write_job_folder
from tier_local.network import Network
from tier_local.rules import Rule

LOG_FILE = "job.log"


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
    asked_unix_s: float
    """When the round was asked for: the network's time for answers counts from here."""
    deadline_unix_s: float
    exit_with_parent: int | None
    purpose: str
    """What the job is for, in the words of who asks; who asks again in the same words gets the same job."""

    def check_deadline(self) -> None:
        """Raise DeadlinePassed when there is no time left."""
        if time.time() >= self.deadline_unix_s:
            raise DeadlinePassed("the deadline passed before the job was done")

    @property
    def answer_by_unix_s(self) -> float | None:
        """Sites that have not answered by then are left out; None: nothing but the deadline counts."""
        if self.network.answer_seconds is None:
            return None
        return min(self.asked_unix_s + self.network.answer_seconds, self.deadline_unix_s)

    def write_folder(self, parent: Path) -> Path:
        """Write the job's folder below ``parent``."""
        network = self.network
        files = {
            name: piece_names(f"adapter-{number}", self.adapters[name])
            for number, name in enumerate(sorted(self.adapters))
        }
        job = JobFile(
            kind=self.kind,
            spec_file="spec.json",
            parent_digest=self.parent_digest,
            sites=tuple(sorted(site.name for site in network.sites)),
            least_sites=network.sites_that_must_answer,
            answer_by_unix_s=self.answer_by_unix_s,
            adapters=files,
            approved_policy_digests=network.approved_policy_digests,
        )
        return write_job_folder(parent, job, self.spec, self.adapters)


@dataclass(frozen=True)
class JobResult:
    """The network's figures and, from a train job, the network's adapter (canonical file)."""

    outcome: Outcome
    adapter: bytes | None
    seconds: float


def run_job(request: JobRequest) -> JobResult:
    """Run the job to its end.

    Raises:
        BadInput: a hospital found its input wrong; the message names site and reason.
        DeadlinePassed: the deadline came first.
        JobFailed: the federation ended without an outcome.
        RefusedBySite: a hospital's policy forbids it; the message names site and rule.
    """
    from tier_local.federation import run_deployed
    from tier_local.poc import run_poc
    from tier_local.simulator import run_simulated

    started = time.monotonic()
    request.check_deadline()
    request.out_folder.joinpath(LOG_FILE).unlink(missing_ok=True)
    run_by = {"simulator": run_simulated, "poc": run_poc, "production": run_deployed}
    outcome, adapter = run_by[request.network.environment](request)
    if outcome.exit_code is ExitCode.BAD_INPUT:
        raise BadInput(str(outcome.failure))
    if outcome.refused_by is not None and outcome.rule is not None:
        raise RefusedBySite(outcome.refused_by, Rule(outcome.rule))
    if outcome.failure is not None:
        raise JobFailed(outcome.failure)
    return JobResult(outcome=outcome, adapter=adapter, seconds=time.monotonic() - started)
