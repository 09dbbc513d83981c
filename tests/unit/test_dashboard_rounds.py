"""A round's card: what is shown in each state, and why something is not."""

from dataclasses import replace
from itertools import pairwise

from contracts.messages import INVALID_SCORE, UNAVAILABLE_SCORE
from contracts.phase import Phase
from contracts.settlement import Fault, Standing
from contracts.task_config import TaskConfig
from orchestrator.dashboard.rounds import RoundSetting, outcome, round_card, score_tone
from orchestrator.dashboard.view import RoundCard
from orchestrator.domain.state import (
    AttestationState,
    PhaseStart,
    ProposalState,
    RoundState,
    SlashState,
    SlashStatus,
    VoteState,
)

A, B, C, D = ("0x" + digit * 40 for digit in "1234")
CONFIG = TaskConfig(
    spec_digest="0x01",
    genesis_digest="0x02",
    rounds=3,
    proposers=3,
    voters=4,
    min_proposals=1,
    min_reveals=2,
    min_scorers=2,
    attestation_quorum_bps=5000,
    proposer_share_bps=5000,
    absent_bps=100,
    unrevealed_bps=500,
    invalid_bps=2000,
    acceptance_threshold_micronats=-250_000,
    closeness_range_micronats=500_000,
    training_s=600,
    committing_s=300,
    revealing_s=60,
    attesting_s=60,
    stake_cap=10**22,
)
SLASHES = (
    SlashState(0, B, 1, 2, Fault.UNREVEALED, 50 * 10**18, 9_000),
    SlashState(1, A, 1, 1, Fault.ABSENT, 10 * 10**18, 9_000, SlashStatus.WAIVED),
)
NOW_UNIX_S = 2000


def _card(state: RoundState) -> RoundCard:
    names = {A: "Aare", B: "Birs", C: "Cassarate"}
    return round_card(state, RoundSetting(CONFIG, names, {"advance": 5, "fund": 0}, SLASHES, 0, NOW_UNIX_S))


def _state(phase: Phase, *starts: tuple[Phase, int]) -> RoundState:
    return RoundState(
        task=1,
        round=2,
        phase=phase,
        parent_digest="0xparent",
        seed_block=3,
        reward=0,
        eligible=(),
        phases=tuple(PhaseStart(*start) for start in starts),
        proposers=(C, A),
        voters=(D, B, A),
        proposer_groups=(3, 1),
        voter_groups=(1, 2, 1),
    )


TRAINING = _state(Phase.TRAINING, (Phase.REQUESTED, 1000), (Phase.TRAINING, 1003))
REVEALING = replace(
    _state(
        Phase.REVEALING,
        (Phase.REQUESTED, 1000),
        (Phase.TRAINING, 1003),
        (Phase.COMMITTING, 1100),
        (Phase.REVEALING, 1200),
    ),
    proposals=(ProposalState(A, "0xa", "0xr"), ProposalState(C, "0xc", "0xr")),
    votes=(VoteState(A, "0x1", (0, 250_000)), VoteState(B, "0x2", None)),
)


def test_a_round_in_training_shows_who_is_still_training() -> None:
    card = _card(replace(TRAINING, proposals=(ProposalState(C, "0xc", "0xr"),)))
    assert [(row.party.name, row.adapter_digest, row.accepted, row.why) for row in card.proposals] == [
        ("Aare", None, None, "still training"),
        ("Cassarate", "0xc", None, "the vote is not over"),
    ]
    assert card.outcome == "1 of 2 proposals in"
    assert [row.state for row in card.votes] == ["waiting"] * 3


def test_nothing_is_made_up_before_the_draw() -> None:
    state = replace(
        _state(Phase.REQUESTED, (Phase.REQUESTED, 1990)),
        proposers=(),
        voters=(),
        proposer_groups=(),
        voter_groups=(),
    )
    card = _card(state)
    assert card.proposals == card.votes == card.rewards == ()
    assert (card.aggregate_digest, card.aggregate_why) == (None, "made when the vote is over")
    assert card.outcome == "waiting for the draw"


def test_the_timeline_runs_up_to_now_and_leaves_room() -> None:
    segments = _card(TRAINING).segments
    assert [(each.phase, each.state, each.seconds) for each in segments[:3]] == [
        (Phase.REQUESTED, "done", 3),
        (Phase.TRAINING, "running", 997),
        (Phase.COMMITTING, "pending", None),
    ]
    assert segments[0].x == 0
    assert segments[1].x + segments[1].width == 850


def test_a_closed_timeline_fills_its_bar_without_gaps() -> None:
    starts = [
        (phase, 1000 + 7 * place) for place, phase in enumerate(Phase) if Phase.NONE < phase <= Phase.FINAL
    ]
    segments = _card(_state(Phase.FINAL, *starts)).segments
    for before, after in pairwise(segments):
        assert before.x + before.width == after.x
    assert segments[-1].x + segments[-1].width == 1000


def test_own_and_group_scores_are_not_shown_as_scores() -> None:
    card = _card(replace(REVEALING, votes=(*REVEALING.votes, VoteState(D, "0x3", (0, -900_000)))))
    cells = {row.party.address: row.cells for row in card.votes}
    assert [cell.kind for cell in cells[A]] == ["own", "score"]
    assert (cells[A][1].micronats, cells[A][1].tone) == (250_000, 2)
    assert [cell.kind for cell in cells[B]] == ["hidden", "hidden"]
    assert [cell.kind for cell in cells[D]] == ["group", "score"]
    assert cells[D][1].tone == -3


def test_sentinels_are_words_not_numbers() -> None:
    votes = (VoteState(B, "0x2", (INVALID_SCORE, UNAVAILABLE_SCORE)),)
    (row,) = [row for row in _card(replace(REVEALING, votes=votes)).votes if row.party.address == B]
    assert [(cell.kind, cell.micronats) for cell in row.cells] == [("invalid", None), ("unavailable", None)]


def test_states_of_votes() -> None:
    def states(state: RoundState) -> dict[str, str]:
        return {row.party.name[:4]: row.state for row in _card(state).votes}

    assert states(REVEALING) == {"Aare": "revealed", "Birs": "committed", "0x44": "absent"}
    attesting = replace(
        REVEALING,
        phase=Phase.ATTESTING,
        phases=(*REVEALING.phases, PhaseStart(Phase.ATTESTING, 1300)),
        attestations=(AttestationState(A, "0xg", 118_300),),
    )
    assert states(attesting) == {"Aare": "revealed", "Birs": "not revealed", "0x44": "absent"}
    reasons = {
        row.party.name: (row.attested_micronats, row.attestation_why) for row in _card(attesting).votes
    }
    assert reasons["Aare"][0] == 118_300
    assert reasons["Birs"] == (None, "waiting")
    aborted = replace(
        TRAINING, phase=Phase.ABORTED, phases=(*TRAINING.phases, PhaseStart(Phase.ABORTED, 1600))
    )
    assert set(states(aborted).values()) == {"not asked"}


def test_a_refusal_says_why() -> None:
    def why(median_micronats: int | None, proven_invalid: bool = False) -> str:
        standing = Standing.UNSCORED if median_micronats is None else Standing.REFUSED
        proposals = (ProposalState(A, "0xa", "0xr", standing, median_micronats, proven_invalid),)
        return _card(replace(REVEALING, proposals=proposals)).proposals[0].why

    assert why(None) == "fewer than 2 voters scored it"
    assert "break the manifest" in why(None, proven_invalid=True)
    assert why(-2_210_000) == "the median is not above the task's threshold of −0.250 nats"
    assert why(100_000) == "a third or more of the voters' stake could not get or read it"


def test_outcomes_of_closed_rounds() -> None:
    refused = (ProposalState(A, "0xa", "0xr", Standing.UNSCORED, None),)
    passed = (*refused, ProposalState(C, "0xc", "0xr", Standing.ACCEPTED, 5))
    assert outcome(replace(REVEALING, phase=Phase.FINAL, proposals=passed)) == "1 of 2 proposals accepted"
    assert "no proposal was accepted" in outcome(replace(REVEALING, phase=Phase.REJECTED, proposals=refused))
    assert "not attested" in outcome(replace(REVEALING, phase=Phase.REJECTED, proposals=passed))
    assert (
        outcome(replace(TRAINING, phase=Phase.ABORTED)) == "stopped in the phase Training; the parent stays"
    )


def test_an_aborted_round_does_not_claim_phases_it_never_reached() -> None:
    phases = (*TRAINING.phases, PhaseStart(Phase.ABORTED, 1603))
    card = _card(replace(TRAINING, phase=Phase.ABORTED, phases=phases))
    assert [each.state for each in card.segments] == ["done", "done", "skipped", "skipped", "skipped"]
    assert card.seconds_total == 603
    assert card.aggregate_why == "none; the parent stays"
    assert {row.why for row in card.proposals} == {"nothing came before the deadline"}


def test_faults_of_the_round_are_shown_in_words() -> None:
    (fault,) = _card(REVEALING).faults
    assert (fault.slash, fault.party.name, fault.status) == (0, "Birs", "pending")
    assert fault.fault == "committed and did not reveal"


def test_gas_without_use_is_left_out() -> None:
    card = _card(REVEALING)
    assert [(row.kind, row.gas) for row in card.gas] == [("advance", 5)]
    assert card.gas_total == 5


def test_tones_are_symmetric() -> None:
    assert [score_tone(each) for each in (0, 9_999, 10_000, 100_000, 500_000)] == [0, 0, 1, 2, 3]
    assert all(score_tone(-each) == -score_tone(each) for each in (9_999, 10_000, 700_000))
