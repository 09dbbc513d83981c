"""A small network of two hospitals on the tiny random Llama, for the tests of inner jobs."""

import json
import os
import random
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contracts.task import TaskSpec

REPOSITORY = Path(__file__).parent.parent.parent
COMMAND = (sys.executable, "-m", "tier_local")
LABELS = "ab"
_LETTER_OF_LABEL = {"a": "x", "b": "y"}


@dataclass(frozen=True)
class LocalWorld:
    """Folders of one network: its spec and genesis, its network file, its hospitals' data."""

    folder: Path

    @property
    def spec_file(self) -> Path:
        return self.folder / "task" / "task.json"

    @property
    def genesis_file(self) -> Path:
        return self.folder / "task" / "adapter.safetensors"

    @property
    def network_file(self) -> Path:
        return self.folder / "network.json"

    @property
    def model_cache(self) -> Path:
        return self.folder / "models"

    @property
    def test_file(self) -> Path:
        return self.folder / "test.jsonl"

    @property
    def spec(self) -> TaskSpec:
        return TaskSpec.parse(self.spec_file.read_bytes())

    def hospital(self, number: int) -> Path:
        return self.folder / "data" / f"hospital-{number}"

    def job(self, command: str, out: Path, *more: str) -> list[str]:
        """The arguments of a job on this network that starts from the genesis adapter."""
        files = ["--spec", str(self.spec_file), "--network", str(self.network_file)]
        return [command, *files, "--parent", str(self.genesis_file), "--out", str(out), *more]

    def with_steps(self, steps: int) -> "LocalWorld":
        """Change the task's training steps; everything else stays as it is."""
        fields = json.loads(self.spec_file.read_bytes())
        fields["training"]["steps"] = steps
        self.spec_file.write_text(json.dumps(fields))
        return self


def draft(**changes: Any) -> dict[str, Any]:
    """A draft for the tiny random Llama."""
    return {
        "schema": "collegium.task/1",
        "name": "tiny",
        "base_model": {"source": "random-llama"},
        "adapter": {
            "method": "lora",
            "rank": 4,
            "alpha": 8,
            "target_modules": ["q_proj", "v_proj", "down_proj"],
            "blocks": [2, 3],
        },
        "data": {
            "prompt": "{text}=",
            "labels": list(LABELS),
            "max_prompt_tokens": 32,
            "least_stratum_records": 1,
        },
        "training": {"steps": 6, "batch_records": 8, "learning_rate": 0.01, "warmup_steps": 2, "seed": 7},
        "aggregation": {"rule": "mean"},
    } | changes


def make_world(folder: Path) -> LocalWorld:
    """Write the files and run genesis."""
    world = LocalWorld(folder)
    generator = random.Random(5)
    for number in (1, 2):
        write_records(world.hospital(number) / "train.jsonl", 24, generator)
        write_records(world.hospital(number) / "heldout.jsonl", 8, generator)
    write_records(world.test_file, 20, generator)
    sites = [{"name": f"hospital-{n}", "data_folder": str(world.hospital(n))} for n in (1, 2)]
    network = {"name": "aurora", "sites": sites, "model_cache": str(world.model_cache)}
    world.network_file.write_text(json.dumps(network))
    (folder / "draft.json").write_text(json.dumps(draft()))
    done = run(
        *("genesis", "--draft", str(folder / "draft.json")),
        *("--model-cache", str(world.model_cache), "--out", str(world.spec_file.parent)),
    )
    assert done.returncode == 0, done.stderr
    return world


def write_records(file: Path, count: int, generator: random.Random) -> None:
    """Records whose text's last letter tells the label."""
    file.parent.mkdir(parents=True, exist_ok=True)
    labels = [LABELS[index % len(LABELS)] for index in range(count)]
    lines = [
        json.dumps(
            {"text": "".join(generator.choices("mnop", k=5)) + _LETTER_OF_LABEL[label], "label": label}
        )
        for label in labels
    ]
    file.write_text("\n".join(lines) + "\n")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run([*COMMAND, *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=False)


def start(arguments: Sequence[str], **environment: str) -> subprocess.Popen[str]:
    """Start a command with more in its environment."""
    return subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=REPOSITORY,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
    )
