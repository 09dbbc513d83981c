"""RPC endpoints held against one another: which of them lags, lies or is silent."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

MOST_LAG_BLOCKS = 5
"""Blocks that one endpoint may be behind another: they hear of a new one at different times."""


class ChainWitness(Protocol):
    """One RPC endpoint, asked by itself."""

    @property
    def name(self) -> str:
        """What it is called in the log and to operators."""

    def chain_id(self) -> int:
        """The chain that it belongs to. Raises ChainError."""

    def head(self) -> int:
        """The height of its newest block. Raises ChainError."""

    def accounts(self, first_block: int, last_block: int) -> Mapping[int, str]:
        """For every block of a range, a digest of what it says of it. Raises ChainError."""


@dataclass(frozen=True)
class Sighting:
    """What an endpoint said; ``accounts`` of blocks that all the others have, and that are final."""

    name: str
    chain_id: int | None = None
    head: int | None = None
    accounts: Mapping[int, str] = field(default_factory=dict)
    error: str | None = None


@dataclass(frozen=True)
class Verdict:
    """An endpoint when it was last looked at; ``fault`` is a sentence, None when nothing is wrong.

    ``is_disputed``: it contradicts another on a final block, and nobody here can say which of them is right.
    """

    name: str
    head: int | None
    checked_unix_s: int
    fault: str | None
    is_disputed: bool = False


def judge(sightings: Sequence[Sighting], chain_id: int, now_unix_s: int) -> tuple[Verdict, ...]:
    """What is wrong with each endpoint."""
    heads = [each.head for each in sightings if each.chain_id == chain_id and each.head is not None]
    disputed = first_dispute(sightings)
    verdicts = []
    for each in sightings:
        fault = _own_fault(each, chain_id, max(heads, default=0))
        is_disputed = fault is None and disputed is not None and disputed in each.accounts
        if is_disputed:
            fault = f"the {each.name} contradicts another on block {disputed}, which is final"
        verdicts.append(Verdict(each.name, each.head, now_unix_s, fault, is_disputed))
    return tuple(verdicts)


def first_dispute(sightings: Sequence[Sighting]) -> int | None:
    """The lowest block on which two endpoints differ."""
    said: dict[int, set[str]] = {}
    for each in sightings:
        for number, account in each.accounts.items():
            said.setdefault(number, set()).add(account)
    return min((number for number, accounts in said.items() if len(accounts) > 1), default=None)


def _own_fault(sighting: Sighting, chain_id: int, highest: int) -> str | None:
    name = sighting.name
    if sighting.chain_id is not None and sighting.chain_id != chain_id:
        return f"the {name} is chain {sighting.chain_id}, the deployment's is {chain_id}"
    if sighting.error is not None or sighting.head is None:
        return f"the {name} does not answer as it should"
    if sighting.head + MOST_LAG_BLOCKS < highest:
        return f"the {name} is {highest - sighting.head} blocks behind another"
    return None
