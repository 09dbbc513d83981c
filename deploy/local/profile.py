"""What a local run is made of: the demo's real model and data, or the tiny ones of the end-to-end test."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Literal

TOKEN = 10**18
"""Base units of one token."""

_HERE = Path(__file__).parent


class Inner(StrEnum):
    """Where the networks' inner rounds run."""

    SIMULATOR = "simulator"
    """In NVFlare's simulator, started anew for each round."""
    DEPLOYED = "deployed"
    """In each network's own federation, up across the rounds."""


@dataclass(frozen=True)
class Profile:
    """One kind of run; ``task_config`` holds the fields of the chain's TaskConfig without the digests."""

    name: Literal["demo", "tiny"]
    draft: Path
    task_config: Mapping[str, int]
    pool: int
    """Base units that the council pays into the task's pool."""
    stake: int
    """Base units that each node stakes."""
    wait_for_round_s: float
    """How long a whole round may take before the launcher gives up."""


_SHARED_TERMS = {
    "rounds": 3,
    "proposers": 3,
    "voters": 4,
    "min_proposals": 2,
    "min_reveals": 3,
    "min_scorers": 2,
    "attestation_quorum_bps": 5_000,
    "proposer_share_bps": 6_000,
    "absent_bps": 100,
    "unrevealed_bps": 500,
    "invalid_bps": 2_000,
    "acceptance_threshold_micronats": -250_000,
    "closeness_range_micronats": 1_000_000,
    "stake_cap": 1_000_000 * TOKEN,
}

DEMO = Profile(
    name="demo",
    draft=_HERE / "icd10_task.json",
    task_config=MappingProxyType(
        # Phases end early when all is in; a busy machine may need minutes to start the process of a node.
        _SHARED_TERMS | {"training_s": 900, "committing_s": 900, "revealing_s": 600, "attesting_s": 600}
    ),
    pool=3_000 * TOKEN,
    stake=1_000 * TOKEN,
    wait_for_round_s=3_100,
)

# Fewer of everything: what takes time here is not the tiny model but starting NVFlare for each inner job.
_TINY_TERMS = {"rounds": 1, "proposers": 2, "voters": 3, "min_proposals": 1, "min_reveals": 2}

TINY = Profile(
    name="tiny",
    draft=_HERE / "tiny_task.json",
    task_config=MappingProxyType(
        _SHARED_TERMS
        | _TINY_TERMS
        | {"training_s": 300, "committing_s": 300, "revealing_s": 300, "attesting_s": 300}
    ),
    pool=300 * TOKEN,
    stake=10 * TOKEN,
    wait_for_round_s=1_250,
)

PROFILES: Mapping[str, Profile] = MappingProxyType({profile.name: profile for profile in (DEMO, TINY)})

NETWORK_NAMES = ("oncology", "internal", "senses", "perinatal")
"""The hospital networks of a local run, in the order of the data's specialties."""
HOSPITALS_PER_NETWORK = 2
POISONED_NETWORK = NETWORK_NAMES[-1]
"""The network that attacks in a poisoned run."""
