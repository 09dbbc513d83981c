"""The parent's artifact: an adapter, and the outer optimiser's momentum beside it."""

import json
from typing import Any

import numpy as np
import pytest

from contracts.aggregation import Contribution
from contracts.errors import DigestMismatch, InvalidAdapter, InvalidTaskSpec
from contracts.manifest import MOMENTUM_PREFIX, adapter_digest
from contracts.parent import adapter_of, next_parent, read_parent
from contracts.task import TaskSpec
from tests.unit.global_sim import GENESIS, MANIFEST, SPEC, make_adapter

OUTER = {"name": "nesterov", "momentum_millionths": 900_000, "learning_rate_millionths": 700_000}
GENESIS_DIGEST = adapter_digest(GENESIS)


def make_spec(**changes: Any) -> TaskSpec:
    return TaskSpec.model_validate(SPEC.model_dump(mode="json", by_alias=True) | changes)


def contributions(seeds: range) -> list[Contribution]:
    adapters = [(seed, make_adapter(seed)) for seed in seeds]
    return [
        Contribution(f"0x{seed:040x}", adapter_digest(data), MANIFEST.decode(data)) for seed, data in adapters
    ]


def test_without_an_outer_optimiser_a_parent_is_an_adapter() -> None:
    made = next_parent(SPEC, read_parent(SPEC, GENESIS_DIGEST, GENESIS), contributions(range(1, 2)))
    assert made.data == make_adapter(1)
    assert made.momentum is None
    assert SPEC.parent_manifest == SPEC.manifest
    assert read_parent(SPEC, made.digest, made.data).digest == made.digest


def test_with_one_every_parent_but_the_first_carries_its_momentum() -> None:
    spec = make_spec(outer_optimiser=OUTER)
    first = read_parent(spec, GENESIS_DIGEST, GENESIS)
    assert first.momentum is None
    second = next_parent(spec, first, contributions(range(1, 4)))
    assert len(second.data) == spec.parent_manifest.file_bytes > spec.manifest.file_bytes
    again = read_parent(spec, second.digest, second.data)
    assert again.momentum is not None
    assert again.momentum.keys() == again.adapter.keys() == first.adapter.keys()
    assert {tensor.dtype for tensor in again.momentum.values()} == {np.dtype(np.float32)}
    # From zero momentum, Nesterov's first step is 0.7 · (1 + 0.9) of the way to the mean.
    mean = next_parent(SPEC, first, contributions(range(1, 4))).adapter
    for name, before in first.adapter.items():
        way = (mean[name].astype(np.float64) - before) * 0.7 * 1.9
        np.testing.assert_allclose(again.adapter[name], before + way, rtol=2e-3, atol=2e-3)


def test_the_next_round_follows_from_the_stored_artifact_alone() -> None:
    spec = make_spec(outer_optimiser=OUTER)
    made = next_parent(spec, read_parent(spec, GENESIS_DIGEST, GENESIS), contributions(range(1, 4)))
    stored = read_parent(spec, made.digest, made.data)
    once, again = (next_parent(spec, parent, contributions(range(4, 6))) for parent in (made, stored))
    assert once.data == again.data
    forgetful = next_parent(spec, read_parent(spec, GENESIS_DIGEST, GENESIS), contributions(range(4, 6)))
    assert once.digest != forgetful.digest


def test_momentum_is_refused_where_it_does_not_belong_and_missed_where_it_does() -> None:
    spec = make_spec(outer_optimiser=OUTER)
    made = next_parent(spec, read_parent(spec, GENESIS_DIGEST, GENESIS), contributions(range(1, 4)))
    with pytest.raises(InvalidAdapter):
        spec.manifest.decode(made.data)
    with pytest.raises(InvalidAdapter):
        read_parent(SPEC, made.digest, made.data)
    proposal = make_adapter(1)
    with pytest.raises(InvalidAdapter):
        read_parent(spec, adapter_digest(proposal), proposal)
    with pytest.raises(DigestMismatch):
        read_parent(spec, adapter_digest(proposal), made.data)


def test_an_adapter_is_found_in_every_artifact_of_the_task() -> None:
    spec = make_spec(outer_optimiser=OUTER)
    made = next_parent(spec, read_parent(spec, GENESIS_DIGEST, GENESIS), contributions(range(1, 4)))
    assert spec.manifest.encode(adapter_of(spec, made.data)) == spec.manifest.encode(made.adapter)
    assert spec.manifest.encode(adapter_of(spec, GENESIS)) == GENESIS
    with pytest.raises(InvalidAdapter):
        adapter_of(SPEC, made.data)


@pytest.mark.parametrize(
    ("name", "words"),
    [(MOMENTUM_PREFIX + "w", "outer optimiser's"), ("w" * 250, "outer_momentum|match pattern")],
)
def test_tensor_names_leave_room_for_the_momentum(name: str, words: str) -> None:
    spec = SPEC.model_dump(mode="json", by_alias=True)
    manifest = {"tensors": [{"name": name, "dtype": "F32", "shape": [1]}]}
    changed = spec | {"manifest": manifest, "outer_optimiser": OUTER}
    with pytest.raises(InvalidTaskSpec, match=words):
        TaskSpec.parse(json.dumps(changed).encode())
