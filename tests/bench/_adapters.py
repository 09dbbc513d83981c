"""The case that aggregation and verification are measured on: 16 adapters of 33.5 MB."""

import numpy as np

from contracts.manifest import FloatArray

ADAPTERS = 16
PAIRS = 64
RANK = 16
WIDTH = 4096


def adapter(seed: int) -> dict[str, FloatArray]:
    """64 pairs of 16×4096 and 4096×16 float32 matrices of normally distributed numbers."""
    random = np.random.default_rng(seed)
    tensors: dict[str, FloatArray] = {}
    for pair in range(PAIRS):
        tensors[f"layer_{pair:02}.lora_A.weight"] = random.standard_normal((RANK, WIDTH), dtype=np.float32)
        tensors[f"layer_{pair:02}.lora_B.weight"] = random.standard_normal((WIDTH, RANK), dtype=np.float32)
    return tensors
