"""A hospital for tests: its folder, its clock, and a policy that permits everything unless changed."""

import json
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from contracts.digests import ZERO_DIGEST
from contracts.manifest import FloatArray, Manifest, TensorSpec
from contracts.task import TaskSpec
from tier_local.guard import Errand, PolicyGuard
from tier_local.policy import Use

NOON_UNIX_S = 1_780_000_000
PARENT_DIGEST = "0x" + "22" * 32
MANIFEST = Manifest(
    tensors=(
        TensorSpec(name="layer.a", dtype="F32", shape=(3, 5)),
        TensorSpec(name="layer.b", dtype="F16", shape=(7,)),
    )
)
FLOOR = {
    "clip_norm": 1.0,
    "noise_multiplier": 2.0,
    "delta": 1e-6,
    "most_epsilon_per_year": 20.0,
    "figures": "withheld",
}


def make_spec(**training: Any) -> TaskSpec:
    """A task of 10 steps of 4 records."""
    return TaskSpec.model_validate(
        {
            "schema": "collegium.task/1",
            "name": "guarded",
            "base_model": {"source": "none", "digest": ZERO_DIGEST},
            "adapter": {"rank": 1, "alpha": 1.0, "target_modules": ["q_proj"], "blocks": [0]},
            "manifest": MANIFEST.model_dump(),
            "genesis_digest": ZERO_DIGEST,
            "data": {
                "prompt": "{text}:",
                "labels": ["A", "B"],
                "max_prompt_tokens": 8,
                "least_stratum_records": 1,
            },
            "training": {"steps": 10, "batch_records": 4, "learning_rate": 0.1, "warmup_steps": 0, "seed": 1}
            | training,
            "aggregation": {"rule": "mean"},
        }
    )


def policy_fields(folder: Path, **changes: Any) -> dict[str, Any]:
    """A policy that permits everything on ``folder``/records."""
    return {
        "schema": "collegium.policy/1",
        "site": "hospital-1",
        "tasks": "any",
        "base_models": "any",
        "data_sets": [{"folder": str(folder / "records"), "uses": ["train", "evaluate"]}],
        "work": {
            "most_steps_per_round": None,
            "most_epochs_per_round": None,
            "most_steps_per_day": None,
            "most_steps_per_task": None,
        },
        "resources": {"most_memory_bytes": None, "gpu_memory_share": None},
        "hours": None,
        "least_records": 1,
        "privacy": None,
        "logs_may_leave": True,
        "kill_switch_file": "STOP",
    } | changes


@dataclass
class Hospital:
    """A hospital's folder and clock; jobs meet its policy as it is at each moment."""

    folder: Path
    now_unix_s: float = NOON_UNIX_S
    spec: TaskSpec = field(default_factory=make_spec)

    @property
    def policy_file(self) -> Path:
        return self.folder / "policy.json"

    @property
    def state(self) -> Path:
        return self.folder / "state"

    def permit(self, **changes: Any) -> "Hospital":
        """Write the policy anew."""
        self.policy_file.write_text(json.dumps(policy_fields(self.folder, **changes)))
        self.policy_file.chmod(0o600)
        return self

    def errand(self, use: Use = "train", **changes: Any) -> Errand:
        """What a job's process is sent for."""
        errand = Errand(
            site="hospital-1",
            use=use,
            parent_digest=PARENT_DIGEST,
            data_folder=self.folder / "records",
            recipient="the server of aurora",
            approved_policy_digest=None,
        )
        return replace(errand, **changes)

    def guard(self, use: Use = "train", **changes: Any) -> PolicyGuard:
        """A guard as a new job's process has it."""
        errand = self.errand(use, **changes)
        return PolicyGuard(errand, self.policy_file, self.state, now_unix_s=lambda: self.now_unix_s)


def make_tensors(seed: int, scale: float = 1.0) -> dict[str, FloatArray]:
    """Random tensors of the manifest."""
    random = np.random.default_rng(seed)
    return {
        "layer.a": (scale * random.normal(size=(3, 5))).astype(np.float32),
        "layer.b": (scale * random.normal(size=7)).astype(np.float16),
    }


def unix_s(text: str) -> float:
    """A moment written in UTC, as 2026-01-31 12:00."""
    return time.mktime(time.strptime(text, "%Y-%m-%d %H:%M")) - time.timezone
