"""The contributions of a round and their aggregate: what holds for every rule."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from contracts.aggregation.blocks import require_ieee_arithmetic
from contracts.aggregation.coordinate_median import coordinate_median
from contracts.aggregation.geometric_median import geometric_median
from contracts.aggregation.krum import krum
from contracts.aggregation.mean import mean
from contracts.aggregation.multi_krum import multi_krum
from contracts.aggregation.norm_clipped_mean import norm_clipped_mean
from contracts.aggregation.spec import (
    AggregationRule,
    CoordinateMedian,
    GeometricMedian,
    Krum,
    Mean,
    MultiKrum,
    NormClippedMean,
    TrimmedMean,
    WeightedMean,
)
from contracts.aggregation.trimmed_mean import trimmed_mean
from contracts.aggregation.weighted_mean import weighted_mean
from contracts.errors import TensorMissing, TensorUnexpected, WrongDtype, WrongShape
from contracts.manifest import FloatArray, Tensors

MAX_WEIGHT = 1 << 29
"""Weights stay below this: their products with a float32 are then exact in float64."""


@dataclass(frozen=True)
class Contribution:
    """One node's adapter in an aggregate: node address text, adapter digest, tensors, weight.

    Rules that know no weights ignore ``weight``. Where all weights are 0, all count the same.
    """

    node: str
    digest: str
    tensors: Tensors
    weight: int = 1


def aggregate(
    rule: AggregationRule, contributions: Sequence[Contribution], *, parent: Tensors
) -> dict[str, FloatArray]:
    """The aggregate of ``contributions`` under the task's rule; same names, shapes and dtypes.

    ``parent`` is the adapter the contributions were trained from; rules about updates measure from it.
    The order in which contributions come does not matter. Of equal digests the first node's counts, with
    the least of their weights. Fewer contributions than the rule asks for are no error: each rule says
    what it does then.

    Raises:
        ValueError: there is nothing to aggregate, a node contributes twice, or a weight is out of range.
        InvalidAdapter: names, shapes or dtypes differ from the parent's, or a contribution or the result
            holds NaN or an infinity.
        BrokenArithmetic: this process does not compute as IEEE 754 says.
    """
    require_ieee_arithmetic()
    distinct = _distinct_in_node_order(contributions)
    if not distinct:
        raise ValueError("nothing to aggregate")
    for contribution in distinct:
        _require_alike(contribution.tensors, parent)
    adapters_N = [contribution.tensors for contribution in distinct]
    weights_N = [contribution.weight for contribution in distinct]
    match rule:
        case Mean():
            return mean(adapters_N)
        case WeightedMean():
            return weighted_mean(adapters_N, weights_N)
        case CoordinateMedian():
            return coordinate_median(adapters_N)
        case TrimmedMean(trim=trim):
            return trimmed_mean(adapters_N, trim)
        case NormClippedMean(max_norm_millionths=max_norm_millionths):
            return norm_clipped_mean(adapters_N, weights_N, parent, max_norm_millionths)
        case Krum(byzantine=byzantine):
            return krum(adapters_N, byzantine)
        case MultiKrum(byzantine=byzantine, keep=keep):
            return multi_krum(adapters_N, weights_N, byzantine, keep)
        case GeometricMedian(iterations=iterations, smoothing_millionths=smoothing_millionths):
            return geometric_median(adapters_N, weights_N, iterations, smoothing_millionths)


def _distinct_in_node_order(contributions: Sequence[Contribution]) -> list[Contribution]:
    ordered = sorted(contributions, key=lambda contribution: int(contribution.node, 16))
    nodes = [int(contribution.node, 16) for contribution in ordered]
    if len(set(nodes)) != len(nodes):
        raise ValueError("a node contributes at most once to an aggregate")
    distinct: dict[str, Contribution] = {}
    for contribution in ordered:
        if not 0 <= contribution.weight < MAX_WEIGHT:
            raise ValueError(f"a weight is at least 0 and below {MAX_WEIGHT}")
        first = distinct.setdefault(contribution.digest, contribution)
        if contribution.weight < first.weight:
            distinct[contribution.digest] = replace(first, weight=contribution.weight)
    return list(distinct.values())


def _require_alike(tensors: Tensors, parent: Tensors) -> None:
    for name in sorted(parent.keys() - tensors.keys()):
        raise TensorMissing(f"tensor {name} is missing in a contribution")
    for name in sorted(tensors.keys() - parent.keys()):
        raise TensorUnexpected(f"tensor {name[:80]!r} of a contribution is not in the parent")
    for name, array in tensors.items():
        if array.shape != parent[name].shape:
            raise WrongShape(f"tensor {name} has shape {array.shape}, in the parent {parent[name].shape}")
        if array.dtype != parent[name].dtype:
            raise WrongDtype(f"tensor {name} is {array.dtype}, in the parent {parent[name].dtype}")
