"""What a verification found, for people and for JSON."""

from pydantic import BaseModel, ConfigDict


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class WrongFact(_Part):
    """The first fact that differs from what everybody can recompute."""

    fact: str
    round: int | None
    node: str | None
    expected: str
    found: str

    @property
    def sentence(self) -> str:
        """The fact in one sentence."""
        where = f"round {self.round}: " if self.round is not None else ""
        whose = f" of {self.node}" if self.node is not None else ""
        return f"{where}{self.fact}{whose} should be {self.expected}, but is {self.found}"


class RoundVerdict(_Part):
    """One round that was checked in full, or as far as it has gone."""

    round: int
    phase: str
    parent_digest: str
    aggregate_digest: str | None
    eligible: int
    proposals: int
    accepted: int
    reveals: int
    attested: int
    paid: int
    """Base units of the token."""
    was_paused: bool
    """Whether the round was aborted because the council paused the task."""
    faults: int = 0


class Verdict(_Part):
    """The outcome of verifying one task."""

    task: int
    block: int
    """The height that was verified."""
    token_decimals: int
    ok: bool
    facts_compared: int
    facts_unchecked: int
    """Facts that could not be checked; ``notes`` say why."""
    rounds: tuple[RoundVerdict, ...]
    wrong: WrongFact | None
    notes: tuple[str, ...]
    """What could not be checked, and why that is no fault."""
