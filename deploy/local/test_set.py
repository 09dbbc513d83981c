"""Measures adapters on the public test records, beside the rounds, and tells the orchestrator."""

import json
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from deploy.local.commands import Commands
from deploy.local.hub import Hub
from deploy.local.layout import Layout

TIMEOUT_S = 1_800.0
TEST_SET_NAME = "test"


@dataclass(frozen=True)
class Accuracy:
    """Accuracy on the test records with its 95 % interval (Wilson), and the mean loss in nats."""

    accuracy: float
    interval_low: float
    interval_high: float
    correct: int
    records: int
    loss_nats: float


class TestSet:
    """The test records of a run; measures one adapter at a time, in the order they are handed in."""

    def __init__(self, commands: Commands, layout: Layout, model_cache: Path) -> None:
        self._commands = commands
        self._layout = layout
        self._model_cache = model_cache
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="test-set")

    def measure(self, name: str, adapter: Path) -> "Future[Accuracy]":
        """Start measuring an adapter's accuracy; ``name`` names the log and the output folder."""
        return self._executor.submit(self._measure, name, adapter)

    def measure_round(self, hub: Hub, task: int, round_number: int, digest: str) -> "Future[Accuracy]":
        """Start measuring what a round ended with (round 0: the first parent), and record it."""
        return self._executor.submit(self._measure_round, hub, task, round_number, digest)

    def close(self) -> None:
        """Drop what has not begun."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _measure_round(self, hub: Hub, task: int, round_number: int, digest: str) -> Accuracy:
        adapter = self._layout.evaluations / f"round-{round_number}.safetensors"
        hub.download(digest, adapter)
        result = self._measure(f"round-{round_number}", adapter)
        hub.post(
            f"/v1/tasks/{task}/rounds/{round_number}/evaluations",
            {
                "name": TEST_SET_NAME,
                "digest": digest,
                "records": result.records,
                "correct": result.correct,
                "accuracy": result.accuracy,
                "interval_low": result.interval_low,
                "interval_high": result.interval_high,
                "loss_nats": result.loss_nats,
            },
        )
        return result

    def _measure(self, name: str, adapter: Path) -> Accuracy:
        out = self._layout.evaluations / name
        self._commands.run(
            f"test-{name}",
            [
                *(sys.executable, "-m", "tier_local", "test"),
                *("--spec", self._layout.spec, "--records", self._layout.test_records),
                *("--adapter", f"adapter={adapter}", "--model-cache", self._model_cache),
                *("--out", out),
            ],
            timeout_s=TIMEOUT_S,
        )
        result = json.loads((out / "report.json").read_text())["results"]["adapter"]
        return Accuracy(
            accuracy=result["accuracy"],
            interval_low=result["interval_low"],
            interval_high=result["interval_high"],
            correct=result["correct"],
            records=result["records"],
            loss_nats=result["loss_nats"],
        )
