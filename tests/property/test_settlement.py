"""What settlement must hold for any draw, vote and reward."""

from hypothesis import given, settings
from hypothesis import strategies as st

from contracts import settlement
from contracts.messages import INVALID_SCORE, SCORE_LIMIT_MICRONATS, UNAVAILABLE_SCORE
from contracts.phase import Phase
from contracts.settlement import Attendance, Fault, Member, Outcome, ProposedAdapter, Role, Rules, Standing

NODES = st.lists(
    st.integers(1, (1 << 160) - 1).map(lambda n: f"0x{n:040x}"), min_size=1, max_size=12, unique=True
)
SEEDS = st.binary(min_size=32, max_size=32).map(lambda b: "0x" + b.hex())
SCORES = st.one_of(
    st.integers(-SCORE_LIMIT_MICRONATS, SCORE_LIMIT_MICRONATS),
    st.sampled_from([INVALID_SCORE, UNAVAILABLE_SCORE]),
)


@st.composite
def rounds(
    draw: st.DrawFn,
) -> tuple[Rules, tuple[ProposedAdapter, ...], tuple[Member, ...], dict[str, tuple[int, ...]]]:
    """Rules, proposals, drawn voters and what some of them revealed."""
    nodes = draw(NODES)
    groups = {node: draw(st.integers(1, 5)) for node in nodes}
    proposals = tuple(
        ProposedAdapter(node, groups[node], draw(st.sampled_from(["x", "y", "z"])))
        for node in draw(st.lists(st.sampled_from(nodes), min_size=1, unique=True))
    )
    voters = tuple(
        Member(node, groups[node], draw(st.integers(1, 1 << 80)))
        for node in draw(st.lists(st.sampled_from(nodes), min_size=1, unique=True))
    )
    scores = {voter.node: tuple(draw(SCORES) for _ in proposals) for voter in voters if draw(st.booleans())}
    rules = Rules(
        rounds=1,
        proposers=len(proposals),
        voters=len(voters),
        min_proposals=1,
        min_reveals=1,
        min_scorers=draw(st.integers(1, 3)),
        attestation_quorum_bps=5_000,
        absent_bps=100,
        unrevealed_bps=500,
        invalid_bps=2_000,
        proposer_share_bps=draw(st.integers(0, 10_000)),
        acceptance_threshold_micronats=draw(st.integers(-1_000_000, 1_000_000)),
        closeness_range_micronats=draw(st.integers(0, 16_000_000)),
        stake_cap=1 << 90,
    )
    return rules, proposals, voters, scores


# Draw


@given(SEEDS, NODES, st.integers(0, 15), st.sampled_from(Role), st.randoms())
def test_a_draw_is_distinct_nodes_whatever_the_order_of_the_list(
    seed: str, nodes: list[str], count: int, role: Role, random: object
) -> None:
    drawn = settlement.draw(seed, role, nodes, count)
    assert len(drawn) == min(count, len(nodes))
    assert len(set(drawn)) == len(drawn)
    assert set(drawn) <= set(nodes)
    assert settlement.draw(seed, role, nodes[::-1], count) == drawn
    assert settlement.draw(seed, role, nodes, len(nodes))[:count] == drawn


def test_every_node_is_drawn_about_equally_often() -> None:
    nodes = [f"0x{n:040x}" for n in range(1, 8)]
    counts = dict.fromkeys(nodes, 0)
    for number in range(2_100):
        for node in settlement.draw(f"0x{number:064x}", Role.PROPOSER, nodes, 3):
            counts[node] += 1
    # 900 expected each; the standard deviation is about 23.
    assert all(abs(count - 900) < 5 * 23 for count in counts.values())


@given(SEEDS)
def test_roles_are_drawn_apart(seed: str) -> None:
    nodes = [f"0x{n:040x}" for n in range(1, 61)]
    proposers = settlement.draw(seed, Role.PROPOSER, nodes, 16)
    assert proposers != settlement.draw(seed, Role.VOTER, nodes, 16)


# Median and tally


@given(
    st.lists(st.tuples(st.integers(-100, 100), st.integers(0, 9), st.integers(1, 50)), min_size=1),
    st.integers(1, 1 << 60),
)
def test_a_weighted_median_splits_the_weight(weighted: list[tuple[int, int, int]], factor: int) -> None:
    median = settlement.weighted_median(weighted)
    total = sum(weight for _, _, weight in weighted)
    assert 2 * sum(w for score, _, w in weighted if score < median) < total
    assert 2 * sum(w for score, _, w in weighted if score > median) <= total
    scaled = [(score, node, weight * factor) for score, node, weight in weighted]
    assert settlement.weighted_median(scaled) == median


@given(rounds())
def test_an_accepted_median_lies_within_what_independent_voters_said(
    played: tuple[Rules, tuple[ProposedAdapter, ...], tuple[Member, ...], dict[str, tuple[int, ...]]],
) -> None:
    rules, proposals, voters, scores = played
    ordered = sorted(proposals, key=lambda p: int(p.node, 16))
    tallies = settlement.tally(proposals, voters, scores, rules)
    assert [t.node for t in tallies] == [p.node for p in ordered]
    for index, (proposal, tally) in enumerate(zip(ordered, tallies, strict=True)):
        independent = [
            scores[v.node][index]
            for v in voters
            if v.node in scores and v.node != proposal.node and v.group != proposal.group
        ]
        numbers = [s for s in independent if s not in (INVALID_SCORE, UNAVAILABLE_SCORE)]
        assert tally.has_median == (len(numbers) >= rules.min_scorers)
        if tally.has_median:
            assert min(numbers) <= tally.median_micronats <= max(numbers)
        if tally.accepted:
            assert tally.median_micronats > rules.acceptance_threshold_micronats
            assert not tally.proven_invalid


@given(rounds(), st.data())
def test_a_network_cannot_move_its_own_or_its_sisters_median(
    played: tuple[Rules, tuple[ProposedAdapter, ...], tuple[Member, ...], dict[str, tuple[int, ...]]],
    data: st.DataObject,
) -> None:
    rules, proposals, voters, scores = played
    before = settlement.tally(proposals, voters, scores, rules)
    liar = data.draw(st.sampled_from(voters))
    lies = dict(scores)
    lies[liar.node] = tuple(data.draw(SCORES) for _ in proposals)
    after = settlement.tally(proposals, voters, lies, rules)
    ordered = sorted(proposals, key=lambda p: int(p.node, 16))
    for proposal, old, new in zip(ordered, before, after, strict=True):
        if proposal.group == liar.group or proposal.node == liar.node:
            assert new == old


# Rewards


@given(rounds(), st.integers(0, 1 << 100), st.sampled_from(Outcome), st.data())
@settings(max_examples=200)
def test_rewards_and_what_is_returned_are_the_whole_reward(
    played: tuple[Rules, tuple[ProposedAdapter, ...], tuple[Member, ...], dict[str, tuple[int, ...]]],
    reward: int,
    outcome: Outcome,
    data: st.DataObject,
) -> None:
    rules, proposals, voters, scores = played
    tallies = settlement.tally(proposals, voters, scores, rules)
    attested = {voter.node for voter in voters if data.draw(st.booleans())}
    paid = settlement.rewards(reward, outcome, proposals, voters, scores, tallies, rules, attested=attested)
    amounts = dict(paid.amounts)
    assert sum(amounts.values()) + paid.returned == reward
    assert paid.returned >= 0
    assert all(amount > 0 for amount in amounts.values())
    assert list(amounts) == sorted(amounts, key=lambda node: int(node, 16))
    winners = {t.node for t in tallies if t.accepted} if outcome is Outcome.FINAL else set()
    earning = set(scores) & attested if outcome is Outcome.FINAL else set(scores)
    assert set(amounts) <= earning | winners
    if outcome is not Outcome.FINAL:
        assert sum(amounts.values()) <= reward - reward * rules.proposer_share_bps // 10_000


@given(
    st.integers(1, 1 << 90), st.lists(st.integers(-1_000, 1_000), min_size=2, max_size=6), st.integers(1, 5)
)
def test_copying_an_adapter_earns_its_owners_no_more_together(
    reward: int, medians: list[int], copies: int
) -> None:
    """A network that admits sisters to propose its adapter again does not gain by it."""
    rules = Rules(1, 16, 1, 1, 1, 1, 5_000, 10_000, 0, 0, 0, -2_000, 0, 1)

    def earned(times: int) -> int:
        proposals = [ProposedAdapter(f"0x{n:040x}", n, str(n)) for n in range(1, len(medians) + 1)]
        tallies = [
            settlement.ProposalTally(p.node, Standing.ACCEPTED, m, False)
            for p, m in zip(proposals, medians, strict=True)
        ]
        for copy in range(times):
            node = f"0x{100 + copy:040x}"
            proposals.append(ProposedAdapter(node, 100 + copy, "1"))
            tallies.append(settlement.ProposalTally(node, Standing.ACCEPTED, medians[0], False))
        paid = settlement.rewards(reward, Outcome.FINAL, proposals, (), {}, tallies, rules)
        return sum(amount for node, amount in paid.amounts if int(node, 16) in {1, *range(100, 120)})

    assert earned(copies) <= earned(0)


# Faults


@given(rounds(), st.sampled_from([p for p in Phase if Phase.REQUESTED <= p <= Phase.ATTESTING]), st.data())
def test_who_did_all_that_was_asked_has_no_fault_and_a_graver_fault_costs_no_less(
    played: tuple[Rules, tuple[ProposedAdapter, ...], tuple[Member, ...], dict[str, tuple[int, ...]]],
    last_phase: Phase,
    data: st.DataObject,
) -> None:
    rules, proposals, voters, scores = played
    tallies = settlement.tally(proposals, voters, scores, rules)
    proposers = [Member(p.node, p.group, data.draw(st.integers(1, 1 << 80))) for p in proposals]
    proposed = {p.node for p in proposers if data.draw(st.booleans())}
    committed = set(scores) | {v.node for v in voters if data.draw(st.booleans())}
    conducts = settlement.conducts(
        last_phase=last_phase,
        proposers=proposers,
        voters=voters,
        proposed=proposed,
        committed=committed,
        revealed=set(scores),
        tallies=tallies,
        rules=rules,
    )
    nodes = [conduct.node for conduct in conducts]
    assert sorted(nodes) == sorted({member.node for member in (*proposers, *voters)})
    stakes = {member.node: member.stake for member in (*voters, *proposers)}
    proven = {tally.node for tally in tallies if tally.proven_invalid}
    for conduct in conducts:
        if last_phase is Phase.REQUESTED:
            assert (conduct.attendance, conduct.fault) == (Attendance.NOT_ASKED, Fault.NONE)
        silent = conduct.node in {p.node for p in proposers} - proposed
        silent |= conduct.node in {v.node for v in voters} - set(scores)
        if not silent and conduct.node not in proven:
            assert conduct.fault is Fault.NONE
        assert (conduct.fault is Fault.NONE) <= (conduct.slash == 0)
        graver = [settlement.slash_of(fault, stakes[conduct.node], rules) for fault in sorted(Fault)]
        assert graver == sorted(graver)
        assert graver[-1] <= stakes[conduct.node]
