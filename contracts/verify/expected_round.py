"""What a round had to freeze when it was requested, and how its nodes behaved, recomputed from its log."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from contracts import settlement
from contracts.phase import Phase
from contracts.settlement import Conduct, Member, ProposedAdapter
from contracts.verify.round_log import RoundLog


@dataclass(frozen=True)
class ExpectedRound:
    """What a round had to freeze and take at its request, and the groups at its draw."""

    eligible: tuple[str, ...]
    stakes: tuple[int, ...]
    reward: int
    groups: Mapping[str, int]
    draw_deadline_unix_s: int | None
    """Until when it may be drawn; None when the endpoint no longer serves the block of its request."""
    is_paused: bool
    """Whether it was closed because the task was paused."""

    def members(self, nodes: Sequence[str]) -> tuple[Member, ...]:
        """These nodes as the round counts them."""
        stakes = dict(zip(self.eligible, self.stakes, strict=True))
        return tuple(Member(node, self.groups.get(node, 0), stakes.get(node, 0)) for node in nodes)


def conducts_of(log: RoundLog, expected: ExpectedRound, rules: settlement.Rules) -> tuple[Conduct, ...]:
    """How every drawn node behaved in a closed round, recomputed from the messages in its log."""
    if log.drawn is None:
        return ()
    entered = [change.phase for change in log.phases if not change.phase.closed]
    last_phase = Phase.REQUESTED if expected.is_paused or not entered else entered[-1]
    voters = expected.members(log.drawn.voters)
    scores = {revealed.node: revealed.scores_micronats for revealed in log.revealed}
    proposals = [
        ProposedAdapter(p.node, expected.groups.get(p.node, 0), p.adapter_digest) for p in log.proposed
    ]
    is_tallied = log.tallied is not None and all(len(s) == len(proposals) for s in scores.values())
    return settlement.conducts(
        last_phase=last_phase,
        proposers=expected.members(log.drawn.proposers),
        voters=voters,
        proposed=[proposed.node for proposed in log.proposed],
        committed=[committed.node for committed in log.committed],
        revealed=list(scores),
        tallies=settlement.tally(proposals, voters, scores, rules) if is_tallied else (),
        rules=rules,
    )
