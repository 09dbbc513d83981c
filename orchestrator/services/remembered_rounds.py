"""The rounds that messages are checked against: loaded once for every block that is indexed.

A round has hundreds of rows, and in a phase everybody speaks at once. Nothing of it changes without the last
indexed block, but for a projection that was wrong and is built again: until the next block such a round is
remembered as it was, and the contract has the last word on every message anyway.
"""

from dataclasses import dataclass, field
from threading import Lock

from orchestrator.domain.chain import Block
from orchestrator.domain.ports import Unit
from orchestrator.domain.state import RoundState


@dataclass
class _AtBlock:
    block: Block | None
    rounds: dict[tuple[int, int], RoundState | None] = field(default_factory=dict)
    accepted: dict[int, frozenset[str]] = field(default_factory=dict)
    loading: Lock = field(default_factory=Lock)
    """Who needs what another thread is loading waits for that, and does not load it too."""


class RememberedRounds:
    """Rounds and accepted adapters as of the block that a unit sees; threads may share it."""

    def __init__(self) -> None:
        self._memory = _AtBlock(None)

    def round(self, unit: Unit, task: int, round_number: int) -> RoundState | None:
        """A round; None when the chain has none."""
        memory, key = self._as_seen_by(unit), (task, round_number)
        with memory.loading:
            if key not in memory.rounds:
                memory.rounds[key] = unit.projection.round(task, round_number)
            return memory.rounds[key]

    def accepted_digests(self, unit: Unit, task: int) -> frozenset[str]:
        """Adapters that final rounds of a task accepted."""
        memory = self._as_seen_by(unit)
        with memory.loading:
            if task not in memory.accepted:
                memory.accepted[task] = unit.projection.accepted_digests(task)
            return memory.accepted[task]

    def _as_seen_by(self, unit: Unit) -> _AtBlock:
        # A unit sees one state, so what it loads belongs to the block that it sees.
        memory, block = self._memory, unit.projection.last_block()
        if memory.block != block:
            memory = self._memory = _AtBlock(block)
        return memory
