"""The contracts and the Python reference, played side by side on random rounds.

Every observable is compared: frozen stakes, draw, contexts, tally, phase, rewards, pool, claimable and the
next parent. Calls that must be refused are thrown in and must be refused by name.
"""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from eth_utils.crypto import keccak
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts import settlement
from contracts.messages import INVALID_SCORE, SCORE_LIMIT_MICRONATS, UNAVAILABLE_SCORE, Reveal
from contracts.phase import Phase
from contracts.settlement import AttestedAggregate, Member, Outcome, ProposedAdapter, Role, Rules
from tests.chain.evm import ANY_SIGNATURE, CHAIN_ID, COUNCIL, YES_SIGNER, EvmChain, Reverted, Struct

MINTED = 1 << 127
STRANGER = "0x00000000000000000000000000000000C0000003"
POOL = st.one_of(st.integers(1, 1_000), st.integers(1, 1 << 100))
SPEC_DIGEST = b"\x51" * 32
GENESIS_DIGEST = "0x" + "52" * 32
PHASE_SECONDS = 100
ADAPTER_DIGESTS = ["0x" + f"{0xA0 + n:x}" * 32 for n in range(12)]
"""Three rounds can each accept four different ones."""
AGGREGATE_DIGESTS = ["0x" + f"{0xE0 + n:x}" * 32 for n in range(2)]

STAKES = st.sampled_from([st.just(1_000), st.integers(1, 3), st.integers(1, 1 << 90)])
"""How a game's nodes are staked; equal and small stakes reach the exact thirds and halves."""
SCORES = st.one_of(
    st.sampled_from([0, 1, -1, 100, SCORE_LIMIT_MICRONATS, -SCORE_LIMIT_MICRONATS]),
    st.integers(-300_000, 300_000),
    st.sampled_from([INVALID_SCORE, INVALID_SCORE, UNAVAILABLE_SCORE]),
)
THRESHOLDS = st.one_of(
    st.sampled_from([0, -SCORE_LIMIT_MICRONATS, SCORE_LIMIT_MICRONATS]), st.integers(-300_000, 100_000)
)
MOSTLY = st.sampled_from([True] * 9 + [False])


@st.composite
def make_rules(draw: st.DrawFn, nodes: int) -> Rules:
    """Any configuration that the contracts accept and for which there are enough nodes."""
    proposers, voters = draw(st.integers(1, min(nodes, 16))), draw(st.integers(1, nodes))
    min_reveals = draw(st.integers(1, max(1, voters // 2)))
    return Rules(
        rounds=draw(st.integers(1, 3)),
        proposers=proposers,
        voters=voters,
        min_proposals=draw(st.integers(1, max(1, proposers // 2))),
        min_reveals=min_reveals,
        min_scorers=draw(st.integers(1, min_reveals)),
        attestation_quorum_bps=draw(st.one_of(st.just(5_000), st.integers(5_000, 9_999))),
        proposer_share_bps=draw(st.integers(0, 10_000)),
        acceptance_threshold_micronats=draw(THRESHOLDS),
        closeness_range_micronats=draw(st.one_of(st.integers(0, 2_000_000), st.just((1 << 32) - 1))),
        stake_cap=draw(st.one_of(st.integers(1, 1 << 95), st.just((1 << 96) - 1))),
    )


class Game:
    """One task on one chain; the reference's view of it is kept beside."""

    def __init__(self, data: st.DataObject, reached: list[Outcome]) -> None:
        self.data = data
        self.reached = reached
        nodes = [
            "0x" + keccak(text=f"{data.draw(st.integers(0, 1 << 32))}/{n}")[:20].hex()
            for n in range(data.draw(st.integers(1, 9)))
        ]
        self.nodes = nodes
        self.groups = {node: data.draw(st.integers(1, len(nodes) + 2)) for node in nodes}
        stakes = data.draw(STAKES)
        self.stakes = {node: data.draw(stakes) for node in nodes}
        self.rules = data.draw(make_rules(len(nodes)))
        self.pool = data.draw(POOL)
        self.parent = GENESIS_DIGEST
        self.accepted: set[str] = set()
        self.claimable = dict.fromkeys(nodes, 0)
        self.chain = EvmChain(data.draw(st.integers(1, 1 << 40)), minted=MINTED)
        self._set_up()

    def _set_up(self) -> None:
        chain, rules = self.chain, self.rules
        config = (
            *(SPEC_DIGEST, _bytes(GENESIS_DIGEST), rules.rounds, rules.proposers, rules.voters),
            *(rules.min_proposals, rules.min_reveals, rules.min_scorers, rules.attestation_quorum_bps),
            *(rules.proposer_share_bps, rules.acceptance_threshold_micronats),
            *(rules.closeness_range_micronats, *[PHASE_SECONDS] * 4, rules.stake_cap),
        )
        assert chain.tasks.call("createTask", config) == 1
        chain.tasks.call("fund", 1, self.pool)
        for node in self.nodes:
            chain.registry.call("admit", node, YES_SIGNER, self.groups[node])
            chain.registry.call("deposit", node, self.stakes[node])
            approval = (node, 1, SPEC_DIGEST, bytes(32), 0, 1 << 60)
            chain.rounds.call("approve", approval, ANY_SIGNATURE)

    def play(self, number: int) -> None:
        """Play and compare one round."""
        self.number = number
        self._request()
        outcome = self._play_phases()
        self.reached.append(outcome)
        view = self.view()
        assert view.phase == outcome
        assert view.deadline == 0
        self._compare_rewards(outcome)
        self._compare_books(number)

    def view(self) -> Struct:
        view = self.chain.rounds.call("roundOf", 1, self.number)
        assert isinstance(view, Struct)
        return view

    # --- the phases, each compared when it is over

    def _request(self) -> None:
        self.reward = settlement.round_reward(self.pool, self.number - 1, self.rules)
        self.eligible = settlement.ascending(self.nodes)
        self.frozen = {node: settlement.frozen_stake(self.stakes[node], self.rules) for node in self.nodes}
        self.chain.rounds.call("requestRound", 1)
        self.refused("RoundOpen", "requestRound", 1)
        self.pool -= self.reward
        view = self.view()
        assert view.parentDigest == _bytes(self.parent)
        assert view.eligible == self.eligible
        assert view.stakes == tuple(self.frozen[node] for node in self.eligible)
        assert view.reward == self.reward
        assert view.seedBlock == self.chain.block + 1
        assert "0x" + view.context.hex() == settlement.NO_CONTEXT
        self.proposals: tuple[ProposedAdapter, ...] = ()
        self.voters: tuple[Member, ...] = ()
        self.scores: dict[str, tuple[int, ...]] = {}
        self.tallies: tuple[settlement.ProposalTally, ...] = ()

    def _play_phases(self) -> Outcome:
        seed_block = self.chain.block + 1
        self.chain.mine()
        self.refused("NotDue", "advance", 1)
        if not self.data.draw(MOSTLY, label="seed read in time"):
            self.chain.mine(300)
            return self._outcome(drawn=False)
        self.chain.mine()
        self._draw(seed_block)
        proposed = self._propose()
        if len(proposed) < self.rules.min_proposals:
            return self._outcome(proposals=len(proposed))
        commits = self._commit()
        if len(commits) < self.rules.min_reveals:
            return self._outcome(proposals=len(proposed), commits=len(commits))
        self._reveal(commits)
        counts = {"proposals": len(proposed), "commits": len(commits), "reveals": len(self.scores)}
        if len(self.scores) < self.rules.min_reveals:
            return self._outcome(**counts)
        self._tally()
        if not any(tally.accepted for tally in self.tallies):
            return self._outcome(**counts)
        self.advance(Phase.ATTESTING)
        self._compare_tally()
        return self._outcome(**counts, attestation=self._attest())

    def _outcome(
        self,
        *,
        drawn: bool = True,
        proposals: int = 0,
        commits: int = 0,
        reveals: int = 0,
        attestation: settlement.AttestationResult | None = None,
    ) -> Outcome:
        attestation = attestation or settlement.AttestationResult(digest=None, median_micronats=0)
        outcome = settlement.outcome(
            drawn=drawn,
            proposals=proposals,
            commits=commits,
            reveals=reveals,
            tallies=self.tallies,
            attestation=attestation,
            rules=self.rules,
        )
        self.advance(Phase(outcome))
        if outcome is Outcome.FINAL:
            assert attestation.digest is not None
            self.parent = attestation.digest
            verdicts = zip(self._ordered_proposals(), self.tallies, strict=True)
            self.accepted |= {proposal.digest for proposal, tally in verdicts if tally.accepted}
            assert self.view().aggregateDigest == _bytes(self.parent)
        else:
            assert self.view().aggregateDigest == bytes(32)
        if self.tallies:
            self._compare_tally()
        return outcome

    def _ordered_proposals(self) -> list[ProposedAdapter]:
        return sorted(self.proposals, key=lambda proposal: int(proposal.node, 16))

    def _draw(self, seed_block: int) -> None:
        self.advance(Phase.TRAINING)
        view = self.view()
        seed = self.chain.block_hash(seed_block)
        assert view.seed == _bytes(seed)
        assert view.proposers == settlement.draw(seed, Role.PROPOSER, self.nodes, self.rules.proposers)
        assert view.voters == settlement.draw(seed, Role.VOTER, self.nodes, self.rules.voters)
        self.voters = tuple(Member(node, self.groups[node], self.frozen[node]) for node in view.voters)
        self.context = settlement.training_context(
            chain_id=CHAIN_ID,
            rounds_contract=self.chain.rounds.address,
            task=1,
            round_number=self.number,
            parent_digest=self.parent,
            seed=seed,
            proposers=view.proposers,
            voters=view.voters,
        )

    def _propose(self) -> Sequence[str]:
        proposed: dict[str, str] = {}
        view = self.view()
        self.refuse_undrawn(view.proposers, lambda node: self.propose(node, ADAPTER_DIGESTS[0]))
        for node in self.data.draw(st.permutations(view.proposers)):
            if not self.data.draw(MOSTLY, label="proposes"):
                continue
            self.refused_message("RepeatsParent", lambda node=node: self.propose(node, self.parent))
            for digest in self.accepted:
                self.refused_message(
                    "RepeatsAccepted", lambda node=node, digest=digest: self.propose(node, digest)
                )
            fresh = [digest for digest in ADAPTER_DIGESTS if digest not in self.accepted]
            proposed[node] = self.data.draw(st.sampled_from(fresh[:4]))
            self.propose(node, proposed[node])
            self.refused_message("AlreadySent", lambda node=node: self.propose(node, ADAPTER_DIGESTS[0]))
        if len(proposed) >= self.rules.min_proposals:
            self.end_phase(complete=len(proposed) == len(view.proposers))
            self.advance(Phase.COMMITTING)
            self.proposals = tuple(
                ProposedAdapter(node, self.groups[node], digest) for node, digest in proposed.items()
            )
            self.context = settlement.committing_context(self.context, self.proposals)
            ordered = [(node, _bytes(proposed[node])) for node in settlement.ascending(list(proposed))]
            assert [(p.node, p.adapterDigest) for p in self.view().proposals] == ordered
        else:
            self.end_phase(complete=False)
        return tuple(proposed)

    def _commit(self) -> dict[str, Reveal]:
        commits: dict[str, Reveal] = {}
        self.refuse_undrawn(self.view().voters, lambda node: self.commit(node, SPEC_DIGEST))
        for voter in self.voters:
            if self.data.draw(MOSTLY, label="commits"):
                scores = tuple(self.data.draw(SCORES) for _ in self.proposals)
                commits[voter.node] = Reveal(
                    node=voter.node,
                    task=1,
                    round=self.number,
                    context=self.context,
                    scores_micronats=scores,
                    salt="0x" + keccak(text=voter.node).hex(),
                )
                self.commit(voter.node, _bytes(commits[voter.node].commitment))
        self.end_phase(complete=len(commits) == len(self.voters))
        if len(commits) >= self.rules.min_reveals:
            self.advance(Phase.REVEALING)
        return commits

    def _reveal(self, commits: dict[str, Reveal]) -> None:
        for node, reveal in commits.items():
            if self.data.draw(MOSTLY, label="reveals"):
                other = tuple(-score - 1 for score in reveal.scores_micronats)
                self.refused_message(
                    "WrongCommitment", lambda reveal=reveal, other=other: self.reveal(reveal, other)
                )
                self.reveal(reveal, reveal.scores_micronats)
                self.scores[node] = reveal.scores_micronats
        self.end_phase(complete=len(self.scores) == len(commits))

    def _tally(self) -> None:
        self.tallies = settlement.tally(self.proposals, self.voters, self.scores, self.rules)

    def _compare_tally(self) -> None:
        shown = [(p.node, p.accepted, p.hasMedian, p.medianMicronats) for p in self.view().proposals]
        assert shown == [(t.node, t.accepted, t.has_median, t.median_micronats) for t in self.tallies]

    def _attest(self) -> settlement.AttestationResult:
        self.context = settlement.attesting_context(self.context, self.tallies)
        attested: list[AttestedAggregate] = []
        lowest = self.data.draw(st.sampled_from([0, -100]))
        agrees = self.data.draw(st.sampled_from([MOSTLY, st.booleans()]))
        for voter in self.voters:
            if self.data.draw(MOSTLY, label="attests"):
                digest = AGGREGATE_DIGESTS[0 if self.data.draw(agrees) else 1]
                score = self.data.draw(st.integers(lowest, 100))
                message = (voter.node, 1, self.number, _bytes(self.context), _bytes(digest), score)
                self.chain.rounds.call("attest", message, ANY_SIGNATURE)
                attested.append(AttestedAggregate(voter.node, digest, score))
        self.end_phase(complete=len(attested) == len(self.voters))
        return settlement.attestation_result(attested, self.voters, self.rules)

    # --- money

    def _compare_rewards(self, outcome: Outcome) -> None:
        rewards = settlement.rewards(
            self.reward, outcome, self.proposals, self.voters, self.scores, self.tallies, self.rules
        )
        self.pool += rewards.returned
        for node, amount in rewards.amounts:
            self.claimable[node] += amount
        assert sum(amount for _, amount in rewards.amounts) + rewards.returned == self.reward

    def _compare_books(self, number: int) -> None:
        chain = self.chain
        assert chain.tasks.call("poolOf", 1) == self.pool
        assert {n: chain.tasks.call("claimableOf", n) for n in self.nodes} == self.claimable
        task = chain.rounds.call("taskOf", 1)
        assert (task.roundsRequested, task.roundsClosed) == (number, number)
        assert task.parentDigest == _bytes(self.parent)

    def claim_all(self) -> None:
        """Everybody is paid what it earned, once."""
        for node, amount in self.claimable.items():
            if amount:
                assert self.chain.tasks.call("claim", node) == amount
                assert self.chain.token.call("balanceOf", node) == amount
            self.refused_message("NothingToClaim", lambda node=node: self.chain.tasks.call("claim", node))

    # --- messages

    def propose(self, node: str, digest: str) -> None:
        message = (node, 1, self.number, _bytes(self.context), _bytes(self.parent), _bytes(digest), bytes(32))
        self.chain.rounds.call("propose", message, ANY_SIGNATURE)

    def commit(self, node: str, commitment: bytes) -> None:
        message = (node, 1, self.number, _bytes(self.context), commitment)
        self.chain.rounds.call("commit", message, ANY_SIGNATURE)

    def reveal(self, reveal: Reveal, scores: tuple[int, ...]) -> None:
        message = (reveal.node, 1, self.number, _bytes(self.context), scores, _bytes(reveal.salt))
        self.chain.rounds.call("reveal", message)

    # --- phases and refusals

    def advance(self, phase: Phase) -> None:
        assert self.chain.rounds.call("advance", 1, caller=STRANGER) == phase
        self.chain.mine()
        if not phase.closed:
            assert self.view().deadline == self.chain.time_unix_s - 1 + PHASE_SECONDS

    def end_phase(self, *, complete: bool) -> None:
        """Everything is in, or the deadline passes."""
        assert "0x" + self.view().context.hex() == self.context
        assert self.chain.rounds.call("isDue", 1) is complete
        if not complete:
            self.refused("NotDue", "advance", 1)
            self.chain.mine(seconds=PHASE_SECONDS + 1)
            assert self.chain.rounds.call("isDue", 1) is True

    def refused(self, name: str, function: str, *arguments: object) -> None:
        self.refused_message(name, lambda: self.chain.rounds.call(function, *arguments))

    def refused_message(self, name: str, send: Callable[[], Any]) -> None:
        with pytest.raises(Reverted, match=f"^{name}$"):
            send()

    def refuse_undrawn(self, drawn: Sequence[str], send: Callable[[str], None]) -> None:
        for node in [*(node for node in self.nodes if node not in drawn), COUNCIL.lower()]:
            self.refused_message("NotDrawn", lambda node=node: send(node))


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text[2:])


def test_contracts_and_reference_agree() -> None:
    reached: list[Outcome] = []

    @given(st.data())
    @settings(
        max_examples=120,
        deadline=None,
        derandomize=True,
        suppress_health_check=[
            HealthCheck.too_slow,
            HealthCheck.data_too_large,
            HealthCheck.large_base_example,
        ],
    )
    def play(data: st.DataObject) -> None:
        game = Game(data, reached)
        for number in range(1, game.rules.rounds + 1):
            game.play(number)
        game.refused("NoRoundsLeft", "requestRound", 1)
        game.claim_all()

    play()
    # A generator that never reaches an outcome would prove nothing about it.
    assert {outcome: reached.count(outcome) >= 10 for outcome in Outcome} == dict.fromkeys(Outcome, True)
