"""The demo's data: dealt without overlap, with specialties, the same for the same seed."""

import json
from collections import Counter
from pathlib import Path

import pytest

from deploy.local.icd10 import LETTERS, SPECIALTIES, Sizes, build

NAMES = ("one", "two", "three", "four")
SIZES = Sizes(train_records=40, heldout_records=20, test_records=54)


def records(file: Path) -> list[tuple[str, str]]:
    return [(line["text"], line["label"]) for line in map(json.loads, file.read_text().splitlines())]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("icd10")
    build(1, folder, NAMES, 2, SIZES)
    return folder


def test_sizes_are_kept_and_no_code_is_in_two_places(folder: Path) -> None:
    files = sorted(folder.rglob("*.jsonl"))
    sizes = Counter(len(records(file)) for file in files)
    assert sizes == {40: 8, 20: 8, 54: 1}
    texts = [text for file in files for text, _ in records(file)]
    assert len(set(texts)) == len(texts)


def test_the_test_codes_are_stratified(folder: Path) -> None:
    assert Counter(label for _, label in records(folder / "test.jsonl")) == dict.fromkeys(LETTERS, 3)


def test_seven_tenths_of_a_network_are_its_specialty(folder: Path) -> None:
    assert sorted("".join(SPECIALTIES)) == list(LETTERS)
    for name, specialty in zip(NAMES, SPECIALTIES, strict=True):
        labels = [label for file in folder.glob(f"{name}/*/*.jsonl") for _, label in records(file)]
        assert sum(label in specialty for label in labels) == round(0.7 * len(labels))
        assert set(labels) == set(LETTERS)


def test_held_out_records_are_spread_like_the_training_records(folder: Path) -> None:
    for name, specialty in zip(NAMES, SPECIALTIES, strict=True):
        heldout = [label for file in folder.glob(f"{name}/*/heldout.jsonl") for _, label in records(file)]
        assert abs(sum(label in specialty for label in heldout) - 28) <= 2


def test_the_seed_decides(folder: Path, tmp_path: Path) -> None:
    build(1, tmp_path / "same", NAMES, 2, SIZES)
    build(2, tmp_path / "other", NAMES, 2, SIZES)
    for file in folder.rglob("*.jsonl"):
        path = file.relative_to(folder)
        assert (
            (tmp_path / "same" / path).read_bytes()
            == file.read_bytes()
            != (tmp_path / "other" / path).read_bytes()
        )


def test_a_network_without_a_specialty_and_too_many_records_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="4 specialties, not 3"):
        build(1, tmp_path, NAMES[:3], 2, SIZES)
    with pytest.raises(ValueError, match="not enough short descriptions"):
        build(1, tmp_path, NAMES, 2, Sizes(train_records=4000))
