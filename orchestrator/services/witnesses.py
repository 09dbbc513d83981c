"""Holds the RPC endpoints against one another, notes what is wrong, and has the sound ones asked first."""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from orchestrator.domain.chain import ChainError
from orchestrator.domain.ports import Clock, Records
from orchestrator.domain.witnesses import ChainWitness, Sighting, Verdict, first_dispute, judge

CHECKED_EVERY_S = 10
_MOST_BLOCKS = 50
"""Compared in one look, the newest when there are more."""

logger = logging.getLogger(__name__)


@dataclass
class Witnesses:
    """The endpoints of the chain ``chain_id``; ``avoid`` is told which of them to ask last."""

    records: Records
    clock: Clock
    witnesses: Sequence[ChainWitness]
    chain_id: int
    confirmations: int
    avoid: Callable[[Iterable[str]], None]
    _checked_unix_s: int | None = field(default=None, init=False)
    _agreed_to: int = field(default=-1, init=False)
    _told: dict[str, str | None] = field(default_factory=dict, init=False)

    def run_once(self) -> None:
        """Look at all endpoints, if it is time to."""
        now_unix_s = self.clock.now_unix_s()
        last = self._checked_unix_s
        # Also when the clock was set back.
        if last is not None and last <= now_unix_s < last + CHECKED_EVERY_S:
            return
        self._checked_unix_s = now_unix_s
        verdicts = judge(self._sightings(), self.chain_id, now_unix_s)
        self.avoid(each.name for each in verdicts if each.fault is not None and not each.is_disputed)
        for verdict in verdicts:
            if self._told.get(verdict.name) != verdict.fault:
                logger.warning("%s", verdict.fault or f"the {verdict.name} is sound again")
            self._told[verdict.name] = verdict.fault
        with self.records.write() as unit:
            unit.witnesses.replace(verdicts)

    def _sightings(self) -> list[Sighting]:
        asked = [self._seen(witness) for witness in self.witnesses]
        sound = [
            witness
            for witness, each in zip(self.witnesses, asked, strict=True)
            if each.error is None and each.chain_id == self.chain_id
        ]
        heads = [each.head for each in asked if each.head is not None and each.chain_id == self.chain_id]
        last = min(heads, default=-1) - self.confirmations
        first = max(self._agreed_to + 1, last - _MOST_BLOCKS + 1, 0)
        if len(sound) < 2 or first > last:
            return asked
        found = [self._heard(each, sound, first, last) for each in asked]
        dispute = first_dispute(found)
        # What they differ on is looked at again until they agree.
        self._agreed_to = last if dispute is None else dispute - 1
        return found

    def _seen(self, witness: ChainWitness) -> Sighting:
        chain_id = None
        try:
            chain_id = witness.chain_id()
            return Sighting(witness.name, chain_id, witness.head())
        except ChainError as error:
            return Sighting(witness.name, chain_id, error=str(error))

    def _heard(self, seen: Sighting, sound: Sequence[ChainWitness], first: int, last: int) -> Sighting:
        witness = next((each for each in sound if each.name == seen.name), None)
        if witness is None:
            return seen
        try:
            return replace(seen, accounts=dict(witness.accounts(first, last)))
        except ChainError as error:
            return replace(seen, error=str(error))


def sentences(verdicts: Sequence[Verdict]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What stands in the way of work, and what an operator should know."""
    faulty = [each for each in verdicts if each.fault is not None]
    grave = [each for each in faulty if each.is_disputed or len(faulty) == len(verdicts)]
    return (
        tuple(each.fault for each in grave if each.fault is not None),
        tuple(each.fault for each in faulty if each.fault is not None and each not in grave),
    )
