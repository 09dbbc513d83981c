"""The hospitals of a local run: their names, and the policy that each has of its own."""

from pathlib import Path

from deploy.local.layout import Layout, write_json
from deploy.local.profile import HOSPITALS_PER_NETWORK

HOSPITALS = tuple(f"hospital-{number}" for number in range(1, HOSPITALS_PER_NETWORK + 1))
"""The names within every network."""
THREADS_PER_HOSPITAL = 1
"""Several networks compute side by side on this machine, so each hospital takes one core."""


def policy_file(layout: Layout, network: str, hospital: str) -> Path:
    """Where a hospital's policy lies."""
    return layout.network(network) / hospital / "policy.json"


def write_policies(layout: Layout, network: str) -> None:
    """Write the policies of a network's hospitals."""
    for hospital in HOSPITALS:
        _write_policy(policy_file(layout, network, hospital), _policy(layout, network, hospital))


def _write_policy(file: Path, policy: dict[str, object]) -> None:
    """Where others can write a policy, or beside it, it counts as none; whatever the user's umask is."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_json(file, policy)
    file.chmod(0o600)


def _policy(layout: Layout, network: str, hospital: str) -> dict[str, object]:
    """What a hospital of the demo permits: any task on its own records, without noise; ``docs/policy.md``."""
    nothing_but = str((layout.data / network / hospital).resolve())
    return {
        "schema": "collegium.policy/1",
        "site": hospital,
        "tasks": "any",
        "base_models": "any",
        "data_sets": [{"folder": nothing_but, "uses": ["train", "evaluate"]}],
        "work": {
            "most_steps_per_round": 10_000,
            "most_epochs_per_round": None,
            "most_steps_per_day": None,
            "most_steps_per_task": None,
        },
        "resources": {"most_memory_bytes": None, "gpu_memory_share": 1.0},
        "hours": None,
        "least_records": 1,
        "privacy": None,
        "logs_may_leave": True,
        "kill_switch_file": "STOP",
    }
