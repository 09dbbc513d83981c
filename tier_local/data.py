"""A hospital's records: JSON lines with ``text`` and ``label``, checked line by line.

Errors name the file and the line and say what is wrong with it; they never quote a record, because
they leave the hospital.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, StrictStr, ValidationError

from contracts.task import DataSpec
from tier_local.errors import BadInput

TRAINING_FILE = "train.jsonl"
HELDOUT_FILE = "heldout.jsonl"
MAX_RECORD_BYTES = 1 << 20


@dataclass(frozen=True)
class Record:
    """One question to the model (``text``) and its answer, as an index into the task's labels."""

    text: str
    label: int


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    text: StrictStr
    label: StrictStr


def read_records(path: Path, spec: DataSpec) -> tuple[Record, ...]:
    """All records of the file at ``path``, in the file's order; empty lines are skipped.

    Raises:
        BadInput: the file is missing or holds no record, or a line is not a record of the task.
    """
    label_index = {label: index for index, label in enumerate(spec.labels)}
    try:
        with path.open("rb") as lines:
            records = tuple(
                _record(line, f"{path} line {number}", label_index)
                for number, line in enumerate(lines, start=1)
                if line.strip()
            )
    except OSError as error:
        raise BadInput(f"cannot read the records {path}: {error.strerror}") from error
    if not records:
        raise BadInput(f"{path} holds no record")
    return records


def _record(line: bytes, where: str, label_index: Mapping[str, int]) -> Record:
    if len(line) > MAX_RECORD_BYTES:
        raise BadInput(f"{where}: a record has at most {MAX_RECORD_BYTES} bytes")
    try:
        parsed = _Line.model_validate_json(line)
    except ValidationError as error:
        first = error.errors(include_input=False, include_context=False)[0]
        # An unknown key is the record's own text, so the error shows known field names only.
        field = next((str(part) for part in first["loc"] if part in _Line.model_fields), "the line")
        # The reason behind a JSON error quotes the line, so it is said in our own words.
        reason = "not JSON" if first["type"] == "json_invalid" else first["msg"]
        raise BadInput(f"{where}: {field}: {reason}") from None
    if not parsed.text.strip():
        raise BadInput(f"{where}: text: empty")
    label = label_index.get(parsed.label)
    if label is None:
        raise BadInput(f"{where}: label: not one of the task's labels")
    return Record(text=parsed.text, label=label)
