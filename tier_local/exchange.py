"""What the network's server and its hospitals say to each other in an inner job.

The server reads what it is to do in the job's ``JobFile`` and gives every hospital an ``Assignment``; what
a hospital works with lies in its own ``SiteFile``, which no job brings, and what it answers is a ``Reply``.
Over the wire go words and figures only; adapters are files that the other side fetches (``transfers``).
Imports neither torch nor NVFlare.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from contracts.digests import Digest
from tier_local.errors import BadInput, ExitCode, InnerRoundError, JobFailed, Refused
from tier_local.network import SiteName
from tier_local.report import LeftOut
from tier_local.rules import Rule
from tier_local.scoring import StratumSums

JobKind = Literal["train", "evaluate"]
PARENT = "parent"
"""The parent's name among the adapters of an evaluate job."""

_FAILURE = "failure"
_ASSIGNMENT = "assignment"
_REPLY = "reply"

Meta = dict[str, Any]
Count = Annotated[int, Field(ge=0, le=2**53)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _File(_Part):
    @classmethod
    def read(cls, path: Path) -> Self:
        """The description in the file at ``path``."""
        return cls.model_validate_json(path.read_bytes())

    def write(self, path: Path) -> None:
        """Write the description to ``path``."""
        path.write_text(self.model_dump_json(indent=2))


class JobFile(_File):
    """What the server of an inner job needs to know; files are named as they lie beside this one."""

    kind: JobKind
    spec_file: str
    parent_digest: Digest
    sites: tuple[SiteName, ...]
    least_sites: int
    """The job succeeds when so many sites answer."""
    answer_by_unix_s: float | None
    """Sites that have not answered by then are left out; None: the server waits for all of them."""
    adapters: dict[str, tuple[str, ...]]
    """``parent`` and, in an evaluate job, the candidates: name → the pieces of the canonical file."""
    approved_policy_digests: dict[SiteName, Digest] = {}
    """The policies that the network approved the task with, of the sites for which it says one."""


class OfferedFile(_Part):
    """Where a file can be fetched: in which process of the job, and under which reference there."""

    holder: str
    reference: str


class Assignment(_Part):
    """What the server asks of every hospital."""

    kind: JobKind
    spec: str
    """The task spec's canonical JSON."""
    parent_digest: Digest
    adapters: dict[str, OfferedFile]
    """By the names that they have in the ``JobFile``: canonical files of the task's manifest."""
    approved_policy_digests: dict[SiteName, Digest] = {}
    """As in the ``JobFile``; every hospital compares its own with the policy that it has."""


class Sums(_Part):
    """``StratumSums`` as they travel: a number for each stratum, in the order of the task's labels."""

    loss_sums_nats: tuple[float, ...]
    records: tuple[Count, ...]
    correct: tuple[Count, ...]

    @classmethod
    def of(cls, sums: StratumSums) -> Self:
        """The same numbers."""
        return cls(
            loss_sums_nats=tuple(sums.loss_sums.tolist()),
            records=tuple(sums.record_counts.tolist()),
            correct=tuple(sums.correct_counts.tolist()),
        )

    def as_arrays(self, strata: int) -> StratumSums:
        """The same numbers.

        Raises:
            JobFailed: they are of another number of strata.
        """
        if {len(self.loss_sums_nats), len(self.records), len(self.correct)} != {strata}:
            raise JobFailed(f"a hospital's answer does not have sums of {strata} strata")
        return StratumSums(
            loss_sums=np.array(self.loss_sums_nats, dtype=np.float64),
            record_counts=np.array(self.records, dtype=np.int64),
            correct_counts=np.array(self.correct, dtype=np.int64),
        )


class Reply(_Part):
    """What a hospital answers that could do its part; figures withheld are 0 records and no losses."""

    adapter: OfferedFile | None = None
    """In a train job."""
    records: Count = 0
    first_loss_nats: float | None = None
    last_loss_nats: float | None = None
    sums: dict[str, Sums] = {}
    """Per adapter, in an evaluate job."""


class SiteFile(_File):
    """What one hospital works with; no other hospital and no job has a say in it."""

    site: SiteName
    data_folder: Path
    model_cache: Path
    threads: int
    progress_file: Path
    process_file: Path
    """Here the hospital's process writes its id, so that its death is noticed."""
    recipient: str = "the network's server"
    """To whom the answer goes, for the hospital's egress log."""
    is_embedded: bool = False
    """Whether the whole network is this machine; any other site refuses everything while it has no policy."""
    policy_file: Path | None = None
    """The hospital's own policy."""
    state_folder: Path | None = None
    """Where the hospital keeps its egress log; there is one wherever there is a policy."""

    @classmethod
    def at(cls, folder: Path, site: str) -> Self:
        """The site's file in ``folder``.

        Raises:
            BadInput: it is missing or not a site file.
        """
        path = folder / f"{site}.json"
        try:
            return cls.read(path)
        except OSError as error:
            raise BadInput(f"cannot read the site file {path}: {error.strerror}") from error
        except ValidationError as error:
            first = error.errors(include_input=False)[0]
            where = ".".join(map(str, first["loc"])) or "the file"
            raise BadInput(f"site file {path}: {where}: {first['msg']}") from error


SITE_FILES_VARIABLE = "COLLEGIUM_SITE_FILES"
"""Environment variable of a hospital's processes: the folder in which ``NAME.json`` is its ``SiteFile``."""

JOB_FILE = "job.json"
OUTCOME_FILE = "outcome.json"
RESULT_FILE = "adapter.safetensors"


class Outcome(_File):
    """What the server leaves behind: the network's figures, or why there are none."""

    failure: str | None = None
    exit_code: ExitCode = ExitCode.DONE
    refused_by: SiteName | None = None
    """The hospital whose policy refuses."""
    rule: str | None = None
    """The rule by which it does."""
    records: int = 0
    strata: int = 0
    losses_nats: dict[str, float | None] = {}
    """Per adapter in an evaluate job; ``first`` and ``last`` in a train job."""
    sites: tuple[SiteName, ...] = ()
    """Those whose answers are in it."""
    sites_left_out: dict[SiteName, LeftOut] = {}


def site_file_of(site: str) -> SiteFile:
    """The file of the hospital that this process works for.

    Raises:
        BadInput: whoever started this process did not say where it lies, or it is not a site file.
    """
    folder = os.environ.get(SITE_FILES_VARIABLE)
    if folder is None:
        raise BadInput(f"the site was started without {SITE_FILES_VARIABLE}")
    return SiteFile.at(Path(folder), site)


def assignment_meta(assignment: Assignment) -> Meta:
    """The assignment as a message's metadata."""
    return {_ASSIGNMENT: assignment.model_dump(mode="json")}


def assignment_in(meta: Mapping[str, Any]) -> Assignment:
    """The assignment in a message's metadata.

    Raises:
        BadInput: there is none, or it is not one.
    """
    try:
        return Assignment.model_validate(meta.get(_ASSIGNMENT))
    except ValidationError as error:
        raise BadInput("the server's task is not an assignment of this version") from error


def reply_meta(reply: Reply) -> Meta:
    """The reply as a message's metadata."""
    return {_REPLY: reply.model_dump(mode="json")}


def reply_in(meta: Mapping[str, Any]) -> Reply:
    """The reply in a message's metadata.

    Raises:
        JobFailed: there is none, or it is not one.
    """
    try:
        return Reply.model_validate(meta.get(_REPLY))
    except ValidationError as error:
        raise JobFailed("the answer is not a reply of this version") from error


def failure_meta(error: InnerRoundError) -> Meta:
    """The error as a message's metadata."""
    failure: Meta = {"exit_code": int(error.exit_code), "message": str(error)}
    if isinstance(error, Refused):
        failure["rule"] = error.rule.value
    return {_FAILURE: failure}


def failure_in(meta: Mapping[str, Any]) -> tuple[ExitCode, str] | None:
    """The error in a message's metadata, if there is one.

    Raises:
        JobFailed: it is not one of this version.
    """
    failure = meta.get(_FAILURE)
    try:
        return None if failure is None else (ExitCode(failure["exit_code"]), str(failure["message"]))
    except (TypeError, KeyError, ValueError) as error:
        raise JobFailed("the failure is none of this version") from error


def refused_rule_in(meta: Mapping[str, Any]) -> Rule | None:
    """The rule in a message's metadata by which a hospital's policy refuses, if one does.

    Raises:
        JobFailed: this version knows no such rule.
    """
    name = meta.get(_FAILURE, {}).get("rule")
    try:
        return None if name is None else Rule(name)
    except ValueError as error:
        raise JobFailed("the rule of a refusal is none of this version") from error
