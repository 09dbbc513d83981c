"""Claims: facts that a replay found, written down in the order in which things happened, compared later."""

from dataclasses import dataclass

from contracts.verify.round_log import RoundKey


@dataclass(frozen=True)
class Claim:
    """A fact that the replay found: what follows from earlier events, and what is stated."""

    fact: str
    expected: object
    found: object
    round_number: int | None
    node: str | None
    is_known: bool = True
    """Whether what it takes to know it was there."""


class Claims:
    """The claims of one replay; those about rounds of other tasks than ``task`` say so in their words."""

    def __init__(self, task: int) -> None:
        self.all: list[Claim] = []
        self._task = task

    def add(
        self,
        fact: str,
        expected: object,
        found: object,
        *,
        where: RoundKey | None = None,
        node: str | None = None,
        is_known: bool = True,
    ) -> None:
        """Write down a fact; ``where`` is the round that it is about."""
        round_number = None
        if where is not None and where[0] == self._task:
            round_number = where[1]
        elif where is not None:
            fact += f" (task {where[0]}, round {where[1]})"
        self.all.append(Claim(fact, expected, found, round_number, node, is_known))

    def add_time(
        self,
        fact: str,
        now: int | None,
        after_s: int,
        found: int,
        *,
        where: RoundKey | None = None,
        node: str | None = None,
    ) -> None:
        """Write down a time that is ``after_s`` after the event's."""
        expected = None if now is None else now + after_s
        self.add(fact, expected, found, where=where, node=node, is_known=now is not None)
