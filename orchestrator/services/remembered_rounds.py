"""The rounds that messages are checked against: loaded once for every block that is indexed.

A round has hundreds of rows, and in a phase everybody speaks at once. Nothing of it changes without the last
indexed block, but for a projection that was wrong and is built again: until the next block such a round is
remembered as it was, and the contract has the last word on every message anyway.
"""

from dataclasses import dataclass, field

from orchestrator.domain.chain import Block
from orchestrator.domain.ports import Unit
from orchestrator.domain.state import RoundState


@dataclass
class _AtBlock:
    block: Block | None
    rounds: dict[tuple[int, int], RoundState | None] = field(default_factory=dict)
    accepted: dict[int, frozenset[str]] = field(default_factory=dict)


class RememberedRounds:
    """Rounds and accepted adapters as of the block that a unit sees; threads may share it."""

    def __init__(self) -> None:
        self._memory = _AtBlock(None)

    def round(self, unit: Unit, task: int, round_number: int) -> RoundState | None:
        """A round; None when the chain has none."""
        rounds, key = self._as_seen_by(unit).rounds, (task, round_number)
        if key not in rounds:
            rounds[key] = unit.projection.round(task, round_number)
        return rounds[key]

    def accepted_digests(self, unit: Unit, task: int) -> frozenset[str]:
        """Adapters that final rounds of a task accepted."""
        accepted = self._as_seen_by(unit).accepted
        if task not in accepted:
            accepted[task] = unit.projection.accepted_digests(task)
        return accepted[task]

    def _as_seen_by(self, unit: Unit) -> _AtBlock:
        # A unit sees one state, so what it loads belongs to the block that it sees.
        memory, block = self._memory, unit.projection.last_block()
        if memory.block != block:
            memory = self._memory = _AtBlock(block)
        return memory
