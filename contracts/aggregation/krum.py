"""Krum: the one contribution that is nearest to its neighbours."""

from collections.abc import Sequence

from contracts.aggregation.mean import mean
from contracts.aggregation.reductions import squared_distances
from contracts.manifest import FloatArray, Tensors


def krum(adapters_N: Sequence[Tensors], byzantine: int) -> dict[str, FloatArray]:
    """The contribution with the least Krum score, with every −0 made +0.

    Blanchard et al. 2017, "Machine Learning with Adversaries" (NeurIPS; arXiv:1703.02757). The proof needs
    N > 2 · byzantine + 2; with fewer contributions the rule goes on as ``ranking`` says and promises nothing.

    Raises:
        NotFinite: a contribution holds NaN or an infinity.
    """
    return mean([adapters_N[ranking(adapters_N, byzantine)[0]]])


def ranking(adapters_N: Sequence[Tensors], byzantine: int) -> list[int]:
    """Places of the N contributions from the best Krum score to the worst, ties by place.

    A score is the sum of the squared distances to the N − byzantine − 2 nearest others, at least one of
    them (0 where there is no other), added from the nearest on in float64. So two contributions tie, and the
    first of them by node wins.

    Raises:
        NotFinite: a contribution holds NaN or an infinity.
    """
    count = len(adapters_N)
    distances_NN = squared_distances(adapters_N)
    neighbours = max(1, count - byzantine - 2)
    scores: list[float] = []
    for place in range(count):
        others = sorted(float(distances_NN[place, other]) for other in range(count) if other != place)
        score = 0.0
        for distance in others[:neighbours]:
            score += distance
        scores.append(score)
    return sorted(range(count), key=lambda place: (scores[place], place))
