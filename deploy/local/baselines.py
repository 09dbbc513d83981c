"""What each network reaches alone, with as many inner rounds as it trained in the federation."""

import os
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from deploy.local.commands import Commands
from deploy.local.layout import Layout
from deploy.local.test_set import Accuracy, TestSet

INNER_ROUND_TIMEOUT_S = 1_200.0
NETWORKS_SIDE_BY_SIDE = 2


def train_alone(
    commands: Commands, layout: Layout, test_set: TestSet, inner_rounds: Mapping[str, int]
) -> dict[str, Accuracy]:
    """Network → accuracy on the test records after that many inner rounds, from the first parent."""
    with ThreadPoolExecutor(NETWORKS_SIDE_BY_SIDE) as executor:
        adapters = executor.map(
            lambda entry: _train(commands, layout, entry[0], entry[1]), inner_rounds.items()
        )
        measured = {
            name: test_set.measure(f"alone-{name}", adapter)
            for name, adapter in zip(inner_rounds, adapters, strict=True)
        }
    return {name: future.result() for name, future in measured.items()}


def _train(commands: Commands, layout: Layout, name: str, inner_rounds: int) -> Path:
    parent = layout.genesis
    for number in range(1, inner_rounds + 1):
        out = layout.baselines / name / f"round-{number}"
        commands.run(
            f"alone-{name}",
            [
                *(sys.executable, "-m", "tier_local", "train", "--exit-with-parent", str(os.getpid())),
                *("--spec", layout.spec, "--network", layout.network(name) / "network.json"),
                *("--parent", parent, "--out", out),
            ],
            timeout_s=INNER_ROUND_TIMEOUT_S,
        )
        parent = out / "adapter.safetensors"
    return parent
