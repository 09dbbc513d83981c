"""What the network's server and its hospitals say to each other in an inner job.

The server reads what it is to do in the job's ``JobFile`` and gives every hospital an ``Assignment``; what
a hospital works with lies in its own ``SiteFile``, which no job brings. Over the wire go adapters and sums,
as flat dicts of numpy arrays, because that is what NVFlare moves without pickling; this module packs and
unpacks them. Imports neither torch nor NVFlare.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from contracts.digests import Digest
from contracts.manifest import FloatArray, Tensors
from tier_local.errors import BadInput, ExitCode, InnerRoundError, JobFailed, Refused
from tier_local.network import SiteName
from tier_local.report import LeftOut
from tier_local.rules import Rule
from tier_local.scoring import StratumSums

JobKind = Literal["train", "evaluate"]
PARENT = "parent"
"""The parent's name among the adapters of an evaluate job."""

_SEPARATOR = "|"
"""Stands in neither adapter nor tensor names."""
_FAILURE = "failure"
_ASSIGNMENT = "assignment"

Payload = dict[str, FloatArray | NDArray[np.float64] | NDArray[np.int64]]
Meta = dict[str, Any]


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

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


class Assignment(_File):
    """What the server asks of every hospital, beside the adapters."""

    kind: JobKind
    spec: str
    """The task spec's canonical JSON."""
    parent_digest: Digest
    approved_policy_digests: dict[SiteName, Digest] = {}
    """As in the ``JobFile``; every hospital compares its own with the policy that it has."""


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


def pack_adapters(adapters: Mapping[str, Tensors]) -> Payload:
    """Adapters by name as one flat dict."""
    return {
        f"{name}{_SEPARATOR}{tensor}": array
        for name, tensors in adapters.items()
        for tensor, array in tensors.items()
    }


def unpack_adapters(payload: Mapping[str, Any]) -> dict[str, dict[str, FloatArray]]:
    """The inverse of ``pack_adapters``; what an adapter holds is not checked here."""
    adapters: dict[str, dict[str, FloatArray]] = {}
    for key, array in payload.items():
        name, _, tensor = key.partition(_SEPARATOR)
        adapters.setdefault(name, {})[tensor] = array
    return adapters


def plain_name(key: str) -> str:
    """A tensor's own name, of its name in a payload."""
    return key.partition(_SEPARATOR)[2]


def pack_sums(sums: Mapping[str, StratumSums]) -> Payload:
    """Stratum sums by adapter name as one flat dict of arrays."""
    payload: Payload = {}
    for name, of_adapter in sums.items():
        payload[f"{name}{_SEPARATOR}loss_nats"] = of_adapter.loss_sums
        payload[f"{name}{_SEPARATOR}records"] = of_adapter.record_counts
        payload[f"{name}{_SEPARATOR}correct"] = of_adapter.correct_counts
    return payload


def unpack_sums(payload: Mapping[str, Any], strata: int) -> dict[str, StratumSums]:
    """The inverse of ``pack_sums``.

    Raises:
        JobFailed: an array is missing or has another shape or type.
    """
    names = {key.partition(_SEPARATOR)[0] for key in payload}
    return {
        name: StratumSums(
            loss_sums=_vector(payload, f"{name}{_SEPARATOR}loss_nats", strata, np.float64),
            record_counts=_vector(payload, f"{name}{_SEPARATOR}records", strata, np.int64),
            correct_counts=_vector(payload, f"{name}{_SEPARATOR}correct", strata, np.int64),
        )
        for name in sorted(names)
    }


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


def failure_meta(error: InnerRoundError) -> Meta:
    """The error as a message's metadata."""
    failure: Meta = {"exit_code": int(error.exit_code), "message": str(error)}
    if isinstance(error, Refused):
        failure["rule"] = error.rule.value
    return {_FAILURE: failure}


def failure_in(meta: Mapping[str, Any]) -> tuple[ExitCode, str] | None:
    """The error in a message's metadata, if there is one."""
    failure = meta.get(_FAILURE)
    return None if failure is None else (ExitCode(failure["exit_code"]), str(failure["message"]))


def refused_rule_in(meta: Mapping[str, Any]) -> Rule | None:
    """The rule in a message's metadata by which a hospital's policy refuses, if one does."""
    name = meta.get(_FAILURE, {}).get("rule")
    return None if name is None else Rule(name)


def _vector(payload: Mapping[str, Any], key: str, length: int, dtype: type[np.generic]) -> NDArray[Any]:
    array = payload.get(key)
    if not isinstance(array, np.ndarray) or array.shape != (length,) or array.dtype != dtype:
        raise JobFailed(f"a hospital's answer lacks {key} as {length} numbers of type {dtype.__name__}")
    return array
