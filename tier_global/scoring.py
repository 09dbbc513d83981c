"""What a voter's scores are made of: candidate aggregates, losses, and figures in micronats. Pure.

A score says what a proposal adds: the loss of the aggregate without it less the loss of the aggregate of
all, in nats per target token. Losses belong to adapters, so they are kept by the digest of the adapter
that was evaluated.
"""

import math
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from fractions import Fraction

from contracts.aggregation import Contribution, aggregate
from contracts.errors import DigestMismatch, InvalidAdapter
from contracts.manifest import Manifest, adapter_digest
from contracts.messages import INVALID_SCORE, SCORE_LIMIT_MICRONATS, UNAVAILABLE_SCORE
from contracts.parent import Parent, next_parent
from contracts.settlement import aggregation_weights
from contracts.task import TaskSpec

MICRONATS_PER_NAT = 1_000_000
NAN_PENALTY_NATS = SCORE_LIMIT_MICRONATS / MICRONATS_PER_NAT

PARENT = "parent"
"""The parent's name in an evaluation."""

LossByDigest = Mapping[str, float]
"""Adapter digest → mean loss in nats per target token; NaN where the model gave none."""


@dataclass(frozen=True)
class Entry:
    """One proposal as a voter sees it: its tensors, or the sentinel that says why there are none."""

    node: str
    digest: str
    contribution: Contribution | None
    sentinel_micronats: int | None


@dataclass(frozen=True)
class Candidate:
    """An artifact whose adapter to evaluate: its name in the evaluation, its digest and its bytes."""

    name: str
    digest: str
    data: bytes


@dataclass(frozen=True)
class Plan:
    """The candidates of a vote; ``without`` follows the entries, None where an entry needs no score."""

    all_digest: str | None
    without: tuple[str | None, ...]
    candidates: tuple[Candidate, ...]


def read_entry(manifest: Manifest, node: str, digest: str, data: bytes | None) -> Entry:
    """Check a proposal's bytes: usable, UNAVAILABLE (no such bytes) or INVALID (against the manifest)."""
    if data is None:
        return Entry(node, digest, None, UNAVAILABLE_SCORE)
    try:
        tensors = manifest.decode(data, digest=digest)
    except DigestMismatch:
        return Entry(node, digest, None, UNAVAILABLE_SCORE)
    except InvalidAdapter:
        return Entry(node, digest, None, INVALID_SCORE)
    return Entry(node, digest, Contribution(node=node, digest=digest, tensors=tensors), None)


def combine(name: str, spec: TaskSpec, contributions: Sequence[Contribution], parent: Parent) -> Candidate:
    """The aggregate of ``contributions`` by the task's rule alone, as a canonical file.

    Scores compare such aggregates; an outer optimiser would add the same momentum to each of them.

    Raises:
        InvalidAdapter: the aggregate is not finite.
    """
    data = spec.manifest.encode(aggregate(spec.aggregation, contributions, parent=parent.adapter))
    return Candidate(name, adapter_digest(data), data)


def accepted_parent(
    spec: TaskSpec, parent: Parent, accepted: Sequence[Contribution], medians_micronats: Sequence[int]
) -> Parent:
    """The next parent: the accepted contributions with the weights that their medians give them.

    Raises:
        InvalidAdapter: the aggregate is not finite.
    """
    weights = aggregation_weights(medians_micronats, spec.aggregation)
    weighted = [replace(each, weight=weight) for each, weight in zip(accepted, weights, strict=True)]
    return next_parent(spec, parent, weighted)


def plan(spec: TaskSpec, parent: Parent, entries: Sequence[Entry], kin: AbstractSet[str]) -> Plan:
    """What to evaluate to score ``entries``; proposals of ``kin`` (own and same group) are not scored.

    The parent is always among the candidates: an attestation compares with it.
    """
    usable = [entry.contribution for entry in entries if entry.contribution is not None]
    origin = Candidate(PARENT, parent.digest, bytes(parent.data))
    candidates = {parent.digest: origin}

    def digest_of(name: str, contributions: Sequence[Contribution]) -> str:
        candidate = combine(name, spec, contributions, parent) if contributions else origin
        return candidates.setdefault(candidate.digest, candidate).digest

    if not usable:
        return Plan(None, tuple(None for _ in entries), (origin,))
    all_digest = digest_of("all", usable)
    without = tuple(
        None
        if entry.contribution is None or entry.node in kin
        else digest_of(f"without-{index}", [other for other in usable if other is not entry.contribution])
        for index, entry in enumerate(entries)
    )
    return Plan(all_digest, without, tuple(candidates.values()))


def scores(
    votes: Plan, entries: Sequence[Entry], kin: AbstractSet[str], losses: LossByDigest
) -> tuple[int, ...]:
    """One score per entry, in micronats: 0 for kin, a sentinel, or what the proposal adds."""
    result: list[int] = []
    for entry, without_digest in zip(entries, votes.without, strict=True):
        if entry.node in kin:
            result.append(0)
        elif entry.sentinel_micronats is not None:
            result.append(entry.sentinel_micronats)
        else:
            assert without_digest is not None
            assert votes.all_digest is not None
            result.append(improvement_micronats(losses[without_digest], losses[votes.all_digest]))
    return tuple(result)


def improvement_micronats(before_nats: float, after_nats: float) -> int:
    """``before − after``: positive is better; clipped to ±8 nats, rounded half-even to micronats.

    A loss that is not finite counts as 8 nats worse than the other; two of them are equal.
    """
    match math.isfinite(before_nats), math.isfinite(after_nats):
        case True, True:
            improvement_nats = before_nats - after_nats
        case True, False:
            improvement_nats = -NAN_PENALTY_NATS
        case False, True:
            improvement_nats = NAN_PENALTY_NATS
        case _:
            improvement_nats = 0.0
    clipped_nats = max(-NAN_PENALTY_NATS, min(NAN_PENALTY_NATS, improvement_nats))
    # A Fraction is the double's exact value: scaling adds no rounding of its own. round() is half-even.
    return round(Fraction(clipped_nats) * MICRONATS_PER_NAT)
