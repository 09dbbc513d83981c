"""Counts facts that agree and stops at the first that does not."""

from contracts.verify.verdict import WrongFact

_MOST_CHARACTERS = 600


class Disagreement(Exception):
    """A fact is not what it should be."""

    def __init__(self, wrong: WrongFact) -> None:
        super().__init__(wrong.sentence)
        self.wrong = wrong


class Comparison:
    """The facts compared so far, and what could not be compared."""

    def __init__(self) -> None:
        self.facts_compared = 0
        self.facts_unchecked = 0
        self.notes: list[str] = []

    def same(
        self,
        fact: str,
        *,
        expected: object,
        found: object,
        round_number: int | None = None,
        node: str | None = None,
    ) -> None:
        """Count a fact that is as expected.

        Raises:
            Disagreement: it is not.
        """
        self.facts_compared += 1
        if expected != found:
            raise disagreement(fact, expected=expected, found=found, round_number=round_number, node=node)

    def unchecked(self, reason: str, *, facts: int = 1) -> None:
        """Count facts that could not be compared, and say why."""
        self.facts_unchecked += facts
        self.notes.append(reason)


def disagreement(
    fact: str, *, expected: object, found: object, round_number: int | None = None, node: str | None = None
) -> Disagreement:
    """The error that names a wrong fact."""
    return Disagreement(
        WrongFact(fact=fact, round=round_number, node=node, expected=_text(expected), found=_text(found))
    )


def _text(value: object) -> str:
    if value is None:
        return "absent"
    text = str(list(value)) if isinstance(value, tuple) else str(value)
    return text if len(text) <= _MOST_CHARACTERS else text[:_MOST_CHARACTERS] + " …"
