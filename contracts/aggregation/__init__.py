"""The arithmetic every party must reproduce bit for bit, one rule a file.

A rule gets arrays and gives arrays; reading files is the caller's work. Whatever the rule, the order
is ascending by node address, equal digests count once, and a result that is not finite is refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from contracts.aggregation.mean import mean
from contracts.errors import NotFinite
from contracts.manifest import FloatArray, Tensors
from contracts.task import AggregationRule


@dataclass(frozen=True)
class Contribution:
    """One node's adapter in an aggregate: node address text, adapter digest, tensors."""

    node: str
    digest: str
    tensors: Tensors


def aggregate(rule: AggregationRule, contributions: Sequence[Contribution]) -> dict[str, FloatArray]:
    """The aggregate of ``contributions`` under the task's rule; same names, shapes and dtypes.

    Raises:
        ValueError: there is nothing to aggregate, or a node contributes twice.
        NotFinite: the result holds NaN or an infinity after the cast.
    """
    distinct = _distinct_in_node_order(contributions)
    if not distinct:
        raise ValueError("nothing to aggregate")
    result: dict[str, FloatArray] = {}
    for name in sorted(distinct[0].tensors):
        layers = [contribution.tensors[name] for contribution in distinct]
        match rule:
            case "mean":
                combined = mean(layers)
        if not np.isfinite(combined).all():
            raise NotFinite(f"the aggregate's tensor {name} is not finite")
        result[name] = combined
    return result


def _distinct_in_node_order(contributions: Sequence[Contribution]) -> list[Contribution]:
    ordered = sorted(contributions, key=lambda contribution: int(contribution.node, 16))
    nodes = [contribution.node.lower() for contribution in ordered]
    if len(set(nodes)) != len(nodes):
        raise ValueError("a node contributes at most once to an aggregate")
    first_of_digest: dict[str, Contribution] = {}
    for contribution in ordered:
        first_of_digest.setdefault(contribution.digest, contribution)
    return list(first_of_digest.values())
