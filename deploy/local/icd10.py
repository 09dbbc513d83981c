"""The demo's data: ICD-10-CM descriptions dealt to four hospital networks with different specialties.

ICD-10-CM is public-domain and comes with the package ``simple-icd-10-cm``. A record is the description of
one code (``text``) and the code's first letter (``label``): from what a diagnosis is called, say where it
belongs. Chapters 1 to 18 have 18 letters, A to R; the rest (injuries, causes, contacts) is left out.

Only leaf codes with short descriptions are taken: at most 50 characters, which SmolLM2's tokenizer makes
8 tokens on average and 20 at most, so that a CPU trains in minutes. Codes are drawn by ``seed``; no code
is given out twice, so hospitals differ, and the test codes are in no hospital. A network's specialty is
four or five letters; most of its records are from these, the rest from all the others.

Files: ``test.jsonl``, and ``NETWORK/hospital-N/{train,heldout}.jsonl``, with lines {"text", "label"}.
"""

import json
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

LETTERS = "ABCDEFGHIJKLMNOPQR"

SPECIALTIES = (
    "ABCD",  # neoplasms and blood, with the infections that come with them
    "EIJKR",  # metabolism, circulation, lungs, digestion, unclear findings
    "FGHLM",  # mind, nerves, eye and ear, skin, muscles and bones
    "NOPQ",  # from the urogenital tract over pregnancy to the newborn
)
"""The letters of each network's specialty, in the networks' order; together all letters, each once."""

_LONGEST_DESCRIPTION = 50
_CODES_PER_LETTER = 260


@dataclass(frozen=True)
class Sizes:
    """How many records go where."""

    train_records: int = 400
    """Per hospital."""
    heldout_records: int = 64
    """Per hospital."""
    test_records: int = 300
    own_share: float = 0.7
    """Share of a network's records that is from its specialty."""


DEMO_SIZES = Sizes()


@dataclass(frozen=True)
class _Code:
    text: str
    label: str


def build(
    seed: int,
    folder: Path,
    network_names: Sequence[str],
    hospitals_per_network: int,
    sizes: Sizes = DEMO_SIZES,
) -> None:
    """Deal the codes and write the files; the same arguments write the same bytes.

    Raises:
        ValueError: there are more or fewer networks than specialties, or not enough codes.
    """
    if len(network_names) != len(SPECIALTIES):
        raise ValueError(f"there are {len(SPECIALTIES)} specialties, not {len(network_names)}")
    draw = random.Random(seed)
    decks = {letter: _shuffled(codes, draw) for letter, codes in _codes_by_letter().items()}
    decks = {letter: deck[:_CODES_PER_LETTER] for letter, deck in decks.items()}
    test = _deal(decks, _evenly(sizes.test_records, LETTERS))
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "test.jsonl", _shuffled(test, draw))
    for name, specialty in zip(network_names, SPECIALTIES, strict=True):
        dealt = _deal_network(decks, specialty, hospitals_per_network, sizes, draw)
        for number in range(hospitals_per_network):
            hospital = folder / name / f"hospital-{number + 1}"
            hospital.mkdir(parents=True, exist_ok=True)
            # The records are ordered by letter, so every k-th, whatever the k, is a stratified sample.
            of_hospital = dealt[number::hospitals_per_network]
            heldout, train = _at_even_distances(of_hospital, sizes.heldout_records)
            _write(hospital / "train.jsonl", _shuffled(train, draw))
            _write(hospital / "heldout.jsonl", _shuffled(heldout, draw))


def _deal_network(
    decks: dict[str, list[_Code]], specialty: str, hospitals: int, sizes: Sizes, draw: random.Random
) -> list[_Code]:
    """A network's records, ordered by letter."""
    records = hospitals * (sizes.train_records + sizes.heldout_records)
    own = round(records * sizes.own_share)
    others = [letter for letter in LETTERS if letter not in specialty]
    # Which of the others get one record more than the rest is drawn, not always the first.
    draw.shuffle(others)
    return _deal(decks, _evenly(own, specialty) + _evenly(records - own, others))


def _codes_by_letter() -> dict[str, list[_Code]]:
    # Late: this import reads the whole classification.
    import simple_icd_10_cm as icd

    codes = [
        _Code(text=str(icd.get_description(code)), label=code[0])
        for code in icd.get_all_codes()
        if code[0] in LETTERS and icd.is_category_or_subcategory(code) and icd.is_leaf(code)
    ]
    times = Counter(code.text for code in codes)
    by_letter: dict[str, list[_Code]] = {letter: [] for letter in LETTERS}
    for code in codes:
        # A description that two codes share has no one right answer, or would be in two places.
        if len(code.text) <= _LONGEST_DESCRIPTION and times[code.text] == 1:
            by_letter[code.label].append(code)
    return by_letter


def _shuffled(codes: Sequence[_Code], draw: random.Random) -> list[_Code]:
    return draw.sample(codes, len(codes))


def _evenly(records: int, letters: Sequence[str]) -> Counter[str]:
    """How many records each letter gives, so that no two letters differ by more than one."""
    return Counter(islice(cycle(letters), records))


def _deal(decks: dict[str, list[_Code]], counts: Mapping[str, int]) -> list[_Code]:
    """Take so many codes off each letter's deck; ordered by letter."""
    dealt: list[_Code] = []
    for letter in LETTERS:
        count = counts.get(letter, 0)
        if count > len(decks[letter]):
            raise ValueError(f"there are not enough short descriptions for the letter {letter}")
        dealt += decks[letter][:count]
        decks[letter] = decks[letter][count:]
    return dealt


def _at_even_distances(codes: Sequence[_Code], picked: int) -> tuple[list[_Code], list[_Code]]:
    """``picked`` codes spread over all of them, and the rest."""
    places = {(2 * index + 1) * len(codes) // (2 * picked) for index in range(picked)}
    return (
        [code for place, code in enumerate(codes) if place in places],
        [code for place, code in enumerate(codes) if place not in places],
    )


def _write(file: Path, codes: Sequence[_Code]) -> None:
    lines = [json.dumps({"text": code.text, "label": code.label}, ensure_ascii=False) for code in codes]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
