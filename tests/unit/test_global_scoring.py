"""Scores: which candidates are evaluated, what an improvement is, and the sentinels."""

import math

import pytest

from contracts.digests import sha256_digest
from contracts.manifest import adapter_digest
from contracts.messages import INVALID_SCORE, UNAVAILABLE_SCORE
from contracts.parent import read_parent
from tests.unit.global_sim import GENESIS, MANIFEST, SPEC, make_adapter
from tier_global.scoring import Candidate, Entry, improvement_micronats, plan, read_entry, scores

NODES = tuple(f"0x{number:040x}" for number in range(1, 5))
PARENT = read_parent(SPEC, adapter_digest(GENESIS), GENESIS)


def usable(node: str, seed: int) -> Entry:
    data = make_adapter(seed)
    return read_entry(MANIFEST, node, adapter_digest(data), data)


def test_candidates_are_the_whole_and_each_leave_one_out() -> None:
    votes = plan(
        SPEC, PARENT, [usable(node, seed) for seed, node in enumerate(NODES[:3], start=1)], kin=frozenset()
    )

    assert [candidate.name for candidate in votes.candidates] == [
        *("parent", "all", "without-0", "without-1", "without-2")
    ]
    assert len({candidate.digest for candidate in votes.candidates}) == 5


def test_the_only_proposal_is_compared_with_the_parent() -> None:
    votes = plan(SPEC, PARENT, [usable(NODES[0], 1)], kin=frozenset())

    assert votes.without == (PARENT.digest,)
    assert [candidate.name for candidate in votes.candidates] == ["parent", "all"]


def test_equal_adapters_count_once_and_add_nothing() -> None:
    entries = [usable(NODES[0], 1), usable(NODES[1], 1), usable(NODES[2], 2)]
    votes = plan(SPEC, PARENT, entries, kin=frozenset())

    # Without one of two equal adapters, the aggregate is the same.
    assert votes.without[0] == votes.without[1] == votes.all_digest
    losses = {candidate.digest: float(index) for index, candidate in enumerate(votes.candidates)}
    assert scores(votes, entries, frozenset(), losses)[:2] == (0, 0)


def test_kin_is_not_evaluated_and_scores_nothing() -> None:
    entries = [usable(NODES[0], 1), usable(NODES[1], 2)]
    votes = plan(SPEC, PARENT, entries, kin={NODES[0]})

    assert [candidate.name for candidate in votes.candidates] == ["parent", "all", "without-1"]
    losses = {
        candidate.digest: loss for candidate, loss in zip(votes.candidates, (2.0, 1.0, 1.5), strict=True)
    }
    assert scores(votes, entries, {NODES[0]}, losses) == (0, 500_000)


def test_what_cannot_be_used_is_left_out_of_the_aggregates() -> None:
    broken = b"these bytes have a digest, and they are no adapter"
    entries = [
        usable(NODES[0], 1),
        read_entry(MANIFEST, NODES[1], sha256_digest(broken), broken),
        read_entry(MANIFEST, NODES[2], "0x" + "77" * 32, make_adapter(3)),
        read_entry(MANIFEST, NODES[3], "0x" + "78" * 32, None),
    ]
    votes = plan(SPEC, PARENT, entries, kin=frozenset())

    assert votes.all_digest == adapter_digest(make_adapter(1))
    losses = {votes.all_digest: 1.0, PARENT.digest: 3.0}
    assert scores(votes, entries, frozenset(), losses) == (
        *(2_000_000, INVALID_SCORE, UNAVAILABLE_SCORE, UNAVAILABLE_SCORE),
    )


def test_nothing_usable_needs_no_candidate() -> None:
    entries = [read_entry(MANIFEST, NODES[0], "0x" + "77" * 32, None), usable(NODES[1], 1)]
    votes = plan(SPEC, PARENT, entries[:1], kin=frozenset())

    assert votes.candidates == (Candidate("parent", PARENT.digest, GENESIS),)
    assert scores(votes, entries[:1], frozenset(), {}) == (UNAVAILABLE_SCORE,)


@pytest.mark.parametrize(
    ("before_nats", "after_nats", "expected_micronats"),
    [
        (2.0, 1.5, 500_000),
        (1.5, 2.0, -500_000),
        (100.0, 1.0, 8_000_000),
        (1.0, 100.0, -8_000_000),
        (math.nan, 1.0, 8_000_000),
        (1.0, math.nan, -8_000_000),
        (1.0, math.inf, -8_000_000),
        (math.nan, math.nan, 0),
        (0.5**6, 0.0, 15_625),
    ],
)
def test_improvement(before_nats: float, after_nats: float, expected_micronats: int) -> None:
    assert improvement_micronats(before_nats, after_nats) == expected_micronats


def test_ties_round_to_even() -> None:
    # 2⁻⁷ nats are 7812.5 micronats exactly, and 3·2⁻⁷ are 23437.5.
    assert improvement_micronats(2.0**-7, 0.0) == 7_812
    assert improvement_micronats(3 * 2.0**-7, 0.0) == 23_438
    assert improvement_micronats(0.0, 2.0**-7) == -7_812
