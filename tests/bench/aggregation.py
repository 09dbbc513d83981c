"""Our rules against flwr's own strategies on the same 16 adapters of 33.5 MB, in one process.

flwr gets what its ServerApp gets: replies with an ArrayRecord and the number of examples, here all the same.
What is timed is the strategy's ``aggregate_train``; ours is ``aggregate`` on arrays in memory. Both give a
whole new adapter.
"""

import logging
import tracemalloc
from collections.abc import Callable

import numpy as np
from flwr.app import Array, ArrayRecord, Message, Metadata, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAvg, FedMedian, FedTrimmedAvg, Krum

from contracts.aggregation import Contribution, aggregate
from contracts.aggregation import spec as rules
from contracts.aggregation.spec import AggregationRule
from contracts.manifest import FloatArray
from tests.bench._adapters import ADAPTERS, adapter
from tests.bench._rows import Row
from tests.bench._timing import Least, least_times

FAST_REPETITIONS = 15
SLOW_REPETITIONS = 2
BYZANTINE = 1
TRIM = 3
CUT_FRACTION = 0.2
"""int(0.2 · 16) = 3 on each side, flwr's default."""
MEGABYTE = 1_000_000

ALL_RULES: tuple[AggregationRule, ...] = (
    rules.Mean(rule="mean"),
    rules.WeightedMean(rule="weighted_mean"),
    rules.CoordinateMedian(rule="coordinate_median"),
    rules.TrimmedMean(rule="trimmed_mean", trim=TRIM),
    rules.NormClippedMean(rule="norm_clipped_mean", max_norm_millionths=1_000_000),
    rules.Krum(rule="krum", byzantine=BYZANTINE),
    rules.MultiKrum(rule="multi_krum", byzantine=BYZANTINE, keep=4),
    rules.GeometricMedian(rule="geometric_median", iterations=2, smoothing_millionths=1),
)


def run() -> list[Row]:
    """The rows of ``aggregation``."""
    logging.getLogger("flwr").setLevel(logging.ERROR)
    contributions = [Contribution(f"0x{n + 1:040x}", f"digest {n}", adapter(n)) for n in range(ADAPTERS)]
    arrays = [{name: Array(tensor) for name, tensor in each.tensors.items()} for each in contributions]
    copies = [{name: tensor.copy() for name, tensor in each.tensors.items()} for each in contributions]
    mean, _, median, trimmed, _, krum, _, _ = (ours(rule, contributions) for rule in ALL_RULES)
    fast = least_times(
        {
            "mean": mean,
            "copy": lambda: [tensor.copy() for each in contributions for tensor in each.tensors.values()],
            "overwrite": lambda: overwrite(contributions, copies),
            "FedAvg": lambda: theirs(FedAvg(), arrays),
        },
        FAST_REPETITIONS,
    )
    slow = least_times(
        {
            "median": median,
            "FedMedian": lambda: theirs(FedMedian(), arrays),
            "trimmed": trimmed,
            "FedTrimmedAvg": lambda: theirs(FedTrimmedAvg(beta=CUT_FRACTION), arrays),
            "krum": krum,
            "Krum": lambda: theirs(Krum(num_malicious_nodes=BYZANTINE), arrays),
        },
        SLOW_REPETITIONS,
    )
    times = fast | slow
    strict = times["mean"].wall_s / times["overwrite"].wall_s
    over_there = f"; over copying into arrays that are there already, {strict:.2f}"
    return [
        ratio("aggregation.mean.vs_flwr", times, "mean", "FedAvg", 1.0, FAST_REPETITIONS),
        ratio("aggregation.mean.vs_copy", times, "mean", "copy", 3.0, FAST_REPETITIONS, over_there),
        ratio("aggregation.median.vs_flwr", times, "median", "FedMedian", 1 / 8, SLOW_REPETITIONS),
        ratio("aggregation.trimmed.vs_flwr", times, "trimmed", "FedTrimmedAvg", 1 / 8, SLOW_REPETITIONS),
        ratio("aggregation.krum.vs_flwr", times, "krum", "Krum", 1 / 3, SLOW_REPETITIONS),
        extra_memory(contributions),
    ]


def overwrite(contributions: list[Contribution], copies: list[dict[str, FloatArray]]) -> None:
    """All the bytes that go into an aggregate, into arrays that are there already."""
    for each, target in zip(contributions, copies, strict=True):
        for name, tensor in each.tensors.items():
            np.copyto(target[name], tensor)


def ours(rule: AggregationRule, contributions: list[Contribution]) -> Callable[[], object]:
    """The rule on the contributions, to be called."""
    return lambda: aggregate(rule, contributions, parent=contributions[0].tensors)


def theirs(strategy: FedAvg, arrays: list[dict[str, Array]]) -> object:
    """flwr's strategy on fresh replies; some strategies empty the records they are given."""
    replies = [
        Message(
            metadata=Metadata(
                run_id=1,
                message_id=str(node),
                src_node_id=node,
                dst_node_id=0,
                reply_to_message_id="",
                group_id="",
                created_at=0.0,
                ttl=1.0,
                message_type="train",
            ),
            content=RecordDict(
                {
                    "arrays": ArrayRecord(dict(each)),
                    "metrics": MetricRecord({strategy.weighted_by_key: 100}),
                }
            ),
        )
        for node, each in enumerate(arrays)
    ]
    return strategy.aggregate_train(1, replies)


def ratio(
    name: str,
    times: dict[str, Least],
    our: str,
    their: str,
    target: float,
    repetitions: int,
    more: str = "",
) -> Row:
    """Our time over theirs."""
    how = f"{our} {times[our]}, {their} {times[their]}; wall times, least of {repetitions} interleaved{more}"
    return Row.at_most(name, times[our].wall_s / times[their].wall_s, "ratio", target, how)


def extra_memory(contributions: list[Contribution]) -> Row:
    """The most that any rule allocates at one time, above its inputs; its result is counted."""
    peaks_bytes = {}
    for rule in ALL_RULES:
        tracemalloc.start()
        aggregate(rule, contributions, parent=contributions[0].tensors)
        peaks_bytes[rule.rule] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    worst = max(peaks_bytes, key=lambda name: peaks_bytes[name])
    result_bytes = sum(np.asarray(tensor).nbytes for tensor in contributions[0].tensors.values())
    how = (
        f"peak of allocations (tracemalloc) of {worst}, the worst of {len(peaks_bytes)} rules; "
        f"{result_bytes / MEGABYTE:.1f} MB of it are the result"
    )
    return Row.at_most("aggregation.extra_memory_mb", peaks_bytes[worst] / MEGABYTE, "MB", 200, how)
