"""What a round starts from and leaves behind: an adapter and, with an outer optimiser, its momentum.

Both are in one canonical file, so that the round's digest covers both and whoever holds a parent can
compute the next one. The momentum of tensor ``x`` is ``outer_momentum.x``, in float32. The first parent
of a task carries none, which means zeros. Proposals never carry any: what is trained and measured is the
adapter.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from contracts.aggregation import Contribution, aggregate
from contracts.aggregation.outer_optimiser import new_momentum, step
from contracts.aggregation.spec import NoOuterOptimiser
from contracts.manifest import MOMENTUM_PREFIX, Buffer, Tensors, adapter_digest
from contracts.task import TaskSpec


@dataclass(frozen=True)
class Parent:
    """A parent's artifact and what is in it; ``momentum`` has the adapter's names, or is None."""

    digest: str
    data: Buffer
    adapter: Tensors
    momentum: Tensors | None


def read_parent(spec: TaskSpec, digest: str, data: Buffer) -> Parent:
    """The parent with ``digest`` from its artifact's bytes.

    Raises:
        InvalidAdapter: the bytes have another digest, or are not a parent of the task: with an outer
            optimiser, every one but the first has momentum, and no other ever has.
    """
    manifest = spec.manifest if digest == spec.genesis_digest else spec.parent_manifest
    return _parent(digest, data, manifest.decode(data, digest=digest))


def next_parent(spec: TaskSpec, parent: Parent, contributions: Sequence[Contribution]) -> Parent:
    """What a round makes of its accepted contributions: the task's rule, then its outer optimiser.

    Raises:
        ValueError: there is no contribution.
        InvalidAdapter: the result is not finite.
    """
    combined = aggregate(spec.aggregation, contributions, parent=parent.adapter)
    optimiser = spec.outer_optimiser
    if isinstance(optimiser, NoOuterOptimiser):
        data = spec.manifest.encode(combined)
        return Parent(adapter_digest(data), data, combined, None)
    before = parent.momentum or {
        name: np.zeros(tensor.shape, dtype=np.float32) for name, tensor in parent.adapter.items()
    }
    momentum = new_momentum(optimiser, parent.adapter, combined, before)
    adapter = step(optimiser, parent.adapter, combined, momentum)
    data = spec.parent_manifest.encode(
        adapter | {MOMENTUM_PREFIX + name: tensor for name, tensor in momentum.items()}
    )
    return Parent(adapter_digest(data), data, adapter, momentum)


def adapter_of(spec: TaskSpec, data: Buffer) -> Tensors:
    """The adapter in an artifact of the task, be it a proposal or a parent with momentum.

    Raises:
        InvalidAdapter: it is neither.
    """
    has_momentum = len(data) == spec.parent_manifest.file_bytes
    manifest = spec.parent_manifest if has_momentum else spec.manifest
    return _parent("", data, manifest.decode(data)).adapter


def _parent(digest: str, data: Buffer, tensors: Tensors) -> Parent:
    momentum = {
        name.removeprefix(MOMENTUM_PREFIX): tensor
        for name, tensor in tensors.items()
        if name.startswith(MOMENTUM_PREFIX)
    }
    adapter = {name: tensor for name, tensor in tensors.items() if not name.startswith(MOMENTUM_PREFIX)}
    return Parent(digest, data, adapter, momentum or None)
