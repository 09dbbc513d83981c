"""Answers on the network's server: kept in a file, checked as they come, read back as they came."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nvflare.apis.signal import Signal
from nvflare.app_common.abstract.fl_model import FLModel, ParamsType

from contracts.aggregation.mean import mean
from contracts.errors import ContractViolation
from tests.unit.local_policies import MANIFEST, make_tensors
from tier_local.answers import SiteAnswer, StoredAdapter, fetch
from tier_local.errors import ExitCode
from tier_local.exchange import PARENT, failure_in, pack_adapters


def announced(tensors: dict[str, Any], **metrics: float) -> FLModel:
    """An answer whose arrays came with it, as small ones do where there is no network."""
    params = pack_adapters({PARENT: tensors})
    return FLModel(params=params, params_type=ParamsType.FULL, metrics=metrics or {"records": 3})


def fetched(answer: FLModel, folder: Path) -> SiteAnswer:
    return fetch(answer, MANIFEST, folder / "kept", cell=None, stop=Signal())


def test_a_stored_adapter_has_the_bytes_that_came(tmp_path: Path) -> None:
    tensors = make_tensors(1)
    answer = fetched(announced(tensors, records=7), tmp_path)
    assert answer.metrics == {"records": 7}
    assert MANIFEST.encode(answer.arrays) == MANIFEST.encode(tensors)
    assert len(answer.arrays) == len(tensors)


def test_stored_adapters_fold_as_those_in_memory_do(tmp_path: Path) -> None:
    adapters = [make_tensors(seed) for seed in range(3)]
    stored = []
    for number, tensors in enumerate(adapters):
        stored.append(StoredAdapter(tmp_path / str(number), MANIFEST))
        for name, tensor in reversed(tensors.items()):
            stored[-1].put(name, tensor)
        stored[-1].require_all()
    assert MANIFEST.encode(mean(stored)) == MANIFEST.encode(mean(adapters))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"layer.a": np.zeros((3, 4), dtype=np.float32)}, "shape"),
        ({"layer.b": np.zeros(7, dtype=np.float32)}, "float32"),
        ({"layer.a": np.full((3, 5), np.nan, dtype=np.float32)}, "NaN"),
        ({"layer.c": np.zeros(1, dtype=np.float32)}, "not in the manifest"),
        ({"layer.b": None}, "missing"),
    ],
)
def test_an_adapter_that_breaks_the_manifest_is_a_failed_answer(
    changes: dict[str, Any], said: str, tmp_path: Path
) -> None:
    tensors = {name: tensor for name, tensor in (make_tensors(1) | changes).items() if tensor is not None}
    failure = failure_in(fetched(announced(tensors), tmp_path).meta)
    assert failure is not None
    assert failure[0] is ExitCode.FAILED
    assert said in failure[1]


def test_a_tensor_that_is_not_there_is_not_read_as_zeros(tmp_path: Path) -> None:
    stored = StoredAdapter(tmp_path / "kept", MANIFEST)
    stored.put("layer.a", make_tensors(1)["layer.a"])
    with pytest.raises(ContractViolation, match=r"layer\.b is missing"):
        stored.require_all()


def test_an_answer_without_arrays_is_as_it_is(tmp_path: Path) -> None:
    answer = fetched(FLModel(metrics={"failed": 1}, meta={"failure": {"exit_code": 1}}), tmp_path)
    assert (dict(answer.arrays), answer.meta["failure"]) == ({}, {"exit_code": 1})
