"""Task specs: canonical JSON, one digest, and refusals that name the field."""

import json
from typing import Any

import pytest

from contracts.digests import ZERO_DIGEST, sha256_digest
from contracts.errors import InvalidTaskSpec
from contracts.task import MAX_SPEC_BYTES, TaskSpec

SPEC: dict[str, Any] = {
    "schema": "collegium.task/1",
    "name": "icd-10",
    "base_model": {"source": "smollm2", "digest": ZERO_DIGEST},
    "adapter": {
        "method": "lora",
        "rank": 16,
        "alpha": 32.0,
        "target_modules": ["q_proj", "v_proj"],
        "blocks": [28, 29],
    },
    "manifest": {"tensors": [{"name": "a", "dtype": "F32", "shape": [2, 3]}]},
    "genesis_digest": ZERO_DIGEST,
    "data": {
        "prompt": "{text}\nICD-10 code: ",
        "labels": ["A", "B"],
        "max_prompt_tokens": 64,
        "least_stratum_records": 2,
    },
    "training": {
        "steps": 14,
        "batch_records": 16,
        "learning_rate": 0.003,
        "warmup_steps": 8,
        "seed": 1,
    },
    "aggregation": {"rule": "mean"},
}


def changed(path: str, value: object) -> bytes:
    """The spec's JSON with one field replaced."""
    spec = json.loads(json.dumps(SPEC))
    *parents, last = path.split(".")
    part = spec
    for key in parents:
        part = part[key]
    part[last] = value
    return json.dumps(spec).encode()


def test_the_canonical_bytes_are_a_fixed_point_and_name_the_spec() -> None:
    spec = TaskSpec.parse(json.dumps(SPEC, indent=2).encode())
    canonical = spec.canonical_bytes()
    assert TaskSpec.parse(canonical) == spec
    assert TaskSpec.parse(canonical).canonical_bytes() == canonical
    assert spec.digest == sha256_digest(canonical)
    assert list(json.loads(canonical)) == sorted(json.loads(canonical))
    # RFC 8785: numbers as ECMAScript writes them, no spaces.
    assert b'"alpha":32,' in canonical
    assert b'"learning_rate":0.003,' in canonical


def test_defaults_are_written_out_so_that_they_are_part_of_the_digest() -> None:
    spec = TaskSpec.parse(json.dumps(SPEC).encode())
    explicit = TaskSpec.parse(changed("training.weight_decay", 0.0))
    assert b'"weight_decay":0' in spec.canonical_bytes()
    assert explicit.digest == spec.digest


def test_every_change_changes_the_digest() -> None:
    digests = {
        TaskSpec.parse(data).digest
        for data in (
            json.dumps(SPEC).encode(),
            changed("name", "icd-11"),
            changed("training.seed", 2),
            changed("training.learning_rate", 0.0030000000000000005),
            changed("adapter.target_modules", ["v_proj", "q_proj"]),
            changed("data.labels", ["B", "A"]),
            changed("aggregation", {"rule": "weighted_mean"}),
            changed("aggregation", {"rule": "trimmed_mean", "trim": 1}),
            changed("aggregation", {"rule": "trimmed_mean", "trim": 2}),
        )
    }
    assert len(digests) == 9


@pytest.mark.parametrize(
    ("path", "value", "where"),
    [
        ("schema", "collegium.task/2", "schema"),
        ("name", "Not A Name", "name"),
        ("base_model.digest", "0x12", "base_model/digest"),
        ("adapter.method", "qlora", "adapter/method"),
        ("adapter.rank", 0, "adapter/rank"),
        ("adapter.blocks", [], "adapter/blocks"),
        ("manifest.tensors", [], "manifest/tensors"),
        ("data.prompt", "no place for it", "data/prompt"),
        ("data.prompt", "{text} {text}", "data/prompt"),
        ("data.labels", ["A"], "data/labels"),
        ("data.labels", ["A", "A"], "the spec"),
        ("training.learning_rate", float("nan"), "training/learning_rate"),
        ("training.learning_rate", float("inf"), "training/learning_rate"),
        ("training.steps", 0, "training/steps"),
        ("aggregation", "median", "aggregation"),
        ("aggregation.rule", "median", "aggregation"),
        ("aggregation", {"rule": "trimmed_mean", "trim": 8}, "aggregation/trimmed_mean/trim"),
        ("outer_optimiser", {"name": "adam"}, "outer_optimiser"),
        (
            "outer_optimiser",
            {"name": "momentum", "momentum_millionths": 1_000_000, "learning_rate_millionths": 1},
            "outer_optimiser/momentum/momentum_millionths",
        ),
        ("surprise", 1, "surprise"),
        ("training.surprise", 1, "training/surprise"),
    ],
)
def test_a_wrong_field_is_named(path: str, value: object, where: str) -> None:
    with pytest.raises(InvalidTaskSpec, match=f"^{where}: "):
        TaskSpec.parse(changed(path, value))


@pytest.mark.parametrize("field", sorted(SPEC))
def test_nothing_may_be_missing_not_even_the_schema(field: str) -> None:
    with pytest.raises(InvalidTaskSpec, match=f"^{field}: "):
        TaskSpec.parse(json.dumps({key: value for key, value in SPEC.items() if key != field}).encode())


def test_what_is_too_large_or_no_json_is_refused() -> None:
    with pytest.raises(InvalidTaskSpec, match="at most"):
        TaskSpec.parse(b" " * (MAX_SPEC_BYTES + 1))
    for data in (b"", b"{", b"[]", b"\xff\xfe"):
        with pytest.raises(InvalidTaskSpec):
            TaskSpec.parse(data)
