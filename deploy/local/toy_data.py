"""Records that a tiny random Llama learns in a few steps: the last letter of the text gives the label.

The same files as ``icd10.py`` writes: ``NETWORK/HOSPITAL/{train,heldout}.jsonl`` and ``test.jsonl``. Like
the networks of the demo, each network has a favourite label that makes up most of its records.
"""

import json
import random
from collections.abc import Sequence
from pathlib import Path

LABELS = "abcd"
_LETTER_OF_LABEL = dict(zip(LABELS, "wxyz", strict=True))
_FILLER = "mnop"
_TEXT_LETTERS = 6
_FAVOURITE_SHARE = 0.7
_TRAIN_RECORDS = 96
_HELDOUT_RECORDS = 24
_TEST_RECORDS = 40


def build(seed: int, folder: Path, network_names: Sequence[str], hospitals_per_network: int) -> None:
    """Write the records of every hospital and the test records below ``folder``."""
    generator = random.Random(seed)
    for index, network in enumerate(network_names):
        favourite = LABELS[index % len(LABELS)]
        for hospital in range(1, hospitals_per_network + 1):
            site = folder / network / f"hospital-{hospital}"
            site.mkdir(parents=True)
            _write(site / "train.jsonl", [_record(generator, favourite) for _ in range(_TRAIN_RECORDS)])
            # Every label in turn, so that no stratum is missing where the scores are taken.
            _write(site / "heldout.jsonl", _balanced(generator, _HELDOUT_RECORDS))
    _write(folder / "test.jsonl", _balanced(generator, _TEST_RECORDS))


def _balanced(generator: random.Random, count: int) -> list[dict[str, str]]:
    return [_record(generator, LABELS[number % len(LABELS)], share=1.0) for number in range(count)]


def _record(generator: random.Random, favourite: str, share: float = _FAVOURITE_SHARE) -> dict[str, str]:
    label = favourite if generator.random() < share else generator.choice(LABELS)
    filler = "".join(generator.choices(_FILLER, k=_TEXT_LETTERS - 1))
    return {"text": filler + _LETTER_OF_LABEL[label], "label": label}


def _write(file: Path, records: Sequence[dict[str, str]]) -> None:
    file.write_text("".join(json.dumps(record) + "\n" for record in records))
