"""Names and parameters of the rules and outer optimisers, as a task spec carries them.

Every parameter is an integer, in a unit that its name gives, so that a spec has one canonical form and the
arithmetic starts from one number on every machine. What a rule does is in the file of its name; what it does
when a round has fewer contributions than ``least_contributions`` is said there too, because leave-one-out
scores and refused proposals make that an everyday case.
"""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

MAX_CONTRIBUTIONS = 16
"""The protocol's bound on the proposers of a round (``contracts.messages.MAX_PROPOSERS``)."""
MILLION = 1_000_000

Weights = Literal["equal", "improvement"]
"""How much each contribution counts: all the same, or in proportion to its positive median score."""

Millionths = Annotated[int, Field(ge=1, le=1_000 * MILLION)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    @property
    def least_contributions(self) -> int:
        """With fewer contributions than this, the rule does not do what its parameters promise."""
        return 1


class Mean(_Part):
    """The plain mean."""

    rule: Literal["mean"]


class WeightedMean(_Part):
    """The mean by weights; with ``equal`` it is the plain mean."""

    rule: Literal["weighted_mean"]
    weights: Weights = "improvement"


class CoordinateMedian(_Part):
    """The median of each coordinate."""

    rule: Literal["coordinate_median"]


class TrimmedMean(_Part):
    """The mean of each coordinate without its ``trim`` least and ``trim`` greatest values."""

    rule: Literal["trimmed_mean"]
    trim: Annotated[int, Field(ge=1, le=(MAX_CONTRIBUTIONS - 1) // 2)]

    @property
    def least_contributions(self) -> int:
        """One value has to be left."""
        return 2 * self.trim + 1


class NormClippedMean(_Part):
    """The mean of updates from the parent, each scaled down to an L2 norm of at most ``max_norm``."""

    rule: Literal["norm_clipped_mean"]
    max_norm_millionths: Annotated[int, Field(ge=1, le=1_000_000 * MILLION)]
    weights: Weights = "equal"


class Krum(_Part):
    """The one contribution that is nearest to its neighbours."""

    rule: Literal["krum"]
    byzantine: Annotated[int, Field(ge=0, le=(MAX_CONTRIBUTIONS - 3) // 2)]
    """How many contributions may be arbitrary."""

    @property
    def least_contributions(self) -> int:
        """Krum's proof needs 2 · byzantine + 2 < n."""
        return 2 * self.byzantine + 3


class MultiKrum(_Part):
    """The mean of the ``keep`` contributions that Krum ranks best."""

    rule: Literal["multi_krum"]
    byzantine: Annotated[int, Field(ge=0, le=(MAX_CONTRIBUTIONS - 3) // 2)]
    keep: Annotated[int, Field(ge=1, le=MAX_CONTRIBUTIONS)]
    weights: Weights = "equal"

    @model_validator(mode="after")
    def _keeps_no_more_than_the_honest(self) -> Self:
        if self.keep + self.byzantine > MAX_CONTRIBUTIONS:
            raise ValueError(
                f"keep and byzantine are together at most {MAX_CONTRIBUTIONS}, a round's most proposals"
            )
        return self

    @property
    def least_contributions(self) -> int:
        """As for Krum, and of those who are kept none has to be arbitrary."""
        return max(2 * self.byzantine + 3, self.keep + self.byzantine)


class GeometricMedian(_Part):
    """The point with the least weighted sum of L2 distances, by a fixed number of Weiszfeld steps."""

    rule: Literal["geometric_median"]
    iterations: Annotated[int, Field(ge=1, le=64)]
    smoothing_millionths: Millionths
    """Distances below this (in parameter units) count as this."""
    weights: Weights = "equal"


AggregationRule = Annotated[
    Mean
    | WeightedMean
    | CoordinateMedian
    | TrimmedMean
    | NormClippedMean
    | Krum
    | MultiKrum
    | GeometricMedian,
    Field(discriminator="rule"),
]


class _Optimiser(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class NoOuterOptimiser(_Optimiser):
    """The aggregate is the next parent."""

    name: Literal["none"] = "none"


class Momentum(_Optimiser):
    """Stochastic gradient descent with momentum over rounds."""

    name: Literal["momentum"]
    momentum_millionths: Annotated[int, Field(ge=0, lt=MILLION)]
    learning_rate_millionths: Annotated[int, Field(ge=1, le=10 * MILLION)]


class Nesterov(_Optimiser):
    """As ``Momentum``, with Nesterov's look-ahead."""

    name: Literal["nesterov"]
    momentum_millionths: Annotated[int, Field(ge=0, lt=MILLION)]
    learning_rate_millionths: Annotated[int, Field(ge=1, le=10 * MILLION)]


OuterOptimiser = Annotated[NoOuterOptimiser | Momentum | Nesterov, Field(discriminator="name")]


def weights_of(rule: AggregationRule) -> Weights:
    """How ``rule`` weighs contributions; rules that know no weights count all the same."""
    match rule:
        case WeightedMean() | NormClippedMean() | MultiKrum() | GeometricMedian():
            return rule.weights
        case _:
            return "equal"
