"""Recomputes one round from what nodes said in it, and compares step by step in the round's order."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from contracts import settlement
from contracts.aggregation import Contribution
from contracts.errors import InvalidMessage
from contracts.messages import Reveal
from contracts.phase import Phase
from contracts.settlement import Member, ProposalTally, ProposedAdapter
from contracts.verify import facts
from contracts.verify.adapters import ArtifactChecks
from contracts.verify.comparison import Comparison, disagreement
from contracts.verify.ledger import ExpectedRequest
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
        task: facts.TaskFacts,
        checked: facts.RoundFacts,
        artifacts: ArtifactChecks,
        compare: Comparison,
    ) -> None:
        self._task = task
        self._round = checked
        self._view = checked.view
        self._log = checked.log
        self._artifacts = artifacts
        self._compare = compare
        self._stakes = dict(zip(self._view.eligible, self._view.stakes, strict=False))

    def run(self, parent: str, expected: ExpectedRequest | None) -> CheckedRound:
        """Check everything that has happened in the round.

        Args:
            parent: what the round has to start from.
            expected: what it had to freeze, or None if the ledger has no such request.

        Raises:
            Disagreement: the first fact that is wrong.
        """
        self._request(parent, expected)
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
                phase=self._view.phase.name.lower(),
                parent_digest=parent,
                aggregate_digest=aggregate_digest,
                proposals=len(proposals),
                accepted=len(accepted),
                reveals=len(scores),
                paid=sum(amount for _, amount in rewards.amounts) if rewards else 0,
            ),
        )

    def _same(self, fact: str, expected: object, found: object, node: str | None = None) -> None:
        self._compare.same(fact, expected=expected, found=found, round_number=self._round.number, node=node)

    # Request and draw

    def _request(self, parent: str, expected: ExpectedRequest | None) -> None:
        view, log = self._view, self._log.requested
        if expected is None or log is None:
            raise disagreement(
                "the request", expected="in the logs", found=None, round_number=self._round.number
            )
        self._same("the parent", parent, view.parent_digest)
        self._same("the eligible nodes", expected.eligible, view.eligible)
        self._same("the frozen stakes", expected.stakes, view.stakes)
        self._same("the reward", expected.reward, view.reward)
        self._same("the seed's block", view.request_block + 1, view.seed_block)
        self._same(
            "the logged request",
            (view.parent_digest, view.seed_block, view.reward, view.eligible, view.stakes),
            (log.parent_digest, log.seed_block, log.reward, log.eligible, log.stakes),
        )

    def _draw(self) -> None:
        view, log, rules = self._view, self._log.drawn, self._task.rules
        self._same("the logged seed", view.seed, log.seed if log else None)
        if view.seed is None or log is None:
            return
        if self._round.seed_block_hash is None:
            gone = f"the endpoint no longer serves block {view.seed_block}, whose hash is the seed"
            self._compare.note(f"round {self._round.number}: {gone}")
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

    # What nodes said

    def _proposals(self) -> tuple[ProposedAdapter, ...]:
        """The proposals in the order of their nodes; empty while they may still come in."""
        for logged in self._log.proposed:
            self._drawn("a proposal", logged.node, self._view.proposers)
            self._artifacts.report(self._round.number, logged.node, logged.report_digest)
        if not self._reached(Phase.COMMITTING):
            return ()
        proposals = tuple(
            ProposedAdapter(node=p.node, group=self._task.groups.get(p.node, 0), digest=p.adapter_digest)
            for node in settlement.ascending([p.node for p in self._log.proposed])
            for p in self._log.proposed
            if p.node == node
        )
        self._same(
            "the proposals",
            tuple((p.node, p.digest) for p in proposals),
            tuple((p.node, p.adapter_digest) for p in self._view.proposals),
        )
        return proposals

    def _reveals(self, context: str) -> dict[str, tuple[int, ...]]:
        """Voter → scores, each compared with its commitment."""
        commitments = {logged.node: logged.commitment for logged in self._log.committed}
        shown = {vote.node: vote for vote in self._view.votes}
        self._same("the voters of the votes", self._view.voters, tuple(shown))
        for node, commitment in commitments.items():
            self._drawn("a commitment", node, self._view.voters)
            self._same("the logged commitment", shown[node].commitment, commitment, node)
        scores: dict[str, tuple[int, ...]] = {}
        for logged in self._log.revealed:
            self._drawn("a reveal", logged.node, self._view.voters)
            self._opens(logged, context, commitments.get(logged.node))
            self._same(
                "the revealed scores",
                logged.scores_micronats,
                shown[logged.node].scores_micronats,
                logged.node,
            )
            scores[logged.node] = logged.scores_micronats
        for node, vote in shown.items():
            self._same("whether a reveal is logged", vote.scores_micronats is not None, node in scores, node)
        return scores

    def _opens(self, logged: facts.RevealedLog, context: str, commitment: str | None) -> None:
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
        self._same(
            "the number of revealed scores",
            len(self._view.proposals),
            len(logged.scores_micronats),
            logged.node,
        )

    def _drawn(self, what: str, node: str, drawn: tuple[str, ...]) -> None:
        self._same(f"whether the node of {what} was drawn", True, node in drawn, node)

    # Tally and contexts

    def _tally(
        self, proposals: tuple[ProposedAdapter, ...], scores: Mapping[str, tuple[int, ...]]
    ) -> tuple[ProposalTally, ...]:
        if self._log.tallied is None:
            self._same("whether the votes were counted", False, self._reached(Phase.ATTESTING))
            return ()
        tallies = settlement.tally(proposals, self._members(self._view.voters), scores, self._task.rules)
        shown = {proposal.node: proposal for proposal in self._view.proposals}
        logged = {node: rest for node, *rest in self._log.tallied}
        self._same("the counted proposals", tuple(p.node for p in proposals), tuple(logged))
        for tally in tallies:
            expected = (tally.has_median, tally.median_micronats, tally.accepted)
            view = shown[tally.node]
            fact = "the tally (has a median, median in micronats, accepted)"
            self._same(fact, expected, (view.has_median, view.median_micronats, view.accepted), tally.node)
            accepted, has_median, median = logged[tally.node]
            self._same(f"{fact} in the log", expected, (has_median, median, accepted), tally.node)
        return tallies

    def _contexts_before_tally(self, proposals: tuple[ProposedAdapter, ...]) -> dict[Phase, str]:
        view = self._view
        contexts = {Phase.REQUESTED: settlement.NO_CONTEXT}
        contexts[Phase.TRAINING] = contexts[Phase.REQUESTED]
        if view.seed is not None:
            contexts[Phase.TRAINING] = settlement.training_context(
                chain_id=self._task.chain_id,
                rounds_contract=self._task.rounds_contract,
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
        last = Phase.REQUESTED
        for entered in self._log.phases:
            self._same(f"whether {entered.phase.name} follows {last.name}", True, entered.phase > last)
            known.setdefault(entered.phase, known[last])
            self._same(f"the context of {entered.phase.name}", known[entered.phase], entered.context)
            last = entered.phase
        self._same("the phase", last, self._view.phase)
        self._same("the context", known[last], self._view.context)

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
        for logged in self._log.attested:
            self._drawn("an attestation", logged.node, self._view.voters)
        shown = {attestation.node: attestation for attestation in self._view.attestations}
        logged_by_node = {attestation.node: attestation for attestation in self._log.attested}
        for node in self._view.voters:
            self._same("the logged attestation", shown.get(node), logged_by_node.get(node), node)
        if not self._view.phase.closed or not accepted:
            return _NO_ATTESTATION
        result = settlement.attestation_result(
            self._log.attested, self._members(self._view.voters), self._task.rules
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
        log = self._log
        if not self._view.phase.closed:
            self._same("rewards of an open round", None, log.rewarded)
            self._same("the aggregate of an open round", None, self._view.aggregate_digest)
            return None
        closed_as = settlement.outcome(
            drawn=self._view.seed is not None,
            proposals=len(log.proposed),
            commits=len(log.committed),
            reveals=len(log.revealed),
            tallies=tallies,
            attestation=attestation,
            rules=self._task.rules,
        )
        self._same("the outcome", Phase(closed_as).name, self._view.phase.name)
        aggregate_digest = attestation.digest if closed_as is settlement.Outcome.FINAL else None
        self._same("the aggregate", aggregate_digest, self._view.aggregate_digest)
        if aggregate_digest is not None:
            self._artifacts.aggregate_artifact(self._round.number, aggregate_digest)
        next_parent = aggregate_digest or self._view.parent_digest
        self._same("the logged close", facts.ClosedLog(self._view.phase, next_parent), log.closed)
        self._rewards(closed_as, proposals, scores, tallies)
        return aggregate_digest

    def _rewards(
        self,
        closed_as: settlement.Outcome,
        proposals: tuple[ProposedAdapter, ...],
        scores: Mapping[str, tuple[int, ...]],
        tallies: tuple[ProposalTally, ...],
    ) -> None:
        expected = settlement.rewards(
            self._view.reward,
            closed_as,
            proposals,
            self._members(self._view.voters),
            scores,
            tallies,
            self._task.rules,
        )
        paid = self._log.rewarded
        if paid is None:
            raise disagreement(
                "the rewards", expected="in the logs", found=None, round_number=self._round.number
            )
        expected_amounts, paid_amounts = dict(expected.amounts), dict(paid.amounts)
        for node in settlement.ascending(list(expected_amounts.keys() | paid_amounts.keys())):
            self._same("the reward", expected_amounts.get(node, 0), paid_amounts.get(node, 0), node)
        self._same("the amount returned to the pool", expected.returned, paid.returned)
        total = sum(amount for _, amount in paid.amounts) + paid.returned
        self._same("rewards and returned amount together", self._view.reward, total)

    def _reached(self, phase: Phase) -> bool:
        """Whether the round was ever in ``phase``."""
        return any(entered.phase is phase for entered in self._log.phases)

    def _members(self, nodes: tuple[str, ...]) -> tuple[Member, ...]:
        return tuple(
            Member(node=node, group=self._task.groups.get(node, 0), stake=self._stakes[node])
            for node in nodes
        )
