"""Multi-Krum: the mean of the contributions that Krum ranks best."""

from collections.abc import Sequence

from contracts.aggregation.krum import ranking
from contracts.aggregation.weighted_mean import weighted_mean
from contracts.manifest import FloatArray, Tensors


def multi_krum(
    adapters_N: Sequence[Tensors], weights_N: Sequence[int], byzantine: int, keep: int
) -> dict[str, FloatArray]:
    """The weighted mean of the ``keep`` contributions with the least Krum scores, in their own order.

    Blanchard et al. 2017 (arXiv:1703.02757), section 4; scored once, as they do. With too few contributions
    it keeps N − byzantine of them, at least one, so that a round that lost honest proposals does not average
    in what a full round would have left out.

    Raises:
        NotFinite: a contribution or the result holds NaN or an infinity.
    """
    kept = max(1, min(keep, len(adapters_N) - byzantine))
    places = sorted(ranking(adapters_N, byzantine)[:kept])
    return weighted_mean([adapters_N[place] for place in places], [weights_N[place] for place in places])
