"""The rounds panel: from a round's state to its card. Pure; what does not exist yet keeps its reason."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from contracts.messages import INVALID_SCORE, UNAVAILABLE_SCORE
from contracts.phase import Phase
from contracts.settlement import Fault, Standing
from contracts.task_config import TaskConfig
from orchestrator.dashboard import text
from orchestrator.dashboard.view import (
    FaultRow,
    GasRow,
    Party,
    ProposalRow,
    RewardAmount,
    RoundCard,
    ScoreCell,
    Segment,
    VoteRow,
)
from orchestrator.domain.state import ProposalState, RoundState, SlashState

OPEN_PHASES = (Phase.REQUESTED, Phase.TRAINING, Phase.COMMITTING, Phase.REVEALING, Phase.ATTESTING)
BAR = 1000
"""Thousandths on the timeline."""
OPEN_BAR = 850
"""An open round leaves the rest of its bar empty: how long it will last is not known."""
FAULTS = {
    Fault.ABSENT: "sent nothing",
    Fault.UNREVEALED: "committed and did not reveal",
    Fault.INVALID: "proposed an adapter that breaks the manifest",
}
TONE_LIMITS_MICRONATS = (10_000, 100_000, 500_000)
"""A score is coloured from 0.01 nats on, stronger from 0.1 and strongest from 0.5."""


@dataclass(frozen=True)
class RoundSetting:
    """What a card needs beside the round itself: mappings by node address."""

    config: TaskConfig
    names: Mapping[str, str]
    gas: Mapping[str, int]
    slashes: tuple[SlashState, ...]
    final_block: int
    now_unix_s: int

    def party(self, node: str) -> Party:
        """The node as people call it."""
        return Party(node, self.names.get(node) or text.short(node))


def round_card(state: RoundState, setting: RoundSetting) -> RoundCard:
    """A round as its card shows it."""
    columns = _proposal_columns(state)
    return RoundCard(
        number=state.round,
        phase=state.phase,
        is_settled=state.changed_block <= setting.final_block,
        segments=_segments(state, setting.now_unix_s),
        seconds_total=_seconds_total(state, setting.now_unix_s),
        proposals=tuple(_proposal_row(state, node, setting) for node in columns),
        columns=tuple(setting.party(node) for node in columns),
        votes=tuple(_vote_row(state, voter, columns, setting) for voter in _ascending(state.voters)),
        parent_digest=state.parent_digest,
        aggregate_digest=state.aggregate_digest,
        aggregate_why=_aggregate_why(state),
        gas=tuple(GasRow(kind.replace("_", " "), gas) for kind, gas in setting.gas.items() if gas),
        rewards=tuple(RewardAmount(setting.party(each.node), each.amount) for each in state.rewards),
        rewards_why=(
            "nobody was paid for this round" if state.phase.closed else "credited when the round closes"
        ),
        faults=tuple(
            fault_row(slash, setting.party(slash.node), setting.final_block)
            for slash in setting.slashes
            if slash.round == state.round
        ),
        outcome=outcome(state),
    )


def outcome(state: RoundState) -> str:
    """Where the round stands, in a few words."""
    accepted = sum(proposal.standing is Standing.ACCEPTED for proposal in state.proposals)
    of_proposals = f"{accepted} of {len(state.proposals)} proposals accepted"
    revealed = sum(vote.scores_micronats is not None for vote in state.votes)
    match state.phase:
        case Phase.TRAINING:
            return f"{len(state.proposals)} of {len(state.proposers)} proposals in"
        case Phase.COMMITTING:
            return f"{len(state.votes)} of {len(state.voters)} voters committed"
        case Phase.REVEALING:
            return f"{revealed} of {len(state.votes)} votes revealed"
        case Phase.ATTESTING:
            return f"{of_proposals}, {len(state.attestations)} of {len(state.voters)} voters attested"
        case Phase.FINAL:
            return of_proposals
        case Phase.REJECTED if accepted == 0:
            return "no proposal was accepted; the parent stays"
        case Phase.REJECTED:
            return f"{of_proposals}; the aggregate was not attested as better, the parent stays"
        case Phase.ABORTED:
            return f"stopped in the phase {text.phase_name(state.last_open_phase)}; the parent stays"
        case _:
            return "waiting for the draw"


def score_tone(micronats: int) -> int:
    """The strength of a score's colour, −3 to 3."""
    strength = sum(abs(micronats) >= limit for limit in TONE_LIMITS_MICRONATS)
    return strength if micronats > 0 else -strength


def _ascending(nodes: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted(nodes, key=lambda node: int(node, 16)))


def _proposal_columns(state: RoundState) -> tuple[str, ...]:
    """All drawn proposers while some may still propose; scores follow the proposals that came."""
    return _ascending(tuple({*state.proposers, *(proposal.node for proposal in state.proposals)}))


def _seconds_total(state: RoundState, now_unix_s: int) -> float | None:
    if not state.phases:
        return None
    end_unix_s = state.phases[-1].started_unix_s if state.phase.closed else now_unix_s
    return max(0, end_unix_s - state.phases[0].started_unix_s)


def _segments(state: RoundState, now_unix_s: int) -> tuple[Segment, ...]:
    seconds = state.phase_seconds(now_unix_s)
    bar = BAR if state.phase.closed else OPEN_BAR
    total = sum(seconds.values()) or 1
    segments: list[Segment] = []
    passed = 0
    for phase in OPEN_PHASES:
        took = seconds.get(phase.label)
        start = passed * bar // total
        passed += took or 0
        segments.append(
            Segment(phase, _segment_state(state, phase, took), took, start, passed * bar // total - start)
        )
    return tuple(segments)


def _segment_state(
    state: RoundState, phase: Phase, took: int | None
) -> Literal["done", "running", "pending", "skipped"]:
    if took is None:
        return "skipped" if state.phase.closed or phase < state.phase else "pending"
    return "running" if phase is state.phase else "done"


def _proposal_row(state: RoundState, node: str, setting: RoundSetting) -> ProposalRow:
    proposal = next((each for each in state.proposals if each.node == node), None)
    party = setting.party(node)
    if proposal is None:
        training = state.phase is Phase.TRAINING
        why = "still training" if training else "nothing came before the deadline"
        return ProposalRow(party, None, None, None, None, why)
    why, accepted = "", proposal.standing is Standing.ACCEPTED
    if proposal.standing is Standing.NONE:
        why = "the round ended before the vote" if state.phase.closed else "the vote is not over"
    elif not accepted:
        why = _refusal(proposal, setting.config)
    return ProposalRow(
        party=party,
        adapter_digest=proposal.adapter_digest,
        report_digest=proposal.report_digest,
        median_micronats=proposal.median_improvement_micronats,
        accepted=None if proposal.standing is Standing.NONE else accepted,
        why=why,
    )


def fault_row(slash: SlashState, party: Party, final_block: int) -> FaultRow:
    """A fault of ``party`` in words; blocks up to ``final_block`` will not be replaced."""
    return FaultRow(
        slash=slash.slash,
        party=party,
        fault=FAULTS[slash.fault],
        amount=slash.amount,
        status=slash.status.value,
        executable_unix_s=slash.executable_unix_s,
        is_settled=slash.changed_block <= final_block,
    )


def _refusal(proposal: ProposalState, config: TaskConfig) -> str:
    threshold = config.acceptance_threshold_micronats
    median_micronats = proposal.median_improvement_micronats
    if proposal.proven_invalid:
        return "two thirds of the voters' stake hold its bytes, and they break the manifest"
    if median_micronats is None:
        return f"fewer than {config.min_scorers} voters scored it"
    if median_micronats <= threshold:
        return f"the median is not above the task's threshold of {text.nats(threshold)} nats"
    return "a third or more of the voters' stake could not get or read it"


def _vote_row(state: RoundState, voter: str, columns: tuple[str, ...], setting: RoundSetting) -> VoteRow:
    attestation = next((each for each in state.attestations if each.node == voter), None)
    return VoteRow(
        party=setting.party(voter),
        state=_vote_state(state, voter),
        cells=tuple(_cell(state, voter, node, setting) for node in columns),
        attested_digest=attestation.aggregate_digest if attestation else None,
        attested_micronats=attestation.score_micronats if attestation else None,
        attestation_why=_attestation_why(state),
    )


def _vote_state(
    state: RoundState, voter: str
) -> Literal["waiting", "committed", "revealed", "absent", "not revealed", "not asked"]:
    reached = state.last_open_phase
    vote = state.vote_of(voter)
    if vote is None:
        if reached < Phase.COMMITTING:
            return "not asked" if state.phase.closed else "waiting"
        return "waiting" if state.phase is Phase.COMMITTING else "absent"
    if vote.scores_micronats is not None:
        return "revealed"
    revealing_over = reached > Phase.REVEALING or (state.phase.closed and reached is Phase.REVEALING)
    return "not revealed" if revealing_over else "committed"


def _cell(state: RoundState, voter: str, proposer: str, setting: RoundSetting) -> ScoreCell:
    if voter == proposer:
        return ScoreCell("own", None, 0)
    group = state.group_of(voter)
    if group is not None and group == state.group_of(proposer):
        return ScoreCell("group", None, 0)
    vote = state.vote_of(voter)
    places = [proposal.node for proposal in state.proposals]
    if vote is None or vote.scores_micronats is None or proposer not in places:
        return ScoreCell("hidden", None, 0)
    score = vote.scores_micronats[places.index(proposer)]
    if score == INVALID_SCORE:
        return ScoreCell("invalid", None, 0)
    if score == UNAVAILABLE_SCORE:
        return ScoreCell("unavailable", None, 0)
    return ScoreCell("score", score, score_tone(score))


def _attestation_why(state: RoundState) -> str:
    if state.last_open_phase < Phase.ATTESTING:
        return "not asked" if state.phase.closed else ""
    return "none came" if state.phase.closed else "waiting"


def _aggregate_why(state: RoundState) -> str:
    if state.phase.closed:
        return "none; the parent stays"
    if state.phase is Phase.ATTESTING:
        return "not attested by enough voters yet"
    return "made when the vote is over"
