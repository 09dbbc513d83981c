"""The demo's data: ICD-10-CM descriptions dealt to four hospital networks with different specialties.

ICD-10-CM is public-domain and comes with the package ``simple-icd-10-cm``. A record is the description of
one code (``text``) and the code's first letter (``label``): from what a diagnosis is called, say where it
belongs. Chapters 1 to 18 have 18 letters, A to R; the rest (injuries, causes, contacts) is left out.

Only leaf codes with short descriptions are taken (at most 50 characters, which the demo's tokenizer
makes 8 tokens on average and 20 at most), so that a CPU trains in minutes. Codes are drawn by ``seed``;
no code is given out twice, so hospitals differ, and the test codes are in no hospital. A network's
specialty is four or five letters; most of its records are from these, the rest from all the others.

Files: ``test.jsonl``, and ``NETWORK/HOSPITAL/{train,heldout}.jsonl``, with lines {"text", "label"}.
"""

import json
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

LETTERS = "ABCDEFGHIJKLMNOPQR"

SPECIALTIES: Mapping[str, str] = {
    "oncology": "ABCD",  # neoplasms and blood, with the infections that come with them
    "internal": "EIJKR",  # metabolism, circulation, lungs, digestion, unclear findings
    "senses": "FGHLM",  # mind, nerves, eye and ear, skin, muscles and bones
    "perinatal": "NOPQ",  # from the urogenital tract over pregnancy to the newborn
}
"""Network → the letters of its specialty; together all letters, each once."""

_LONGEST_DESCRIPTION = 50
_CODES_PER_LETTER = 260


@dataclass(frozen=True)
class HospitalData:
    """One hospital's folder with ``train.jsonl`` and ``heldout.jsonl``."""

    name: str
    folder: Path


@dataclass(frozen=True)
class NetworkData:
    """One network: its specialty's letters and its hospitals."""

    name: str
    letters: str
    hospitals: tuple[HospitalData, ...]


@dataclass(frozen=True)
class Icd10Data:
    """What ``build`` wrote."""

    networks: tuple[NetworkData, ...]
    test_file: Path


@dataclass(frozen=True)
class Sizes:
    """How many records go where."""

    hospitals: int = 2
    train_records: int = 400
    """Per hospital."""
    heldout_records: int = 64
    """Per hospital."""
    test_records: int = 300
    own_share: float = 0.7
    """Share of a network's records that is from its specialty."""


@dataclass(frozen=True)
class _Code:
    text: str
    label: str


def build(seed: int, folder: Path, sizes: Sizes = Sizes()) -> Icd10Data:  # noqa: B008 - frozen
    """Deal the codes and write the files; the same arguments write the same bytes.

    Raises:
        ValueError: there are not enough codes for these sizes.
    """
    draw = random.Random(seed)
    decks = {letter: _shuffled(codes, draw) for letter, codes in _codes_by_letter().items()}
    decks = {letter: deck[:_CODES_PER_LETTER] for letter, deck in decks.items()}
    test = _deal(decks, _evenly(sizes.test_records, LETTERS))
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "test.jsonl", _shuffled(test, draw))
    networks = tuple(
        _build_network(name, letters, decks, folder / name, sizes, draw) for name, letters in SPECIALTIES.items()
    )
    return Icd10Data(networks=networks, test_file=folder / "test.jsonl")


def _build_network(
    name: str, letters: str, decks: dict[str, list[_Code]], folder: Path, sizes: Sizes, draw: random.Random
) -> NetworkData:
    per_hospital = sizes.train_records + sizes.heldout_records
    records = sizes.hospitals * per_hospital
    own = round(records * sizes.own_share)
    others = [letter for letter in LETTERS if letter not in letters]
    # Which of the others get one record more than the rest is drawn, not always the first.
    draw.shuffle(others)
    dealt = _deal(decks, _evenly(own, letters) + _evenly(records - own, others))
    hospitals: list[HospitalData] = []
    for number in range(sizes.hospitals):
        hospital = HospitalData(name=f"{name}-{number + 1}", folder=folder / f"{name}-{number + 1}")
        # dealt is ordered by letter, so every k-th record, whatever the k, is a stratified sample.
        heldout, train = _every_kth(dealt[number :: sizes.hospitals], sizes.heldout_records)
        hospital.folder.mkdir(parents=True, exist_ok=True)
        _write(hospital.folder / "train.jsonl", _shuffled(train, draw))
        _write(hospital.folder / "heldout.jsonl", _shuffled(heldout, draw))
        hospitals.append(hospital)
    return NetworkData(name=name, letters=letters, hospitals=tuple(hospitals))


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


def _every_kth(codes: Sequence[_Code], picked: int) -> tuple[list[_Code], list[_Code]]:
    """``picked`` codes at even distances, and the rest."""
    places = {(2 * index + 1) * len(codes) // (2 * picked) for index in range(picked)} if picked else set()
    return (
        [code for place, code in enumerate(codes) if place in places],
        [code for place, code in enumerate(codes) if place not in places],
    )


def _write(file: Path, codes: Sequence[_Code]) -> None:
    lines = [json.dumps({"text": code.text, "label": code.label}, ensure_ascii=False) for code in codes]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
