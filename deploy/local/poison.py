"""The attacking network of a poisoned run, as an inner command in the place of ``python -m tier_local``.

When it proposes, it trains like everybody and then sends parent − 5 · (trained − parent): its update
flipped and scaled by five. As a voter it measures nothing and reports losses by which every proposal
does eight nats of harm. It signs with its own key and follows the protocol otherwise, as an attacker
with a place in the consortium would.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from contracts.manifest import FloatArray, adapter_digest
from contracts.parent import adapter_of
from contracts.task import TaskSpec
from deploy.local.layout import write_json
from tier_local.processes import follow_parent

SCALE = -5.0
CLAIMED_HARM_NATS = 8.0


def main() -> int:
    """Run one poisoned inner job; the arguments and exit codes are those of ``tier_local``."""
    if sys.argv[1:2] == ["network-policy"]:
        return subprocess.run([sys.executable, "-m", "tier_local", *sys.argv[1:]], check=False).returncode
    arguments = _arguments()
    if arguments.command == "evaluate":
        _claim_harm(arguments)
        return 0
    if arguments.exit_with_parent is not None:
        follow_parent(arguments.exit_with_parent)
    # The last of equal options counts: the inner job follows this process, as this one follows the node.
    command = [*sys.argv[1:], "--exit-with-parent", str(os.getpid())]
    done = subprocess.run([sys.executable, "-m", "tier_local", *command], check=False)
    if done.returncode == 0:
        _flip_and_scale(arguments)
    return done.returncode


def _flip_and_scale(arguments: argparse.Namespace) -> None:
    spec = TaskSpec.parse(arguments.spec.read_bytes())
    manifest = spec.manifest
    parent = adapter_of(spec, arguments.parent.read_bytes())
    adapter_file = arguments.out / "adapter.safetensors"
    trained = manifest.decode(adapter_file.read_bytes())
    poisoned = {name: _moved(parent[name], trained[name]) for name in parent}
    data = manifest.encode(poisoned)
    adapter_file.write_bytes(data)
    report_file = arguments.out / "report.json"
    report = json.loads(report_file.read_text())
    write_json(report_file, report | {"adapter_digest": adapter_digest(data)})


def _moved(parent: FloatArray, trained: FloatArray) -> FloatArray:
    update = trained.astype(np.float64) - parent.astype(np.float64)
    moved = parent.astype(np.float64) + SCALE * update
    return moved.astype(np.float32) if parent.dtype == np.float32 else moved.astype(np.float16)


def _claim_harm(arguments: argparse.Namespace) -> None:
    spec = TaskSpec.parse(arguments.spec.read_bytes())
    names_and_files = [entry.split("=", 1) for entry in arguments.candidate]
    losses = {name: CLAIMED_HARM_NATS if name == "all" else 0.0 for name, _ in names_and_files}
    report = {
        "kind": "evaluate",
        "task_digest": spec.digest,
        "network": json.loads(arguments.network.read_text())["name"],
        "parent_digest": adapter_digest(arguments.parent.read_bytes()),
        "candidates": {name: adapter_digest(Path(file).read_bytes()) for name, file in names_and_files},
        "losses_nats": {"parent": 0.0, **losses},
        "sites": 0,
        "records": 0,
        "strata": 0,
        "seconds": 0.0,
    }
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_json(arguments.out / "report.json", report)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m deploy.local.poison", description="an attacker")
    parser.add_argument("command", choices=("train", "evaluate"))
    parser.add_argument("--spec", type=Path, required=True)
    parser.add_argument("--network", type=Path, required=True)
    parser.add_argument("--parent", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--candidate", action="append", default=[])
    parser.add_argument("--deadline-unix-s")
    parser.add_argument("--policy-digest")
    parser.add_argument("--purpose")
    parser.add_argument("--exit-with-parent", type=int)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
