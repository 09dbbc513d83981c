"""The sites' answers on the network's server: announced by the sites, fetched, and kept on disk.

NVFlare would hold every answer in the server's memory from the moment it comes, and a site that stops in the
middle of sending would end the whole job. So the server takes announcements (``take_announcements_only``) and
fetches an answer's arrays itself: an adapter's go to a file as they come, and the fold reads one tensor after
the other. What the server holds of the answers does not grow with the number of sites.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from nvflare.apis.fl_constant import ServerCommandNames
from nvflare.apis.signal import Signal
from nvflare.app_common.abstract.fl_model import FLModel
from nvflare.app_common.np.np_downloader import download_arrays
from nvflare.fuel.f3.cellnet.cell import Cell
from nvflare.fuel.utils.fobs.decomposers.via_downloader import LazyDownloadRef
from nvflare.private.defs import CellChannel

from contracts.errors import ContractViolation, TensorMissing, TensorUnexpected
from contracts.manifest import FloatArray, Manifest, TensorSpec
from tier_local.errors import JobFailed
from tier_local.exchange import Meta, failure_meta, plain_name

REQUEST_SECONDS = 5.0
"""How long a site may take for one piece of its answer; NVFlare asks four times."""

_DTYPE: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2")}


@dataclass(frozen=True)
class SiteAnswer:
    """What a site answered: words and figures, and an adapter's tensors or sums by their names."""

    meta: Mapping[str, Any]
    metrics: Mapping[str, Any]
    arrays: Mapping[str, Any]

    @classmethod
    def failed(cls, meta: Meta) -> "SiteAnswer":
        """The answer of a site that has none that counts; ``meta`` says why."""
        return cls(meta=meta, metrics={}, arrays={})


class StoredAdapter(Mapping[str, FloatArray]):
    """An adapter in a file, written and read one tensor at a time."""

    def __init__(self, file: Path, manifest: Manifest) -> None:
        """Make the file; it holds no tensor yet."""
        self._file = file
        self._specs = {tensor.name: tensor for tensor in manifest.tensors}
        self._starts: dict[str, int] = {}
        end = 0
        for tensor in manifest.tensors:
            self._starts[tensor.name] = end
            end += tensor.size_bytes
        self._missing = set(self._specs)
        with file.open("wb") as made:
            made.truncate(end)

    def put(self, name: str, array: Any) -> None:
        """Write one tensor.

        Raises:
            TensorUnexpected, WrongShape, WrongDtype, NotFinite: it is not as the manifest says.
        """
        spec = self._specs.get(name)
        if spec is None:
            raise TensorUnexpected(f"tensor {name[:80]!r} is not in the manifest")
        Manifest(tensors=(spec,)).check({name: array})
        with self._file.open("r+b") as file:
            file.seek(self._starts[name])
            file.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
        self._missing.discard(name)

    def require_all(self) -> None:
        """Raise TensorMissing when a tensor has not been put."""
        if self._missing:
            raise TensorMissing(f"tensor {min(self._missing)} is missing")

    def __getitem__(self, name: str) -> FloatArray:
        spec: TensorSpec = self._specs[name]
        count = math.prod(spec.shape)
        flat = np.fromfile(self._file, dtype=_DTYPE[spec.dtype], count=count, offset=self._starts[name])
        tensor: FloatArray = flat.reshape(spec.shape)
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._specs)

    def __len__(self) -> int:
        return len(self._specs)


def take_announcements_only(cell: Cell) -> None:
    """From now on, this server gets references in place of the arrays in the sites' answers."""
    cell.decode_pass_through_topics.add((CellChannel.SERVER_COMMAND, ServerCommandNames.SUBMIT_UPDATE))


def fetch(announced: FLModel, manifest: Manifest | None, file: Path, cell: Cell, stop: Signal) -> SiteAnswer:
    """The whole answer; with a manifest it is an adapter, which is kept in ``file``.

    A site whose adapter breaks the manifest has failed.

    Raises:
        JobFailed: the site stopped sending, or ``stop`` was triggered.
    """
    metrics = announced.metrics or {}
    if not announced.params:
        return SiteAnswer(announced.meta, metrics, {})
    if manifest is None:
        sums: dict[str, Any] = {}
        _fetch_arrays(announced.params, cell, stop, sums.__setitem__)
        return SiteAnswer(announced.meta, metrics, sums)
    adapter = StoredAdapter(file, manifest)
    try:
        _fetch_arrays(announced.params, cell, stop, lambda key, array: adapter.put(plain_name(key), array))
        adapter.require_all()
    except ContractViolation as error:
        return SiteAnswer.failed(failure_meta(JobFailed(str(error))))
    return SiteAnswer(announced.meta, metrics, adapter)


def _fetch_arrays(
    params: Mapping[str, Any], cell: Cell, stop: Signal, take: Callable[[str, Any], None]
) -> None:
    """Give each array to ``take`` as it comes; what came with the announcement is there already."""
    batches: dict[tuple[str, str], dict[str, str]] = {}
    for key, value in params.items():
        if isinstance(value, LazyDownloadRef):
            batches.setdefault((value.fqcn, value.ref_id), {})[value.item_id] = key
        else:
            take(key, value)
    for (sender, reference), keys in batches.items():
        _fetch_batch(sender, reference, keys, cell, stop, take)


def _fetch_batch(
    sender: str,
    reference: str,
    keys: Mapping[str, str],
    cell: Cell,
    stop: Signal,
    take: Callable[[str, Any], None],
) -> None:
    violations: list[ContractViolation] = []
    left = set(keys)

    def take_some(arrays: Mapping[str, Any]) -> None:
        for item in arrays.keys() & left:
            left.discard(item)
            try:
                take(keys[item], arrays[item])
            except ContractViolation as violation:
                violations.append(violation)

    error, _ = download_arrays(
        from_fqcn=sender,
        ref_id=reference,
        per_request_timeout=REQUEST_SECONDS,
        cell=cell,
        abort_signal=stop,
        arrays_received_cb=take_some,
    )
    if violations:
        raise violations[0]
    if error or left:
        raise JobFailed(f"the site stopped sending: {error or 'arrays are missing'}")
