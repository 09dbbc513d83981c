"""A hospital's records: what is read, and what is refused without quoting it."""

import json
from pathlib import Path

import pytest

from contracts.task import DataSpec
from tier_local.data import Record, read_records
from tier_local.errors import BadInput

SPEC = DataSpec(prompt="{text}=", labels=("a", "b"), max_prompt_tokens=8, least_stratum_records=1)
PATIENT = "patient Smith"


def write(folder: Path, *lines: str) -> Path:
    file = folder / "train.jsonl"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def test_records_keep_the_order_of_the_file_and_empty_lines_are_skipped(tmp_path: Path) -> None:
    file = write(tmp_path, '{"text": "one", "label": "b"}', "", '{"label": "a", "text": "zwei ü"}')
    assert read_records(file, SPEC) == (Record("one", 1), Record("zwei ü", 0))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (f'{{"text": "{PATIENT}", "label": "c"}}', "label: not one of the task's labels"),
        ('{"text": "  ", "label": "a"}', "text: empty"),
        (f'{{"text": "{PATIENT}"}}', "label: Field required"),
        ('{"label": "a"}', "text: Field required"),
        ('{"text": 7, "label": "a"}', "text: Input should be a valid string"),
        (f'{{"text": "x", "label": "a", "{PATIENT}": 1}}', "Extra inputs are not permitted"),
        (f'{{"text": "{PATIENT}", "label": "a"', "not JSON"),
        (f'["{PATIENT}"]', "object"),
        (json.dumps({"text": "x" * (1 << 20), "label": "a"}), "at most 1048576 bytes"),
    ],
)
def test_a_wrong_line_is_named_and_not_quoted(tmp_path: Path, line: str, reason: str) -> None:
    file = write(tmp_path, '{"text": "fine", "label": "a"}', line)
    with pytest.raises(BadInput, match="line 2") as refusal:
        read_records(file, SPEC)
    assert reason in str(refusal.value)
    assert "Smith" not in str(refusal.value)


def test_a_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "train.jsonl"
    file.write_bytes(b'{"text": "\xff", "label": "a"}\n')
    with pytest.raises(BadInput, match="line 1"):
        read_records(file, SPEC)


def test_an_empty_or_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="holds no record"):
        read_records(write(tmp_path, "", ""), SPEC)
    with pytest.raises(BadInput, match="cannot read the records"):
        read_records(tmp_path / "absent.jsonl", SPEC)
