"""What the conductor writes down about time and bytes: one JSON line for each answered request."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class JournalEntry:
    """One request and its answer: ``seconds`` from asking to answer, ``node_seconds`` of the node's steps."""

    task: int
    round: int
    stage: str
    node: str
    seconds: float
    bytes_to_nodes: int
    bytes_from_nodes: int
    node_seconds: dict[str, float]


class Journal(Protocol):
    """Takes entries."""

    def write(self, entry: JournalEntry) -> None:
        """Append one entry."""


class JournalFile:
    """A journal in a JSONL file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, entry: JournalEntry) -> None:
        line = json.dumps(asdict(entry)) + "\n"
        with self._path.open("a", encoding="utf-8") as file:
            file.write(line)


class NoJournal:
    """A journal that nobody asked for."""

    def write(self, entry: JournalEntry) -> None:
        """Drop the entry."""
