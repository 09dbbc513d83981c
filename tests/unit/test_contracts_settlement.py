"""Settlement by example: the exact bounds of the rules, worked out by hand."""

from dataclasses import replace

import pytest

from contracts import settlement
from contracts.aggregation.spec import Krum, WeightedMean
from contracts.messages import INVALID_SCORE, UNAVAILABLE_SCORE
from contracts.phase import Phase
from contracts.settlement import (
    Attendance,
    AttestationResult,
    AttestedAggregate,
    Conduct,
    Fault,
    Member,
    Outcome,
    ProposalTally,
    ProposedAdapter,
    Rules,
    Standing,
)

A, B, C, D, E = ("0x" + "00" * 19 + f"{n:02x}" for n in (1, 2, 3, 4, 5))
RULES = Rules(
    rounds=3,
    proposers=3,
    voters=4,
    min_proposals=1,
    min_reveals=1,
    min_scorers=1,
    attestation_quorum_bps=5_000,
    absent_bps=100,
    unrevealed_bps=500,
    invalid_bps=2_000,
    proposer_share_bps=6_000,
    acceptance_threshold_micronats=-100,
    closeness_range_micronats=1_000,
    stake_cap=1_000,
)
PROPOSAL = ProposedAdapter(node=A, group=1, digest="a")
NO_QUORUM = AttestationResult(digest=None, median_micronats=0)


def test_weights_are_the_positive_medians_where_the_rule_weighs() -> None:
    by_improvement = WeightedMean(rule="weighted_mean")
    equal = WeightedMean(rule="weighted_mean", weights="equal")
    assert settlement.aggregation_weights([7, -3, 0], by_improvement) == (7, 0, 0)
    assert settlement.aggregation_weights([-1, -3, 0], by_improvement) == (1, 1, 1)
    assert settlement.aggregation_weights([7, -3, 0], equal) == (1, 1, 1)
    assert settlement.aggregation_weights([7, -3, 0], Krum(rule="krum", byzantine=0)) == (1, 1, 1)
    assert settlement.aggregation_weights([], by_improvement) == ()


def voters(*stakes: int) -> tuple[Member, ...]:
    """B, C and D with these stakes, each in a group of its own."""
    nodes = zip((B, C, D), stakes, strict=False)
    return tuple(Member(node, group=n + 2, stake=stake) for n, (node, stake) in enumerate(nodes))


def tally_of(scores: dict[str, int], stakes: tuple[int, ...] = (10, 10, 10), **rules: int) -> ProposalTally:
    votes = {node: (score,) for node, score in scores.items()}
    (result,) = settlement.tally([PROPOSAL], voters(*stakes), votes, replace(RULES, **rules))
    return result


def test_nodes_are_ordered_by_number_and_not_by_the_case_of_a_checksum() -> None:
    low, high = "0x" + "a0" * 20, "0x" + "B0" * 20
    assert settlement.ascending([high, low]) == (low, high)


# Request


def test_a_round_takes_its_part_of_what_is_left() -> None:
    assert settlement.round_reward(10, 0, RULES) == 3
    assert settlement.round_reward(7, 1, RULES) == 3
    assert settlement.round_reward(4, 2, RULES) == 4
    assert settlement.frozen_stake(1_001, RULES) == 1_000
    assert settlement.frozen_stake(999, RULES) == 999


# Median


@pytest.mark.parametrize(
    ("weighted", "median"),
    [
        ([(5, 10)], 5),
        ([(1, 10), (2, 10)], 1),  # exactly half is reached: the lower one
        ([(1, 10), (2, 11)], 2),
        ([(1, 10), (2, 10), (3, 10)], 2),
        ([(1, 10), (2, 10), (3, 20)], 2),
        ([(1, 10), (2, 10), (3, 21)], 3),
        ([(-7, 1), (0, 1), (9, 100)], 9),
    ],
)
def test_the_first_score_whose_doubled_stake_reaches_the_total(
    weighted: list[tuple[int, int]], median: int
) -> None:
    scores = [(score, node, weight) for node, (score, weight) in enumerate(weighted)]
    assert settlement.weighted_median(scores) == median
    assert settlement.weighted_median(scores[::-1]) == median


def test_no_scores_have_no_median() -> None:
    with pytest.raises(ValueError, match="at least one"):
        settlement.weighted_median([])


# Tally


def test_the_median_must_be_above_the_threshold() -> None:
    assert not tally_of({B: -100, C: -100, D: -100}).accepted
    assert tally_of({B: -99, C: -99, D: -99}).accepted


def test_too_few_scores_make_no_median() -> None:
    few = tally_of({B: 50}, min_scorers=2)
    assert (few.has_median, few.median_micronats, few.accepted) == (False, 0, False)
    assert tally_of({B: 50, C: 50}, min_scorers=2).accepted


def test_a_third_of_the_stake_blocks() -> None:
    assert not tally_of({B: INVALID_SCORE, C: 50, D: 50}).accepted
    assert not tally_of({B: UNAVAILABLE_SCORE, C: 50, D: 50}).accepted
    assert tally_of({B: INVALID_SCORE, C: 50, D: 50}, stakes=(9, 10, 10)).accepted
    # The base is what was drawn, not what was revealed: D's silence does not help to block.
    assert tally_of({B: INVALID_SCORE, C: 50}, stakes=(9, 10, 10)).accepted
    split = {B: INVALID_SCORE, C: UNAVAILABLE_SCORE, D: 50}
    assert not tally_of(split, stakes=(5, 5, 20)).accepted
    assert tally_of(split, stakes=(5, 4, 20)).accepted


def test_two_thirds_prove_an_adapter_invalid() -> None:
    assert tally_of({B: INVALID_SCORE, C: INVALID_SCORE, D: 50}).proven_invalid
    assert not tally_of({B: INVALID_SCORE, C: INVALID_SCORE, D: 50}, stakes=(10, 9, 10)).proven_invalid
    assert not tally_of({B: UNAVAILABLE_SCORE, C: INVALID_SCORE, D: 50}).proven_invalid


def test_unavailable_stakes_add_up() -> None:
    # 4 + 4 of 30 hold less than a third, 5 + 5 hold it.
    for stakes, standing in (((4, 4, 22), Standing.ACCEPTED), ((5, 5, 20), Standing.REFUSED)):
        found = tally_of({B: UNAVAILABLE_SCORE, C: UNAVAILABLE_SCORE, D: 5}, stakes=stakes)
        assert found.standing is standing


def test_the_least_stake_proves_and_none_does_not() -> None:
    assert tally_of({B: INVALID_SCORE}, stakes=(1,)).proven_invalid
    assert not tally_of({B: 5}, stakes=()).proven_invalid


def test_own_and_sister_scores_do_not_count() -> None:
    drawn = (
        Member(A, group=1, stake=1_000),
        Member(B, group=1, stake=1_000),
        Member(C, group=3, stake=1),
    )
    scores = {A: (8_000_000,), B: (INVALID_SCORE,), C: (-50,)}
    (result,) = settlement.tally([PROPOSAL], drawn, scores, RULES)
    assert (result.median_micronats, result.accepted) == (-50, True)


# Attestation and outcome


def attested(*words: tuple[str, str, int]) -> list[AttestedAggregate]:
    return [AttestedAggregate(node, digest, score) for node, digest, score in words]


def test_more_than_the_quorum_must_attest_one_digest() -> None:
    drawn = voters(10, 10, 20)
    half = settlement.attestation_result(attested((B, "x", 1), (C, "x", 1)), drawn, RULES)
    assert half == NO_QUORUM
    split = attested((B, "x", 1), (C, "y", 1), (D, "x", 1))
    more = settlement.attestation_result(split, drawn, RULES)
    assert more.digest == "x"
    exactly = replace(RULES, attestation_quorum_bps=7_500)
    assert settlement.attestation_result(split, drawn, exactly) == NO_QUORUM


def test_only_the_winning_digests_scores_count_and_zero_is_no_worse() -> None:
    drawn = voters(10, 10, 20)
    result = settlement.attestation_result(attested((B, "x", 0), (C, "y", -9), (D, "x", 0)), drawn, RULES)
    assert (result.median_micronats, result.carries) == (0, True)
    worse = settlement.attestation_result(attested((B, "x", 5), (C, "y", 9), (D, "x", -1)), drawn, RULES)
    assert (worse.median_micronats, worse.carries) == (-1, False)


def test_the_outcome_follows_the_quorums_in_their_order() -> None:
    rules = replace(RULES, min_proposals=2, min_reveals=2)
    good = ProposalTally(A, Standing.ACCEPTED, median_micronats=1, proven_invalid=False)
    carried = AttestationResult(digest="x", median_micronats=0)

    def outcome(
        proposals: int,
        commits: int,
        reveals: int,
        tallies: list[ProposalTally],
        attestation: AttestationResult,
        drawn: bool = True,
    ) -> Outcome:
        return settlement.outcome(
            drawn=drawn,
            proposals=proposals,
            commits=commits,
            reveals=reveals,
            tallies=tallies,
            attestation=attestation,
            rules=rules,
        )

    assert outcome(2, 2, 2, [good], carried) is Outcome.FINAL
    assert outcome(2, 2, 2, [good], NO_QUORUM) is Outcome.REJECTED
    assert outcome(2, 2, 2, [replace(good, standing=Standing.REFUSED)], carried) is Outcome.REJECTED
    assert outcome(2, 2, 1, [], NO_QUORUM) is Outcome.ABORTED
    assert outcome(2, 1, 0, [], NO_QUORUM) is Outcome.ABORTED
    assert outcome(1, 0, 0, [], NO_QUORUM) is Outcome.ABORTED
    assert outcome(0, 0, 0, [], NO_QUORUM, drawn=False) is Outcome.ABORTED


def test_either_a_draw_or_proposals_missing_aborts() -> None:
    enough = {"commits": 4, "reveals": 4, "tallies": (), "attestation": NO_QUORUM, "rules": RULES}
    assert settlement.outcome(drawn=True, proposals=1, **enough) is Outcome.REJECTED
    assert settlement.outcome(drawn=False, proposals=1, **enough) is Outcome.ABORTED
    assert settlement.outcome(drawn=True, proposals=0, **enough) is Outcome.ABORTED


# Rewards


def proposal_tally(node: str, median: int, *, accepted: bool = True) -> ProposalTally:
    return ProposalTally(
        node,
        Standing.ACCEPTED if accepted else Standing.REFUSED,
        median_micronats=median,
        proven_invalid=False,
    )


def proposer_pay(
    proposals: list[ProposedAdapter], tallies: list[ProposalTally], reward: int = 1_000
) -> dict[str, int]:
    rules = replace(RULES, proposer_share_bps=10_000)
    paid = settlement.rewards(reward, Outcome.FINAL, proposals, (), {}, tallies, rules)
    return dict(paid.amounts)


def test_half_goes_equally_and_half_by_positive_median() -> None:
    proposals = [ProposedAdapter(node, n, node) for n, node in enumerate((A, B, C))]
    tallies = [proposal_tally(A, 30), proposal_tally(B, 10), proposal_tally(C, -5)]
    # 500 / 3 = 166 each; 500 · 30/40 = 375, 500 · 10/40 = 125.
    assert proposer_pay(proposals, tallies) == {A: 541, B: 291, C: 166}


def test_without_a_positive_median_all_is_equal() -> None:
    proposals = [ProposedAdapter(node, n, node) for n, node in enumerate((A, B, C))]
    tallies = [proposal_tally(A, 0), proposal_tally(B, -1), proposal_tally(C, 9, accepted=False)]
    assert proposer_pay(proposals, tallies) == {A: 500, B: 500}


def test_copies_share_the_part_of_one_and_the_least_median_counts() -> None:
    proposals = [ProposedAdapter(A, 1, "x"), ProposedAdapter(B, 2, "x"), ProposedAdapter(C, 3, "y")]
    tallies = [proposal_tally(A, 30), proposal_tally(B, 10), proposal_tally(C, 10)]
    # Two adapters: 250 each; medians 10 and 10: 250 each. The copies halve theirs.
    assert proposer_pay(proposals, tallies) == {A: 250, B: 250, C: 500}


def voter_pay(scores: dict[str, tuple[int, ...]], tallies: list[ProposalTally]) -> settlement.Rewards:
    proposals = [ProposedAdapter(t.node, 90 + n, t.node) for n, t in enumerate(tallies)]
    rules = replace(RULES, proposer_share_bps=0)
    drawn = voters(100, 300)
    return settlement.rewards(1_000, Outcome.REJECTED, proposals, drawn, scores, tallies, rules)


def test_voters_are_paid_by_stake_and_by_closeness() -> None:
    # By stake: 125 and 375. Closeness: B 1000 on the mark, C 500: weights 100·1000 and 300·500.
    paid = voter_pay({B: (7,), C: (507,)}, [proposal_tally(A, 7)])
    assert dict(paid.amounts) == {B: 125 + 200, C: 375 + 300}
    assert paid.returned == 0


def test_far_scores_and_unavailable_earn_no_closeness_and_it_goes_back() -> None:
    paid = voter_pay({B: (1_007,), C: (UNAVAILABLE_SCORE,)}, [proposal_tally(A, 7)])
    assert dict(paid.amounts) == {B: 125, C: 375}
    assert paid.returned == 500


def test_an_invalid_earns_the_range_only_where_two_thirds_agree() -> None:
    for proven, expected in ((True, 1_000), (False, 500)):
        result = replace(proposal_tally(A, 7), proven_invalid=proven)
        paid = voter_pay({C: (INVALID_SCORE,)}, [result])
        assert dict(paid.amounts) == {C: expected}


def test_closeness_is_the_mean_over_the_proposals_with_a_median() -> None:
    no_median = ProposalTally(D, Standing.UNSCORED, median_micronats=0, proven_invalid=False)
    one = voter_pay({B: (0, 0), C: (1_000, 0)}, [proposal_tally(A, 0), no_median])
    # C's only counted score is at the edge of the range: nothing; the other proposal is not asked about.
    assert dict(one.amounts) == {B: 125 + 500, C: 375}


def test_closeness_skips_an_own_proposal_and_counts_the_next() -> None:
    proposals = [ProposedAdapter(B, 2, "b"), ProposedAdapter(D, 90, "d")]
    tallies = [proposal_tally(B, 0), proposal_tally(D, 0)]
    rules = replace(RULES, proposer_share_bps=0)
    scores = {B: (0, 500), C: (1_000, 1_000)}
    paid = settlement.rewards(1_000, Outcome.REJECTED, proposals, voters(100, 300), scores, tallies, rules)
    # B scored D's alone, at half the range; C is at its edge twice.
    assert dict(paid.amounts) == {B: 125 + 500, C: 375}


def test_without_any_median_nobody_is_close() -> None:
    no_median = ProposalTally(A, Standing.UNSCORED, median_micronats=0, proven_invalid=False)
    paid = voter_pay({B: (0,), C: (0,)}, [no_median])
    assert dict(paid.amounts) == {B: 125, C: 375}
    assert paid.returned == 500


def test_the_least_amount_is_paid_and_large_ones_are_exact() -> None:
    rules = replace(RULES, proposer_share_bps=3_333)
    proposals = [ProposedAdapter(node, n, node) for n, node in enumerate((A, B, C))]
    tallies = [proposal_tally(A, 1), proposal_tally(B, 2), proposal_tally(C, 4)]
    reward = 10**27 + 1
    share = reward * 3_333 // 10_000
    equal, by_median = share // 2, share - share // 2
    paid = settlement.rewards(reward, Outcome.FINAL, proposals, (), {}, tallies, rules)
    assert dict(paid.amounts) == {
        node: equal // 3 + by_median * median // 7 for node, median in ((A, 1), (B, 2), (C, 4))
    }
    one = settlement.rewards(
        1, Outcome.ABORTED, [], voters(5), {B: ()}, (), replace(rules, proposer_share_bps=0)
    )
    assert one.amounts == ((B, 1),)
    assert settlement.slash_of(Fault.ABSENT, 10**27 + 99, RULES) == 10**25
    thirds = voter_pay({B: (0, 1, 1), C: (1_000,) * 3}, [proposal_tally(node, 0) for node in (A, D, E)])
    assert all(isinstance(amount, int) for _, amount in thirds.amounts)


def test_an_aborted_round_pays_those_who_revealed_from_the_voters_share_only() -> None:
    drawn = voters(100, 300, 600)
    scores: dict[str, tuple[int, ...]] = {B: (), C: ()}
    paid = settlement.rewards(1_000, Outcome.ABORTED, [], drawn, scores, (), RULES)
    assert dict(paid.amounts) == {B: 100, C: 300}
    assert paid.returned == 600
    silent = settlement.rewards(1_000, Outcome.ABORTED, [], drawn, {}, (), RULES)
    assert silent == settlement.Rewards(amounts=(), returned=1_000)


def test_a_rejected_round_pays_no_proposer() -> None:
    drawn = voters(100)
    paid = settlement.rewards(
        1_000, Outcome.REJECTED, [PROPOSAL], drawn, {B: (1,)}, [proposal_tally(A, 1)], RULES
    )
    assert dict(paid.amounts) == {B: 400}


def test_a_final_round_pays_only_voters_who_attested_its_aggregate() -> None:
    rules = replace(RULES, proposer_share_bps=0)
    tallies = [proposal_tally(A, 5)]
    proposals = [ProposedAdapter(A, 90, "a")]
    scores = {B: (5,), C: (5,), D: (5,)}
    paid = settlement.rewards(
        900, Outcome.FINAL, proposals, voters(10, 10, 10), scores, tallies, rules, attested=[B, D]
    )
    assert paid.amounts == ((B, 450), (D, 450))
    everybody = settlement.rewards(
        900, Outcome.REJECTED, proposals, voters(10, 10, 10), scores, tallies, rules
    )
    assert everybody.amounts == ((B, 300), (C, 300), (D, 300))


# Faults


def conducts_of(last_phase: Phase, *, invalid: bool = False) -> dict[str, Conduct]:
    """A proposed, B did not; C committed and did not reveal, D did neither; B votes too and did all."""
    tally = ProposalTally(A, Standing.UNSCORED, median_micronats=0, proven_invalid=invalid)
    found = settlement.conducts(
        last_phase=last_phase,
        proposers=[Member(A, 1, 1_000), Member(B, 2, 1_000)],
        voters=voters(1_000, 1_000, 1_000),
        proposed=[A],
        committed=[B, C],
        revealed=[B],
        tallies=[tally],
        rules=RULES,
    )
    return {conduct.node: conduct for conduct in found}


def test_nodes_answer_for_what_they_were_asked_for() -> None:
    absent = Conduct(B, Attendance.ABSENT, Fault.ABSENT, 10)
    requested = conducts_of(Phase.REQUESTED, invalid=True)
    assert {c.fault for c in requested.values()} == {Fault.NONE}
    assert {c.attendance for c in requested.values()} == {Attendance.NOT_ASKED}
    training = conducts_of(Phase.TRAINING)
    assert training[A] == Conduct(A, Attendance.ATTENDED, Fault.NONE, 0)
    assert training[B] == absent
    assert training[C] == Conduct(C, Attendance.NOT_ASKED, Fault.NONE, 0)
    committing = conducts_of(Phase.COMMITTING)
    assert committing[C] == Conduct(C, Attendance.ATTENDED, Fault.NONE, 0)
    assert committing[D] == Conduct(D, Attendance.ABSENT, Fault.ABSENT, 10)
    revealing = conducts_of(Phase.REVEALING)
    assert revealing[C] == Conduct(C, Attendance.ATTENDED, Fault.UNREVEALED, 50)
    assert revealing[B] == absent


def test_a_proven_invalid_adapter_is_the_gravest_fault() -> None:
    assert conducts_of(Phase.REVEALING, invalid=True)[A] == Conduct(
        A, Attendance.ATTENDED, Fault.INVALID, 200
    )
    assert conducts_of(Phase.COMMITTING, invalid=True)[A].fault is Fault.NONE
