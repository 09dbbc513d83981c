"""The node's memory: what it has answered, and refused, in one SQLite file, kept through any restart.

Preserved whatever is killed when:

* an answer is stored before it leaves the node; the salt of a vote is stored before its commitment leaves;
* an answer, once stored, never changes: a second one for the same key is dropped and the first is given back.

Messages are kept without signatures: each is signed when it leaves, by the key that the node then has.

An answer is keyed (task, round, kind, context): after a chain reorganisation the same round can come
again with another context, and that is another question.
"""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict

from contracts.digests import Digest
from contracts.messages import Attestation, Commit, Proposal, Reveal

Kind = Literal["proposal", "vote", "attestation"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (
    task INTEGER NOT NULL,
    round INTEGER NOT NULL,
    kind TEXT NOT NULL,
    context TEXT NOT NULL,
    body TEXT NOT NULL,
    stored_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    PRIMARY KEY (task, round, kind, context)
) WITHOUT ROWID
"""
_REFUSED_SCHEMA = """
CREATE TABLE IF NOT EXISTS refused_bundles (
    digest TEXT PRIMARY KEY,
    messages INTEGER NOT NULL,
    refused_at TEXT NOT NULL
) WITHOUT ROWID
"""
MOST_REFUSED_BUNDLES = 50
"""So many refused bundles are remembered, the newest: a hub can make up as many as it likes."""
_BUSY_TIMEOUT_S = 10.0


class _Stored(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class StoredProposal(_Stored):
    """A finished training: the proposal and its report. The adapter lies in the round's folder."""

    proposal: Proposal
    report: str
    seconds: Mapping[str, float]


class StoredVote(_Stored):
    """A finished scoring: the opening, and every loss that was measured (NaN included), by adapter digest."""

    commit: Commit
    reveal: Reveal
    losses_nats: Mapping[Digest, float]
    seconds: Mapping[str, float]


class StoredAttestation(_Stored):
    """An attestation."""

    attestation: Attestation
    seconds: Mapping[str, float]


Stored = TypeVar("Stored", StoredProposal, StoredVote, StoredAttestation)

_KIND: dict[type[_Stored], Kind] = {
    StoredProposal: "proposal",
    StoredVote: "vote",
    StoredAttestation: "attestation",
}


class NodeRecord:
    """The record in one file. Several processes may use it at once."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._connection = sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S, isolation_level=None)
        path.chmod(0o600)  # it holds salts
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute(_SCHEMA)
        self._connection.execute(_REFUSED_SCHEMA)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def find(self, model: type[Stored], task: int, round_number: int, context: str) -> Stored | None:
        """The answer of this kind, or None."""
        row = self._connection.execute(
            "SELECT body FROM answers WHERE task = ? AND round = ? AND kind = ? AND context = ?",
            (task, round_number, _KIND[model], context),
        ).fetchone()
        return None if row is None else model.model_validate_json(row[0])

    def keep(self, answer: Stored, task: int, round_number: int, context: str) -> Stored:
        """Store ``answer`` unless there is one already; returns the one that is stored, durably."""
        with self._transaction():
            self._connection.execute(
                "INSERT INTO answers (task, round, kind, context, body) VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT DO NOTHING",
                (task, round_number, _KIND[type(answer)], context, answer.model_dump_json()),
            )
            stored = self.find(type(answer), task, round_number, context)
        assert stored is not None
        return stored

    def losses_nats(self, task: int, round_number: int) -> dict[str, float]:
        """Every loss that was measured for the votes of a round, by adapter digest."""
        rows = self._connection.execute(
            "SELECT body FROM answers WHERE task = ? AND round = ? AND kind = 'vote'", (task, round_number)
        )
        losses_nats: dict[str, float] = {}
        for (body,) in rows:
            losses_nats.update(StoredVote.model_validate_json(body).losses_nats)
        return losses_nats

    def answered(self) -> list[tuple[int, int, Kind, str]]:
        """(task, round, kind, time) of every answer, in order of time; for people."""
        rows = self._connection.execute("SELECT task, round, kind, stored_at FROM answers ORDER BY stored_at")
        return [(task, round_number, kind, stored_at) for task, round_number, kind, stored_at in rows]

    def note_refused_bundle(self, digest: str) -> None:
        """Take note of a message that was refused because of the bundle of its run; for people."""
        with self._transaction():
            self._connection.execute(
                "INSERT INTO refused_bundles VALUES (?, 1, strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))"
                " ON CONFLICT (digest) DO UPDATE SET"
                " messages = messages + 1, refused_at = excluded.refused_at",
                (digest,),
            )
            self._connection.execute(
                "DELETE FROM refused_bundles WHERE digest NOT IN"
                " (SELECT digest FROM refused_bundles ORDER BY refused_at DESC, digest LIMIT ?)",
                (MOST_REFUSED_BUNDLES,),
            )

    def refused_bundles(self) -> list[tuple[str, int, str]]:
        """(digest, messages, time of the last one) of the refused bundles, in order of time; for people."""
        rows = self._connection.execute(
            "SELECT digest, messages, refused_at FROM refused_bundles ORDER BY refused_at, digest"
        )
        return [(digest, messages, refused_at) for digest, messages, refused_at in rows]

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")
