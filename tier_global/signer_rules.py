"""The signer's own rules: what it signs is a message of a round that it sees on chain itself, and only one.

Invariants, whatever asks and whatever is killed when:

* every signed message is this node's, of the task, round, context and phase that the chain has now, in a role
  that the node was drawn for, of a task that it approves;
* of each kind, task, round and context one message is signed; the same one again, as often as it is asked;
* what is signed is on disk before the signature leaves.

Not here: whether an adapter or a score is good. That is the node's work, and the other voters'.
"""

import logging
import sqlite3
from pathlib import Path
from typing import Self

from contracts.digests import digest_text
from contracts.messages import Commit, Domain, Proposal
from contracts.phase import Phase
from tier_global.chain_view import ChainView
from tier_global.clock import Clock
from tier_global.errors import NodeRefusal
from tier_global.node_checks import NodeChecks
from tier_global.phases import PHASE_OF, Stage
from tier_global.signing import RoundMessage, Signer

_SCHEMA = """
CREATE TABLE IF NOT EXISTS signed (
    kind TEXT NOT NULL,
    task INTEGER NOT NULL,
    round INTEGER NOT NULL,
    context TEXT NOT NULL,
    digest TEXT NOT NULL,
    PRIMARY KEY (kind, task, round, context)
) WITHOUT ROWID
"""
_BUSY_TIMEOUT_S = 10.0

log = logging.getLogger("collegium.signer")


class SignedRecord:
    """Which message was signed, in one SQLite file that survives any crash."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._connection = sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S, isolation_level=None)
        path.chmod(0o600)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute(_SCHEMA)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._connection.close()

    def keep(self, message: RoundMessage, digest: str) -> str:
        """Keep a message's digest unless there is one already; the one that is kept, durably."""
        key = (type(message).__name__, message.task, message.round, message.context)
        self._connection.execute(
            "INSERT INTO signed VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", (*key, digest)
        )
        row = self._connection.execute(
            "SELECT digest FROM signed WHERE kind = ? AND task = ? AND round = ? AND context = ?", key
        ).fetchone()
        kept: str = row[0]
        return kept


class RuledSigner:
    """A signer that asks the chain first, and signs once."""

    def __init__(
        self, signer: Signer, domain: Domain, chain: ChainView, clock: Clock, record: SignedRecord
    ) -> None:
        self._signer = signer
        self._domain = domain
        self._chain = chain
        self._clock = clock
        self._record = record
        self._checks = NodeChecks(signer.node, chain, clock)

    @property
    def node(self) -> str:
        return self._signer.node

    def address(self) -> str:
        return self._signer.address()

    def sign(self, message: RoundMessage) -> str:
        """Sign a message that the rules permit. Raises NodeRefusal, ChainUnavailable."""
        self._require_its_round(message)
        digest = digest_text(message.digest(self._domain))
        try:
            kept = self._record.keep(message, digest)
        except sqlite3.Error as error:
            log.warning("the record of what was signed: %s", error)
            raise NodeRefusal("signer_unavailable", "what is signed cannot be written down") from error
        if kept != digest:
            raise NodeRefusal(
                "signed_another",
                f"another {type(message).__name__.lower()} was signed for round {message.round} "
                f"of task {message.task}",
            )
        return self._signer.sign(message)

    def identify(self, task: int, round_number: int, challenge: str) -> str:
        """Say who the node is in a round that is open. Raises NodeRefusal, ChainUnavailable."""
        phase = self._chain.round(task, round_number).phase
        if phase is Phase.NONE or phase.closed:
            raise NodeRefusal("wrong_phase", f"round {round_number} of task {task} is not open")
        return self._signer.identify(task, round_number, challenge)

    def _require_its_round(self, message: RoundMessage) -> None:
        if message.node != self.node:
            raise NodeRefusal("foreign_node", f"this signs for {self.node}, not for {message.node}")
        facts = self._chain.round(message.task, message.round)
        wanted = PHASE_OF[_stage(message)]
        if facts.phase is not wanted:
            raise NodeRefusal("wrong_phase", f"the round is in phase {facts.phase.label}, not {wanted.label}")
        if self._clock.now_unix_s() > facts.deadline_unix_s:
            raise NodeRefusal("too_late", f"the deadline of phase {wanted.label} has passed")
        if message.context != facts.context:
            raise NodeRefusal("wrong_context", "the message's context is not the round's")
        if isinstance(message, Proposal):
            self._checks.require_drawn(facts.proposers, "proposer")
            if message.parent_digest != facts.parent_digest:
                raise NodeRefusal("wrong_parent", "the proposal's parent is not the round's")
        else:
            self._checks.require_drawn(facts.voters, "voter")
        if self.node not in self._chain.task(message.task).approved:
            raise NodeRefusal("not_approved", f"{self.node} has not approved task {message.task}")
        self._checks.require_signing_key(self.address())


def _stage(message: RoundMessage) -> Stage:
    if isinstance(message, Proposal):
        return Stage.TRAIN
    return Stage.COMMIT if isinstance(message, Commit) else Stage.ATTEST
