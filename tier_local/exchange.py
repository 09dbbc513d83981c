"""What the network's server and its hospitals say to each other in an inner job.

A job is described once, in files that the job starts with (``JobFile`` for the server, ``SiteFile`` for
one hospital). Over the wire go adapters and sums, as flat dicts of numpy arrays, because that is what
NVFlare moves without pickling; this module packs and unpacks them. Imports neither torch nor NVFlare.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from contracts.digests import Digest
from contracts.manifest import FloatArray, Tensors
from tier_local.errors import ExitCode, InnerRoundError, JobFailed, Refused
from tier_local.network import SiteName
from tier_local.rules import Rule
from tier_local.scoring import StratumSums

JobKind = Literal["train", "evaluate"]
PARENT = "parent"
"""The parent's name among the adapters of an evaluate job."""

_SEPARATOR = "|"
"""Stands in neither adapter nor tensor names."""
_FAILURE = "failure"

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
    """What the server of an inner job needs to know."""

    kind: JobKind
    spec_file: Path
    sites: tuple[SiteName, ...]
    adapters: dict[str, Path]
    """``parent`` and, in an evaluate job, the candidates: name → canonical file."""
    outcome_file: Path
    adapter_file: Path


class SiteFile(_File):
    """What one hospital of an inner job needs to know; no other hospital sees it."""

    kind: JobKind
    spec_file: Path
    parent_digest: Digest
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
    """Whether the simulator runs the site; any other site refuses everything while it has no policy."""
    policy_file: Path | None = None
    """The hospital's own policy."""
    state_folder: Path | None = None
    """Where the hospital keeps its egress log; there is one wherever there is a policy."""
    approved_policy_digest: Digest | None = None
    """The policy that the network approved the task with, as far as the network says one."""


class Outcome(_File):
    """What the server leaves behind: the network's figures, or why there are none."""

    failure: str | None = None
    exit_code: ExitCode = ExitCode.DONE
    refused_by: str | None = None
    """The hospital whose policy refuses."""
    rule: str | None = None
    """The rule by which it does."""
    records: int = 0
    strata: int = 0
    losses_nats: dict[str, float | None] = {}
    """Per adapter in an evaluate job; ``first`` and ``last`` in a train job."""


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
