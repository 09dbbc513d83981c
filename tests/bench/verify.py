"""What ``collegium verify`` does with the artifacts of one round, against hashing its proposals once.

The round has 16 accepted proposals of 33.5 MB in a folder of artifacts. Checked are: each proposal against
its digest and the manifest, the aggregate recomputed by the task's rule (the mean), and the stored
aggregate. Hashing reads the same files with SHA-256 and does nothing else.
"""

import hashlib
import tempfile
from pathlib import Path

from contracts.digests import ZERO_DIGEST, sha256_digest
from contracts.manifest import Manifest
from contracts.parent import next_parent, read_parent
from contracts.task import TaskSpec
from contracts.verify.adapters import ArtifactChecks
from contracts.verify.artifact_source import FolderSource
from contracts.verify.comparison import Comparison
from tests.bench._adapters import ADAPTERS, adapter
from tests.bench._rows import Row
from tests.bench._timing import least_times

REPETITIONS = 5
TARGET = 3.0


def run() -> list[Row]:
    """The rows of ``verify``."""
    with tempfile.TemporaryDirectory(prefix="collegium-bench-") as folder:
        return [_measure(Path(folder))]


def _measure(folder: Path) -> Row:
    genesis = adapter(ADAPTERS)
    manifest = Manifest.of(genesis)
    genesis_digest = _store(folder, manifest.encode(genesis))
    digests = [_store(folder, manifest.encode(adapter(seed))) for seed in range(ADAPTERS)]
    spec_digest = _store(folder, _spec(manifest, genesis_digest).canonical_bytes())
    source = FolderSource(folder)

    def checked() -> tuple[ArtifactChecks, str]:
        checks = ArtifactChecks(source, Comparison(), spec_digest)
        accepted = []
        for number, digest in enumerate(digests, start=1):
            contribution = checks.proposal(1, f"0x{number:040x}", digest, accepted=True)
            assert contribution is not None
            accepted.append(contribution)
        return checks, checks.aggregate_digest(1, genesis_digest, accepted)

    checks, aggregate_digest = checked()
    contributions = [
        contribution
        for number, digest in enumerate(digests, start=1)
        if (contribution := checks.proposal(1, f"0x{number:040x}", digest, accepted=True)) is not None
    ]
    parent = read_parent(checks.spec, genesis_digest, _path(folder, genesis_digest).read_bytes())
    assert _store(folder, next_parent(checks.spec, parent, contributions).data) == aggregate_digest

    def verify() -> None:
        checks, found = checked()
        checks.aggregate_artifact(1, found)

    def hash_once() -> None:
        for digest in digests:
            with _path(folder, digest).open("rb") as file:
                assert "0x" + hashlib.file_digest(file, "sha256").hexdigest() == digest

    times = least_times({"verify": verify, "hash": hash_once}, REPETITIONS)
    how = (
        f"checks of {ADAPTERS} proposals and their aggregate {times['verify']}, "
        f"hashing the proposals once {times['hash']}; wall times, least of {REPETITIONS} interleaved"
    )
    return Row.at_most("verify.vs_hash", times["verify"].wall_s / times["hash"].wall_s, "ratio", TARGET, how)


def _store(folder: Path, data: bytes) -> str:
    digest = sha256_digest(data)
    path = _path(folder, digest)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    return digest


def _path(folder: Path, digest: str) -> Path:
    return folder / digest[2:4] / digest[2:]


def _spec(manifest: Manifest, genesis_digest: str) -> TaskSpec:
    return TaskSpec.model_validate(
        {
            "schema": "collegium.task/1",
            "name": "benchmark",
            "base_model": {"source": "none", "digest": ZERO_DIGEST},
            "adapter": {"rank": 16, "alpha": 16.0, "target_modules": ["q_proj"], "blocks": [0]},
            "manifest": manifest.model_dump(),
            "genesis_digest": genesis_digest,
            "data": {
                "prompt": "{text}:",
                "labels": ["A", "B"],
                "max_prompt_tokens": 8,
                "least_stratum_records": 1,
            },
            "training": {"steps": 1, "batch_records": 1, "learning_rate": 0.1, "warmup_steps": 0, "seed": 1},
            "aggregation": {"rule": "mean"},
        }
    )
