"""The same bytes whatever the processor's vector units and whatever the threads of a BLAS.

Each setting needs a process of its own, because NumPy chooses its code when it is loaded. The digests are
committed too, so that another machine, another NumPy or another day has to agree with this one.
"""

import json
import os
import subprocess
import sys
from hashlib import sha256
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter

from contracts.aggregation import Contribution, aggregate
from contracts.aggregation.outer_optimiser import new_momentum, step
from contracts.aggregation.spec import AggregationRule, Momentum, Nesterov
from contracts.manifest import Tensors

EXPECTED = {
    "mean": "c15f83a6d8d5d476b3900e5cf3294b3b94f1d783444d23fbe62e97437b981fd8",
    "weighted_mean": "982a0474e14353d032b1641741b85cf12229bbe32f356aa7fddee266137566fe",
    "coordinate_median": "f4a0b92e3b2f40d7f757fb4d51c54f5341e7f16363cc056c6be58dbd4be8e2fa",
    "trimmed_mean": "17cbeb66bc1e0be3a67a8113a08c8adb4dd3c7a0c6b03bdd84a360be8f4faba8",
    "norm_clipped_mean": "3835a9dc057e0f4cc4af975dd0a546c9140d54dbdd7ea6616f24a3d25a586781",
    "krum": "372c6ee60b314f1d1d2a91d972e4956647d97659ba6f10b64e505ed86f556f89",
    "multi_krum": "7b966056a14f41d8f292c5ab4dedabf3fa9ce9c7410548a8f568d35010014c7c",
    "geometric_median": "a36750d4825fe67eb2ab18b80ffbc377924d026002b2ff30817ff93fa558a176",
    "momentum's momentum": "32bed4bd142d401e43f07a7f40d65ece0a82624368de3e0794466e051a44da31",
    "momentum": "260d5c7ab03c4ff1a7e8af31333733918304f32a22a2407141abcf1df9064b04",
    "nesterov's momentum": "32bed4bd142d401e43f07a7f40d65ece0a82624368de3e0794466e051a44da31",
    "nesterov": "0936d0e2ecf180ac051bbaf49dc452f8d30a0496fcd526d484ffb0e7a29ed6e9",
}

RULES: list[dict[str, Any]] = [
    {"rule": "mean"},
    {"rule": "weighted_mean"},
    {"rule": "coordinate_median"},
    {"rule": "trimmed_mean", "trim": 2},
    {"rule": "norm_clipped_mean", "max_norm_millionths": 20_000_000},
    {"rule": "krum", "byzantine": 2},
    {"rule": "multi_krum", "byzantine": 2, "keep": 3, "weights": "improvement"},
    {"rule": "geometric_median", "iterations": 3, "smoothing_millionths": 10},
]
SETTINGS = {"momentum_millionths": 900_000, "learning_rate_millionths": 700_000}
SHAPES = {"a": ((17, 4001), np.float32), "b": ((33,), np.float16), "c": ((1,), np.float32)}
"""Larger than a block and no multiple of anything, smaller than a vector register, and one element."""


def numbers(seed: str) -> Tensors:
    """An adapter of numbers over many orders of magnitude, from a hash: the same everywhere."""
    tensors = {}
    for name, (shape, dtype) in SHAPES.items():
        size = int(np.prod(shape))
        blocks = range(-(-size * 4 // 32))
        stream = b"".join(sha256(f"{seed}/{name}/{block}".encode()).digest() for block in blocks)
        words = np.frombuffer(stream, dtype="<i4", count=size)
        # Whole numbers times powers of two: exact, however it is computed.
        values = np.ldexp((words >> 8).astype(np.float64), -24 - (words & 15))
        tensors[name] = values.astype(dtype).reshape(shape)
    return tensors


def digests() -> dict[str, str]:
    """What each rule and each optimiser makes of the same seven adapters."""
    parent = numbers("parent")
    contributions = [
        Contribution(f"0x{n + 1:040x}", f"digest {n}", numbers(f"node {n}"), 1000 * n) for n in range(7)
    ]
    made: dict[str, Tensors] = {}
    for rule in RULES:
        parsed = TypeAdapter[AggregationRule](AggregationRule).validate_python(rule)
        made[rule["rule"]] = aggregate(parsed, contributions, parent=parent)
    before = {name: tensor.astype(np.float32) for name, tensor in numbers("momentum").items()}
    for optimiser in (Momentum(name="momentum", **SETTINGS), Nesterov(name="nesterov", **SETTINGS)):
        momentum = new_momentum(optimiser, parent, made["mean"], before)
        made[f"{optimiser.name}'s momentum"] = momentum
        made[optimiser.name] = step(optimiser, parent, made["mean"], momentum)
    return {
        name: sha256(b"".join(tensors[key].tobytes() for key in sorted(tensors))).hexdigest()
        for name, tensors in made.items()
    }


def every_dispatch() -> str:
    """The vector extensions for which this NumPy has code that this processor would run."""
    from numpy._core import _multiarray_umath as umath

    return " ".join(name for name in umath.__cpu_dispatch__ if umath.__cpu_features__.get(name))


def test_this_process_gets_the_committed_digests() -> None:
    assert digests() == EXPECTED


@pytest.mark.parametrize(
    ("disabled", "threads"),
    [("all", "1"), ("all but the first", "2"), ("none", "7")],
)
def test_vector_units_and_threads_change_nothing(disabled: str, threads: str) -> None:
    dispatch = every_dispatch()
    features = {"all": dispatch, "all but the first": dispatch.partition(" ")[2], "none": ""}[disabled]
    environment = os.environ | {"OPENBLAS_NUM_THREADS": threads, "OMP_NUM_THREADS": threads}
    if features:
        environment["NPY_DISABLE_CPU_FEATURES"] = features
    script = (
        "import json, runpy; m = runpy.run_path("
        f"{__file__!r}); print(json.dumps([m['every_dispatch'](), m['digests']()]))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        env=environment,
        capture_output=True,
        check=True,
        timeout=120,
    )
    enabled, found = json.loads(done.stdout)
    assert found == EXPECTED
    assert set(enabled.split()) == set(dispatch.split()) - set(features.split())
