"""Memory stays at the result and some blocks, however many contributions there are."""

import tracemalloc
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter

from contracts.aggregation import Contribution, aggregate
from contracts.aggregation.spec import AggregationRule
from contracts.manifest import Tensors

RESULT_BYTES = 4 << 20
BLOCKS_BYTES = 6 << 20
"""Sixteen float64 rows of a reduction's block are 4 MiB, the most that any rule holds."""
RULES: list[dict[str, Any]] = [
    {"rule": "mean"},
    {"rule": "weighted_mean"},
    {"rule": "coordinate_median"},
    {"rule": "trimmed_mean", "trim": 2},
    {"rule": "norm_clipped_mean", "max_norm_millionths": 1_000_000},
    {"rule": "krum", "byzantine": 2},
    {"rule": "multi_krum", "byzantine": 2, "keep": 3},
    {"rule": "geometric_median", "iterations": 1, "smoothing_millionths": 10},
]


@pytest.fixture(scope="module")
def contributions() -> list[Contribution]:
    """Sixteen adapters of 4 MiB: 64 MiB, of which no rule may copy more than blocks."""
    tensors: list[Tensors] = [
        {name: np.full((512, 1024), n + 0.5, dtype=np.float32) for name in ("a", "b")} for n in range(16)
    ]
    return [Contribution(f"0x{n + 1:040x}", f"digest {n}", each) for n, each in enumerate(tensors)]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["rule"])
def test_extra_memory_is_the_result_and_some_blocks(
    rule: dict[str, Any], contributions: list[Contribution]
) -> None:
    parsed = TypeAdapter[AggregationRule](AggregationRule).validate_python(rule)
    tracemalloc.start()
    try:
        aggregate(parsed, contributions, parent=contributions[0].tensors)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert RESULT_BYTES <= peak_bytes <= RESULT_BYTES + BLOCKS_BYTES
