"""The sites' answers on the network's server: announced in messages; adapters are fetched and kept on disk.

The fold reads one tensor after the other: what the server holds of an answer is a tensor.
"""

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from contracts.aggregation.mean import mean
from contracts.errors import ContractViolation
from contracts.manifest import FloatArray, Manifest
from contracts.task import TaskSpec
from tier_local.errors import JobFailed
from tier_local.exchange import JobFile, Reply, failure_in, failure_meta, refused_rule_in, reply_in
from tier_local.scoring import StratumSums
from tier_local.transfers import Wire


class StoredAdapter(Mapping[str, FloatArray]):
    """An adapter in its canonical file, read one tensor at a time."""

    def __init__(self, file: BinaryIO, manifest: Manifest) -> None:
        """The file is this object's.

        Raises:
            InvalidAdapter, NotSafetensors, NotCanonical: as ``Manifest.decode``.
        """
        self._file = file
        self._specs = {tensor.name: tensor for tensor in manifest.tensors}
        self._starts_bytes: dict[str, int] = {}
        head = manifest.head()
        end = len(head)
        for tensor in manifest.tensors:
            self._starts_bytes[tensor.name] = end
            end += tensor.size_bytes
        if os.fstat(file.fileno()).st_size != end or os.pread(file.fileno(), len(head), 0) != head:
            file.seek(0)
            # Says what is wrong.
            manifest.decode(file.read())
        manifest.check(self)

    def __getitem__(self, name: str) -> FloatArray:
        spec = self._specs[name]
        data = os.pread(self._file.fileno(), spec.size_bytes, self._starts_bytes[name])
        return cast(FloatArray, np.frombuffer(data, dtype=spec.numpy_dtype).reshape(spec.shape))

    def __iter__(self) -> Iterator[str]:
        return iter(self._specs)

    def __len__(self) -> int:
        return len(self._specs)


@dataclass(frozen=True)
class SiteAnswer:
    """What a site answered, its adapter from the server's disk; ``meta`` may say why it could not."""

    meta: Mapping[str, Any]
    reply: Reply = field(default_factory=Reply)
    adapter: StoredAdapter | None = None
    sums: Mapping[str, StratumSums] = field(default_factory=dict)


def fetch(announced: Mapping[str, Any], job: JobFile, spec: TaskSpec, work: Path, wire: Wire) -> SiteAnswer:
    """The whole answer to a message with this metadata.

    An adapter lies in the folder ``work``, without a name. A site whose answer is not what the job asks for,
    or whose adapter does not come, has failed.

    Raises:
        OSError: this server's disk has no room.
    """
    try:
        if failure_in(announced) is not None:
            refused_rule_in(announced)
            return SiteAnswer(announced)
        reply = reply_in(announced)
        if job.kind == "evaluate":
            return SiteAnswer(announced, reply, sums=_sums_in(reply, job, spec))
        if reply.adapter is None:
            raise JobFailed("there is no adapter in the answer")
        file = tempfile.TemporaryFile(dir=work)  # noqa: SIM115 # the adapter's
        wire.fetch(reply.adapter, file, spec.manifest.file_bytes)
        return SiteAnswer(announced, reply, adapter=StoredAdapter(file, spec.manifest))
    except (JobFailed, ContractViolation) as error:
        return SiteAnswer(failure_meta(JobFailed(str(error))))


def _sums_in(reply: Reply, job: JobFile, spec: TaskSpec) -> dict[str, StratumSums]:
    if reply.sums.keys() != job.adapters.keys():
        raise JobFailed("the answer does not have the sums of the job's adapters")
    return {name: sums.as_arrays(len(spec.data.labels)) for name, sums in reply.sums.items()}


def write_mean(adapters: Sequence[StoredAdapter], manifest: Manifest, into: BinaryIO) -> None:
    """Write the canonical file of the adapters' mean, one tensor after the other.

    Raises:
        NotFinite: the mean holds NaN or an infinity.
    """
    into.writelines(
        manifest.pieces_as_made(lambda name: mean([{name: adapter[name]} for adapter in adapters])[name])
    )
