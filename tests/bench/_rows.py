"""One measured figure and the target it has to reach."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """``value`` in ``unit`` against ``target``; ``how`` says what was measured and how."""

    name: str
    value: float
    unit: str
    target: float
    met: bool
    how: str

    @classmethod
    def at_most(cls, name: str, value: float, unit: str, target: float, how: str) -> "Row":
        """A figure that has to be at most ``target``."""
        return cls(name, round(value, 4), unit, target, value <= target, how)

    @classmethod
    def at_least(cls, name: str, value: float, unit: str, target: float, how: str) -> "Row":
        """A figure that has to be at least ``target``."""
        return cls(name, round(value, 4), unit, target, value >= target, how)

    def __str__(self) -> str:
        verdict = "met" if self.met else "MISSED"
        figure = f"{self.value:10.3f} {self.unit:5} target {self.target:<7.4g}"
        return f"{self.name:30} {figure} {verdict:6} {self.how}"
