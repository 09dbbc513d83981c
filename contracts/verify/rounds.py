"""Recomputes one round from what nodes said in it, and compares step by step in the round's order."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from contracts import settlement
from contracts.aggregation import Contribution
from contracts.digests import ZERO_DIGEST
from contracts.errors import InvalidMessage
from contracts.events import Attested, Revealed
from contracts.messages import Reveal
from contracts.phase import Phase
from contracts.settlement import AttestedAggregate, Outcome, ProposalTally, ProposedAdapter, Rules
from contracts.verify.adapters import ArtifactChecks
from contracts.verify.comparison import Comparison, disagreement
from contracts.verify.expected_round import ExpectedRound
from contracts.verify.facts import RoundFacts, TaskFacts
from contracts.verify.round_log import RoundLog
from contracts.verify.verdict import RoundVerdict

_NO_ATTESTATION = settlement.AttestationResult(digest=None, median_micronats=0)


@dataclass(frozen=True)
class CheckedRound:
    """A round that agrees, and the digest that the next one starts from."""

    verdict: RoundVerdict
    next_parent: str


class RoundChecks:
    """The checks of one round; ``run`` does them all."""

    def __init__(
        self,
        task: TaskFacts,
        checked: RoundFacts,
        log: RoundLog,
        expected: ExpectedRound,
        artifacts: ArtifactChecks,
        compare: Comparison,
    ) -> None:
        """``expected`` is what the round had to freeze by the events before it."""
        self._task = task
        self._rules: Rules = task.view.config.rules
        self._round = checked
        self._view = checked.view
        self._log = log
        self._expected = expected
        self._artifacts = artifacts
        self._compare = compare

    def run(self, parent: str) -> CheckedRound:
        """Check everything that has happened in the round, which has to start from ``parent``.

        Raises:
            Disagreement: the first fact that is wrong.
        """
        self._same("events of the round that came twice", (), self._log.doubled)
        self._request(parent)
        self._draw()
        proposals = self._proposals()
        contexts = self._contexts_before_tally(proposals)
        scores = self._reveals(contexts[Phase.COMMITTING])
        tallies = self._tally(proposals, scores)
        self._contexts(contexts, tallies)
        accepted = self._adapters(tallies)
        attestation = self._attestation(accepted)
        aggregate_digest = self._close(proposals, scores, tallies, attestation)
        rewards = self._log.rewarded
        return CheckedRound(
            next_parent=aggregate_digest or parent,
            verdict=RoundVerdict(
                round=self._round.number,
                phase=self._view.phase.label,
                parent_digest=parent,
                aggregate_digest=aggregate_digest,
                eligible=len(self._view.eligible),
                proposals=len(proposals),
                accepted=len(accepted),
                reveals=len(scores),
                attested=len(self._log.attested),
                paid=sum(rewards.amounts) if rewards else 0,
                was_paused=self._expected.is_paused,
            ),
        )

    def _same(self, fact: str, expected: object, found: object, node: str | None = None) -> None:
        self._compare.same(fact, expected=expected, found=found, round_number=self._round.number, node=node)

    # Request and draw

    def _request(self, parent: str) -> None:
        view, log, expected = self._view, self._log.requested, self._expected
        if log is None:
            raise disagreement(
                "the request", expected="in the events", found=None, round_number=self._round.number
            )
        self._same("the parent", parent, view.parent_digest)
        self._same("the eligible nodes", expected.eligible, view.eligible)
        self._same("the frozen stakes", expected.stakes, view.stakes)
        self._same("the reward", expected.reward, view.reward)
        self._same("the request's block", self._log.request_block, view.request_block)
        self._same("the seed's block", view.request_block + 1, view.seed_block)
        self._same(
            "the logged request",
            (view.parent_digest, view.seed_block, view.reward, view.eligible, view.stakes),
            (log.parent_digest, log.seed_block, log.reward, log.eligible, log.stakes),
        )

    def _draw(self) -> None:
        view, log, rules = self._view, self._log.drawn, self._rules
        is_drawn = view.seed != ZERO_DIGEST
        self._same("the logged seed", view.seed, log.seed if log else ZERO_DIGEST)
        self._same("whether the round was drawn", self._reached(Phase.TRAINING), is_drawn)
        if log is None:
            self._same("the proposers and voters before the draw", ((), ()), (view.proposers, view.voters))
            return
        if self._round.seed_block_hash is None:
            self._compare.unchecked(
                f"round {self._round.number}: the endpoint no longer serves block {view.seed_block}, "
                "whose hash is the seed"
            )
        else:
            self._same("the seed", self._round.seed_block_hash, view.seed)
        draws = (
            ("proposers", settlement.Role.PROPOSER, rules.proposers, view.proposers, log.proposers),
            ("voters", settlement.Role.VOTER, rules.voters, view.voters, log.voters),
        )
        for name, role, count, shown, logged in draws:
            drawn = settlement.draw(view.seed, role, view.eligible, count)
            self._same(f"the drawn {name}", drawn, shown)
            self._same(f"the logged {name}", drawn, logged)
        for nodes, groups in ((log.proposers, log.proposer_groups), (log.voters, log.voter_groups)):
            for node, group in zip(nodes, groups, strict=False):
                self._same("the group in the draw", self._expected.groups.get(node), group, node)

    # What nodes said

    def _proposals(self) -> tuple[ProposedAdapter, ...]:
        """The proposals in the order of their nodes."""
        by_node = {logged.node: logged for logged in self._log.proposed}
        for node in by_node:
            self._drawn("a proposal", node, self._view.proposers)
        proposals = tuple(
            ProposedAdapter(node, self._expected.groups.get(node, 0), by_node[node].adapter_digest)
            for node in settlement.ascending(list(by_node))
        )
        self._same(
            "the proposals (node, group, digest)",
            tuple((p.node, p.group, p.digest) for p in proposals),
            tuple((p.node, p.group, p.adapter_digest) for p in self._view.proposals),
        )
        for logged in self._log.proposed:
            self._artifacts.report(self._round.number, logged.node, logged.report_digest)
        return proposals

    def _reveals(self, context: str) -> dict[str, tuple[int, ...]]:
        """Voter → scores, each compared with its commitment."""
        shown = {vote.node: vote for vote in self._view.votes}
        self._same(
            "the voters of the votes", self._view.voters, tuple(vote.node for vote in self._view.votes)
        )
        for member in self._expected.members(self._view.voters):
            vote = shown[member.node]
            stated = (vote.group, vote.stake)
            self._same("the voter's group and stake", (member.group, member.stake), stated, member.node)
        commitments = {logged.node: logged.commitment for logged in self._log.committed}
        for node in commitments:
            self._drawn("a commitment", node, self._view.voters)
        for node, vote in shown.items():
            self._same("the commitment", commitments.get(node, ZERO_DIGEST), vote.commitment, node)
        scores: dict[str, tuple[int, ...]] = {}
        for logged in self._log.revealed:
            self._drawn("a reveal", logged.node, self._view.voters)
            self._opens(logged, context, commitments.get(logged.node))
            scores[logged.node] = logged.scores_micronats
        for node, vote in shown.items():
            self._same("whether a reveal is logged", vote.revealed, node in scores, node)
            self._same("the revealed scores", scores.get(node, ()), vote.scores_micronats, node)
        return scores

    def _opens(self, logged: Revealed, context: str, commitment: str | None) -> None:
        try:
            reveal = Reveal.parse(
                {
                    "node": logged.node,
                    "task": self._task.task,
                    "round": self._round.number,
                    "context": context,
                    "scores_micronats": logged.scores_micronats,
                    "salt": logged.salt,
                }
            )
        except InvalidMessage as error:
            raise disagreement(
                "the revealed scores",
                expected="in range",
                found=f"broken: {error}",
                round_number=self._round.number,
                node=logged.node,
            ) from error
        self._same("the revealed scores' commitment", commitment, reveal.commitment, logged.node)
        count = len(logged.scores_micronats)
        self._same("the number of revealed scores", len(self._view.proposals), count, logged.node)

    def _drawn(self, what: str, node: str, drawn: tuple[str, ...]) -> None:
        self._same(f"whether the node of {what} was drawn", True, node in drawn, node)

    # Tally and contexts

    def _tally(
        self, proposals: tuple[ProposedAdapter, ...], scores: Mapping[str, tuple[int, ...]]
    ) -> tuple[ProposalTally, ...]:
        log = self._log.tallied
        self._same("whether the votes were counted", self._is_countable(), log is not None)
        if log is None:
            self._same(
                "standings and medians before the votes are counted",
                {(settlement.Standing.NONE, 0, False)} if proposals else set(),
                {(p.standing, p.median_micronats, p.proven_invalid) for p in self._view.proposals},
            )
            return ()
        voters = self._expected.members(self._view.voters)
        tallies = settlement.tally(proposals, voters, scores, self._rules)
        self._same("the counted proposals", tuple(p.node for p in proposals), log.nodes)
        stated = (log.standings, log.medians_micronats, log.proven_invalid)
        counts = tuple(len(each) for each in stated)
        self._same("the number of standings, medians and proofs", (len(proposals),) * 3, counts)
        logged = zip(*stated, strict=True)
        fact = "the tally (standing, median in micronats, proven invalid)"
        for tally, view, of_event in zip(tallies, self._view.proposals, logged, strict=True):
            expected = (tally.standing.name, tally.median_micronats, tally.proven_invalid)
            shown = (view.standing.name, view.median_micronats, view.proven_invalid)
            self._same(fact, expected, shown, tally.node)
            self._same(f"{fact} in the event", expected, (of_event[0].name, *of_event[1:]), tally.node)
        return tallies

    def _is_countable(self) -> bool:
        """Whether Revealing ended as it should, with enough reveals."""
        if self._reached(Phase.ATTESTING):
            return True
        ended = self._reached(Phase.REVEALING) and self._view.phase.closed and not self._expected.is_paused
        return ended and len(self._log.revealed) >= self._rules.min_reveals

    def _contexts_before_tally(self, proposals: tuple[ProposedAdapter, ...]) -> dict[Phase, str]:
        view = self._view
        contexts = {Phase.REQUESTED: settlement.NO_CONTEXT}
        contexts[Phase.TRAINING] = contexts[Phase.REQUESTED]
        if view.seed != ZERO_DIGEST:
            contexts[Phase.TRAINING] = settlement.training_context(
                chain_id=self._task.deployment.chain_id,
                rounds_contract=self._task.deployment.rounds,
                task=self._task.task,
                round_number=self._round.number,
                parent_digest=view.parent_digest,
                seed=view.seed,
                proposers=view.proposers,
                voters=view.voters,
            )
        contexts[Phase.COMMITTING] = contexts[Phase.TRAINING]
        if self._reached(Phase.COMMITTING):
            contexts[Phase.COMMITTING] = settlement.committing_context(contexts[Phase.TRAINING], proposals)
        contexts[Phase.REVEALING] = contexts[Phase.COMMITTING]
        return contexts

    def _contexts(self, contexts: Mapping[Phase, str], tallies: tuple[ProposalTally, ...]) -> None:
        """Compare the context of every phase entered, and that phases only moved forward."""
        known = dict(contexts)
        if self._reached(Phase.ATTESTING):
            known[Phase.ATTESTING] = settlement.attesting_context(known[Phase.REVEALING], tallies)
        last, deadline_unix_s = Phase.REQUESTED, self._expected.draw_deadline_unix_s
        for entered in self._log.phases:
            self._same(f"whether {entered.phase.name} follows {last.name}", True, entered.phase > last)
            known.setdefault(entered.phase, known[last])
            self._same(f"the context of {entered.phase.name}", known[entered.phase], entered.context)
            last, deadline_unix_s = entered.phase, entered.deadline_unix_s
        self._same("the phase", last, self._view.phase)
        self._same("the context", known[last], self._view.context)
        if deadline_unix_s is None:
            where = f"round {self._round.number}: the deadline of REQUESTED"
            self._compare.unchecked(f"{where}: the endpoint no longer serves its block")
        else:
            self._same("the deadline", deadline_unix_s, self._view.deadline_unix_s)

    # Adapters, aggregate, close

    def _adapters(self, tallies: tuple[ProposalTally, ...]) -> list[Contribution]:
        """Check all proposed adapters; the accepted ones are returned."""
        accepted_tallies = [tally for tally in tallies if tally.accepted]
        weights = self._artifacts.weights(accepted_tallies)
        accepted: list[Contribution] = []
        for logged in self._log.proposed:
            contribution = self._artifacts.proposal(
                self._round.number,
                logged.node,
                logged.adapter_digest,
                accepted=logged.node in weights,
            )
            if contribution is not None:
                accepted.append(replace(contribution, weight=weights[logged.node]))
        return accepted

    def _attestation(self, accepted: list[Contribution]) -> settlement.AttestationResult:
        """What was attested; a quorum must have attested the aggregate that anyone can recompute."""
        logged = {attested.node: attested for attested in self._log.attested}
        for node in logged:
            self._drawn("an attestation", node, self._view.voters)
        shown = tuple(attestation.node for attestation in self._view.attestations)
        self._same("the voters of the attestations", self._view.voters, shown)
        for view in self._view.attestations:
            stated = (view.attested, view.aggregate_digest, view.score_micronats)
            self._same("the attestation", _attestation_of(logged.get(view.node)), stated, view.node)
        if not self._view.phase.closed or self._expected.is_paused or not accepted:
            return _NO_ATTESTATION
        result = settlement.attestation_result(
            [AttestedAggregate(a.node, a.aggregate_digest, a.score_micronats) for a in self._log.attested],
            self._expected.members(self._view.voters),
            self._rules,
        )
        if result.digest is not None:
            recomputed = self._artifacts.aggregate_digest(
                self._round.number, self._view.parent_digest, accepted
            )
            self._same("the aggregate that the quorum attested", recomputed, result.digest)
        return result

    def _close(
        self,
        proposals: tuple[ProposedAdapter, ...],
        scores: Mapping[str, tuple[int, ...]],
        tallies: tuple[ProposalTally, ...],
        attestation: settlement.AttestationResult,
    ) -> str | None:
        """Compare outcome and rewards; returns the aggregate's digest if the round is final."""
        log, view = self._log, self._view
        if not view.phase.closed:
            self._same("rewards of an open round", None, log.rewarded)
            self._same("the aggregate of an open round", ZERO_DIGEST, view.aggregate_digest)
            return None
        closed_as = settlement.outcome(
            drawn=view.seed != ZERO_DIGEST,
            proposals=len(log.proposed),
            commits=len(log.committed),
            reveals=len(log.revealed),
            tallies=tallies,
            attestation=attestation,
            rules=self._rules,
        )
        if self._expected.is_paused:
            closed_as = Outcome.ABORTED
        self._same("the outcome", Phase(closed_as).name, view.phase.name)
        aggregate_digest = attestation.digest if closed_as is Outcome.FINAL else None
        self._same("the aggregate", aggregate_digest or ZERO_DIGEST, view.aggregate_digest)
        if aggregate_digest is not None:
            self._artifacts.aggregate_artifact(self._round.number, aggregate_digest)
        next_parent = aggregate_digest or view.parent_digest
        closed = (log.closed.phase, log.closed.parent_digest) if log.closed else None
        self._same("the logged close", (view.phase, next_parent), closed)
        self._rewards(closed_as, proposals, scores, tallies, aggregate_digest)
        return aggregate_digest

    def _rewards(
        self,
        closed_as: Outcome,
        proposals: tuple[ProposedAdapter, ...],
        scores: Mapping[str, tuple[int, ...]],
        tallies: tuple[ProposalTally, ...],
        aggregate_digest: str | None,
    ) -> None:
        expected = settlement.rewards(
            self._view.reward,
            closed_as,
            proposals,
            self._expected.members(self._view.voters),
            scores,
            tallies,
            self._rules,
            attested={a.node for a in self._log.attested if a.aggregate_digest == aggregate_digest},
        )
        paid = self._log.rewarded
        if paid is None:
            raise disagreement(
                "the rewards", expected="in the events", found=None, round_number=self._round.number
            )
        self._same("the number of rewarded amounts", len(paid.nodes), len(paid.amounts))
        self._same(
            "whether the rewarded nodes ascend", settlement.ascending(list(set(paid.nodes))), paid.nodes
        )
        expected_amounts = dict(expected.amounts)
        paid_amounts = dict(zip(paid.nodes, paid.amounts, strict=True))
        for node in settlement.ascending(list(expected_amounts.keys() | paid_amounts.keys())):
            self._same("the reward", expected_amounts.get(node, 0), paid_amounts.get(node, 0), node)
        self._same("the amount returned to the pool", expected.returned, paid.returned)

    def _reached(self, phase: Phase) -> bool:
        """Whether the round was ever in ``phase``."""
        return any(entered.phase is phase for entered in self._log.phases)


def _attestation_of(logged: Attested | None) -> tuple[bool, str, int]:
    if logged is None:
        return False, ZERO_DIGEST, 0
    return True, logged.aggregate_digest, logged.score_micronats
