"""A stand-in for ``python -m tier_local``: the same command line and files, with arithmetic for a model.

Every network pulls an adapter towards the same hidden target; a network's loss is the adapter's distance from
it. So an honest proposal improves the aggregate, and one that runs away spoils it. ``network.json`` may hold:

    name, seconds (how long a job takes), fail (exit code of every job), away (train in the wrong direction),
    hang (never end, ignore SIGTERM), policy (digest of its one hospital's policy)

Each job appends a line to ``<network.json>.jobs``, so that a test can count them.
"""

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from contracts.digests import ZERO_DIGEST
from contracts.manifest import adapter_digest
from contracts.network_policy import NetworkPolicy
from contracts.task import TaskSpec

STEP = 0.5


def main() -> int:
    arguments = _arguments()
    network = json.loads(arguments.network.read_text())
    if arguments.job == "network-policy":
        arguments.out.mkdir(parents=True, exist_ok=True)
        policy = NetworkPolicy(sites={"hospital-1": network.get("policy", ZERO_DIGEST)})
        (arguments.out / "network-policy.json").write_bytes(policy.canonical_bytes())
        return 0
    with Path(f"{arguments.network}.jobs").open("a") as jobs:
        jobs.write(json.dumps({"job": arguments.job, "pid": os.getpid(), "out": str(arguments.out)}) + "\n")
    if network.get("hang"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(3600)
    time.sleep(network.get("seconds", 0.0))
    if network.get("fail"):
        sys.stderr.write("the double was told to fail\n")
        return int(network["fail"])
    spec = TaskSpec.parse(arguments.spec.read_bytes())
    parent = spec.manifest.decode(arguments.parent.read_bytes())
    arguments.out.mkdir(parents=True, exist_ok=True)
    report = (
        _train(arguments, spec, parent, network)
        if arguments.job == "train"
        else _evaluate(arguments, spec, parent)
    )
    (arguments.out / "report.json").write_text(json.dumps(report))
    return 0


def target(spec: TaskSpec) -> dict[str, Any]:
    """The adapter that every network would like to have."""
    random = np.random.default_rng(spec.training.seed)
    return {
        tensor.name: random.normal(size=tensor.shape).astype(
            np.float32 if tensor.dtype == "F32" else np.float16
        )
        for tensor in spec.manifest.tensors
    }


def loss_nats(spec: TaskSpec, tensors: dict[str, Any]) -> float:
    """Mean squared distance from the target."""
    goal = target(spec)
    squares = [(tensors[name].astype(np.float64) - goal[name].astype(np.float64)) ** 2 for name in goal]
    return float(np.mean(np.concatenate([square.ravel() for square in squares])))


def _train(
    arguments: argparse.Namespace, spec: TaskSpec, parent: dict[str, Any], network: dict[str, Any]
) -> dict[str, object]:
    goal = target(spec)
    step = -3 * STEP if network.get("away") else STEP
    # Each network has a habit of its own, so that no two adapters are equal.
    habit = np.random.default_rng(list(network["name"].encode())).normal(scale=0.01)
    tensors = {
        name: (parent[name] + (step + habit) * (goal[name] - parent[name])).astype(parent[name].dtype)
        for name in goal
    }
    data = spec.manifest.encode(tensors)
    (arguments.out / "adapter.safetensors").write_bytes(data)
    return {"kind": "train", "task_digest": spec.digest, "adapter_digest": adapter_digest(data)}


def _evaluate(arguments: argparse.Namespace, spec: TaskSpec, parent: dict[str, Any]) -> dict[str, object]:
    losses = {"parent": loss_nats(spec, parent)}
    for candidate in arguments.candidate:
        name, _, path = candidate.partition("=")
        losses[name] = loss_nats(spec, spec.manifest.decode(Path(path).read_bytes()))
    return {"kind": "evaluate", "task_digest": spec.digest, "losses_nats": losses}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("job", choices=["train", "evaluate", "network-policy"])
    parser.add_argument("--spec", type=Path)
    parser.add_argument("--network", type=Path, required=True)
    parser.add_argument("--parent", type=Path)
    parser.add_argument("--policy-digest")
    parser.add_argument("--candidate", action="append", default=[])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--deadline-unix-s", type=int)
    parser.add_argument("--purpose", required=True)
    parser.add_argument("--exit-with-parent", type=int)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
