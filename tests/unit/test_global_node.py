"""The node: what it refuses, what it signs, and that it answers again from its record."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from contracts.digests import sha256_digest
from contracts.manifest import adapter_digest
from contracts.messages import INVALID_SCORE, UNAVAILABLE_SCORE, Proposal
from contracts.phase import Phase
from tests.unit.global_sim import (
    DOMAIN,
    GENESIS,
    PHASE_S,
    SPEC_BYTES,
    Sim,
    SimNode,
    make_adapter,
)
from tier_global.chain_view import RoundOnChain, TaskOnChain
from tier_global.errors import ChainUnavailable, InnerJobLate
from tier_global.exchange import (
    AttestReply,
    AttestRequest,
    CommitReply,
    CommitRequest,
    IdentifyReply,
    IdentifyRequest,
    RefusalReply,
    Reply,
    Request,
    RevealReply,
    RevealRequest,
    TrainReply,
    TrainRequest,
)
from tier_global.inner import Trained
from tier_global.keys import SigningKey

PARENT = adapter_digest(GENESIS)


@pytest.fixture
def sim(tmp_path: Path) -> Sim:
    sim = Sim(tmp_path)
    sim.chain.advance()
    assert sim.chain.phase is Phase.TRAINING
    return sim


def first(sim: Sim) -> SimNode:
    return sim.nodes[sim.chain.proposers[0]]


def ask(sim: Sim, request: Request, node: SimNode | None = None) -> Reply:
    return (node or first(sim)).answer(request, sim.chain)


def train_request(**changes: Any) -> TrainRequest:
    return TrainRequest(
        **({"task": 1, "round": 1, "spec": SPEC_BYTES, "adapters": {PARENT: GENESIS}} | changes)
    )


def refused(reply: Reply) -> str:
    assert isinstance(reply, RefusalReply)
    return reply.code


def propose_others(sim: Sim, adapters: dict[str, bytes]) -> None:
    """Put these adapters on chain as proposals and go on to the vote."""
    for node, data in adapters.items():
        proposal = Proposal(
            node=node,
            task=1,
            round=1,
            context=sim.chain.context,
            parent_digest=PARENT,
            adapter_digest=adapter_digest(data),
            report_digest=PARENT,
        )
        sim.chain.proposals[node] = proposal
    sim.clock.sleep(PHASE_S + 1)
    sim.chain.advance()
    assert sim.chain.phase is Phase.COMMITTING


def commit_request(adapters: list[bytes]) -> CommitRequest:
    by_digest = {adapter_digest(data): data for data in (GENESIS, *adapters)}
    return CommitRequest(task=1, round=1, spec=SPEC_BYTES, adapters=by_digest)


# Identity


def test_a_node_signs_the_challenge(sim: Sim) -> None:
    reply = ask(sim, IdentifyRequest(task=1, round=1, challenge="0x" + "42" * 32))

    assert isinstance(reply, IdentifyReply)
    assert reply.node == first(sim).address
    other = ask(sim, IdentifyRequest(task=1, round=1, challenge="0x" + "43" * 32))
    assert isinstance(other, IdentifyReply)
    assert other.signature != reply.signature


# Training


def test_a_proposal_is_signed_for_what_was_trained(sim: Sim) -> None:
    reply = ask(sim, train_request())

    assert isinstance(reply, TrainReply)
    ((digest, adapter),) = reply.adapters.items()
    assert digest == adapter_digest(adapter) == reply.proposal.adapter_digest
    assert reply.proposal.report_digest == sha256_digest(reply.report)
    assert (reply.proposal.context, reply.proposal.parent_digest) == (sim.chain.context, PARENT)
    reply.proposal.require_signer(DOMAIN, reply.signature, first(sim).address)


def test_a_node_whose_key_was_replaced_does_not_work(sim: Sim) -> None:
    node = first(sim)
    sim.chain.nodes[node.address] = next(other for other in sim.nodes if other != node.address)

    assert refused(ask(sim, train_request())) == "wrong_key"
    assert node.inner.jobs["train"] == 0


def test_with_a_new_key_a_node_signs_what_it_had_answered_anew(sim: Sim) -> None:
    before = ask(sim, train_request())
    node = first(sim)
    node.key = SigningKey("0x" + "77" * 32)
    sim.chain.nodes[node.address] = node.key.address

    after = ask(sim, train_request())

    assert isinstance(before, TrainReply)
    assert isinstance(after, TrainReply)
    assert after.proposal == before.proposal
    after.proposal.require_signer(DOMAIN, after.signature, node.key.address)
    assert node.inner.jobs["train"] == 1


def test_asked_again_a_node_does_not_train_again(sim: Sim) -> None:
    reply = ask(sim, train_request())

    assert ask(sim, train_request()) == reply
    # Not even when the question comes without spec and parent.
    assert ask(sim, train_request(spec=b"", adapters={})) == reply
    assert first(sim).inner.jobs["train"] == 1


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (train_request(spec=SPEC_BYTES + b" "), "wrong_spec"),
        (train_request(adapters={}), "wrong_parent"),
        (train_request(adapters={PARENT: make_adapter(9)}), "wrong_parent"),
        (train_request(adapters={adapter_digest(make_adapter(9)): make_adapter(9)}), "wrong_parent"),
    ],
)
def test_bytes_that_are_not_those_on_chain_are_refused(sim: Sim, request_: TrainRequest, code: str) -> None:
    assert refused(ask(sim, request_)) == code
    assert first(sim).inner.jobs["train"] == 0


def test_a_node_that_was_not_drawn_does_not_train(sim: Sim) -> None:
    not_drawn = sim.nodes[sim.chain.voters[3]]

    assert refused(ask(sim, train_request(), not_drawn)) == "not_drawn"
    assert not_drawn.inner.jobs["train"] == 0


def test_a_task_that_the_node_has_not_approved_is_refused(sim: Sim, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = TaskOnChain(spec_digest=sha256_digest(SPEC_BYTES), approved=frozenset(), is_over=False)
    monkeypatch.setattr(sim.chain, "task", lambda task: facts)

    assert refused(ask(sim, train_request())) == "not_approved"


def test_a_parent_that_breaks_the_manifest_is_refused(sim: Sim) -> None:
    broken = b"a parent that is no adapter"
    sim.chain.parent_digest = sha256_digest(broken)

    code = refused(ask(sim, train_request(adapters={sha256_digest(broken): broken})))
    assert code == "not_safetensors"


def test_after_the_deadline_there_is_no_training(sim: Sim) -> None:
    sim.clock.sleep(PHASE_S + 1)

    assert refused(ask(sim, train_request())) == "too_late"


@pytest.mark.parametrize("phase", [Phase.COMMITTING, Phase.ATTESTING, Phase.FINAL, Phase.ABORTED, Phase.NONE])
def test_out_of_phase_there_is_no_training(sim: Sim, phase: Phase) -> None:
    sim.chain.phase = phase

    assert refused(ask(sim, train_request())) == "wrong_phase"


def test_an_early_request_is_held_until_the_phase_begins(sim: Sim) -> None:
    sim.chain.phase = Phase.REQUESTED
    facts = sim.chain.round

    def begins_after_five_seconds(task: int, round_number: int) -> RoundOnChain:
        if sim.clock.now_unix_s() > 1_000_005:
            sim.chain.phase = Phase.TRAINING
        return facts(task, round_number)

    sim.chain.round = begins_after_five_seconds  # type: ignore[method-assign]

    assert isinstance(ask(sim, train_request()), TrainReply)


def test_an_early_request_is_not_held_for_ever(sim: Sim) -> None:
    sim.chain.phase = Phase.REQUESTED
    before_unix_s = sim.clock.now_unix_s()

    assert refused(ask(sim, train_request())) == "too_early"
    assert 15 < sim.clock.now_unix_s() - before_unix_s < 25


def test_a_request_two_phases_early_is_not_held(sim: Sim) -> None:
    before_unix_s = sim.clock.now_unix_s()

    assert refused(ask(sim, RevealRequest(task=1, round=1))) == "too_early"
    assert sim.clock.now_unix_s() == before_unix_s


def test_the_work_ends_before_the_deadline(sim: Sim, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []

    def late(spec: Path, parent: Path, out: Path, deadline_unix_s: float, purpose: str) -> Trained:
        seen.append(deadline_unix_s)
        raise InnerJobLate("the inner train job did not end before its deadline")

    monkeypatch.setattr(first(sim).inner, "train", late)

    assert refused(ask(sim, train_request())) == "too_late"
    assert sim.clock.now_unix_s() < seen[0] < sim.chain.deadline_unix_s


def test_an_adapter_of_the_own_network_is_checked_before_it_is_signed(
    sim: Sim, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(first(sim).inner, "train", lambda *_: Trained(adapter=b"rubbish", report=b"{}"))

    assert refused(ask(sim, train_request())) == "inner_failed"


def test_a_chain_that_does_not_answer_is_said_so(sim: Sim, monkeypatch: pytest.MonkeyPatch) -> None:
    def down(task: int, round_number: int) -> RoundOnChain:
        raise ChainUnavailable("eth_call failed: http://node.internal:8545 refused")

    monkeypatch.setattr(sim.chain, "round", down)

    reply = ask(sim, train_request())
    assert isinstance(reply, RefusalReply)
    assert reply.code == "chain_unavailable"
    assert "internal" not in reply.reason


# Voting


def test_each_kind_of_proposal_gets_its_score(sim: Sim) -> None:
    voter = sim.nodes[sim.chain.voters[3]]
    broken = b"bytes with the promised digest"
    one, other, third = sim.chain.proposers
    sim.chain.groups = {voter.address: 7, other: 7}
    propose_others(sim, {one: make_adapter(1), other: make_adapter(2), third: broken})
    order = sorted((one, other, third), key=lambda node: int(node, 16))

    reply = ask(sim, commit_request([make_adapter(1), make_adapter(2), broken]), voter)

    assert isinstance(reply, CommitReply)
    scores = dict(zip(order, voter.stored_scores(), strict=True))
    assert scores[other] == 0  # a sister's
    assert scores[third] == INVALID_SCORE
    assert abs(scores[one]) <= 8_000_000
    # The sister's proposal is in the aggregates, but not scored; the broken one is in none.
    assert voter.inner.evaluated == ["all", f"without-{order.index(one)}"]


def test_missing_and_exchanged_bytes_are_unavailable(sim: Sim) -> None:
    voter = sim.nodes[sim.chain.voters[3]]
    one, other, third = sorted(sim.chain.proposers, key=lambda node: int(node, 16))
    propose_others(sim, {one: make_adapter(1), other: make_adapter(2), third: make_adapter(3)})
    request = commit_request([make_adapter(1)])
    exchanged = dict(request.adapters) | {adapter_digest(make_adapter(2)): make_adapter(8)}

    reply = ask(sim, request.model_copy(update={"adapters": exchanged}), voter)

    assert isinstance(reply, CommitReply)
    assert voter.stored_scores()[1:] == (UNAVAILABLE_SCORE, UNAVAILABLE_SCORE)


def test_asked_again_a_voter_commits_to_the_same(sim: Sim) -> None:
    voter = sim.nodes[sim.chain.voters[3]]
    propose_others(sim, {sim.chain.proposers[0]: make_adapter(1)})

    reply = ask(sim, commit_request([make_adapter(1)]), voter)

    assert ask(sim, commit_request([]), voter) == reply
    assert voter.inner.jobs["evaluate"] == 1


def test_two_voters_never_share_a_salt(sim: Sim) -> None:
    propose_others(sim, {sim.chain.proposers[0]: make_adapter(1)})
    for voter in sim.nodes.values():
        ask(sim, commit_request([make_adapter(1)]), voter)

    assert len({voter.stored_salt() for voter in sim.nodes.values()}) == len(sim.nodes)


def test_a_reveal_waits_for_the_chain(sim: Sim) -> None:
    voter = sim.nodes[sim.chain.voters[3]]
    propose_others(sim, {sim.chain.proposers[0]: make_adapter(1)})
    commit = ask(sim, commit_request([make_adapter(1)]), voter)
    assert isinstance(commit, CommitReply)

    # Whatever the conductor says, the scores stay here while others can still commit.
    assert refused(ask(sim, RevealRequest(task=1, round=1), voter)) == "too_early"

    sim.chain.commits[voter.address] = commit.commit
    sim.chain.phase = Phase.REVEALING
    sim.chain.deadline_unix_s = int(sim.clock.now_unix_s()) + PHASE_S
    reveal = ask(sim, RevealRequest(task=1, round=1), voter)
    assert isinstance(reveal, RevealReply)
    assert reveal.reveal.commitment == commit.commit.commitment


def test_without_a_commitment_on_chain_there_is_no_reveal(sim: Sim) -> None:
    voter = sim.nodes[sim.chain.voters[3]]
    propose_others(sim, {sim.chain.proposers[0]: make_adapter(1)})
    ask(sim, commit_request([make_adapter(1)]), voter)
    sim.chain.phase = Phase.REVEALING

    assert refused(ask(sim, RevealRequest(task=1, round=1), voter)) == "not_committed"


# Attesting


def attesting(sim: Sim) -> SimNode:
    """A voter that has scored two proposals, in a round that is being attested."""
    voter = sim.nodes[sim.chain.voters[3]]
    adapters = [make_adapter(1), make_adapter(2)]
    propose_others(sim, dict(zip(sim.chain.proposers[:2], adapters, strict=True)))
    assert isinstance(ask(sim, commit_request(adapters), voter), CommitReply)
    sim.chain.phase = Phase.ATTESTING
    sim.chain.deadline_unix_s = int(sim.clock.now_unix_s()) + PHASE_S
    return voter


def test_an_attestation_reuses_the_measured_losses(sim: Sim) -> None:
    voter = attesting(sim)

    reply = ask(sim, AttestRequest(task=1, round=1), voter)

    assert isinstance(reply, AttestReply)
    assert voter.inner.jobs["evaluate"] == 1
    reply.attestation.require_signer(DOMAIN, reply.signature, voter.address)


def test_an_attestation_after_a_refusal_reuses_the_leave_one_out_loss(sim: Sim) -> None:
    voter = attesting(sim)
    sim.chain.refused = frozenset({sim.chain.proposers[0]})

    reply = ask(sim, AttestRequest(task=1, round=1), voter)

    assert isinstance(reply, AttestReply)
    # One adapter is left; the mean of one is that adapter.
    assert reply.attestation.aggregate_digest == adapter_digest(make_adapter(2))
    assert voter.inner.jobs["evaluate"] == 1


def test_a_voter_without_the_files_says_so_and_takes_them(sim: Sim) -> None:
    attesting(sim)
    newcomer = sim.nodes[sim.chain.voters[2]]

    assert refused(ask(sim, AttestRequest(task=1, round=1), newcomer)) == "adapters_missing"
    full = commit_request([make_adapter(1), make_adapter(2)])
    reply = ask(sim, AttestRequest(task=1, round=1, spec=full.spec, adapters=full.adapters), newcomer)
    assert isinstance(reply, AttestReply)
    assert newcomer.inner.evaluated == ["accepted"]


def test_an_attestation_is_not_made_of_exchanged_adapters(sim: Sim) -> None:
    attesting(sim)
    newcomer = sim.nodes[sim.chain.voters[2]]
    full = commit_request([make_adapter(1)])
    exchanged = dict(full.adapters) | {adapter_digest(make_adapter(2)): make_adapter(8)}

    request = AttestRequest(task=1, round=1, spec=full.spec, adapters=exchanged)
    assert refused(ask(sim, request, newcomer)) == "adapters_missing"


def test_a_reorganised_round_is_another_question(sim: Sim, monkeypatch: pytest.MonkeyPatch) -> None:
    before = ask(sim, train_request())
    facts = sim.chain.round(1, 1)
    monkeypatch.setattr(sim.chain, "round", lambda *_: replace(facts, context="0x" + "ee" * 16))

    after = ask(sim, train_request())

    assert isinstance(before, TrainReply)
    assert isinstance(after, TrainReply)
    assert after.proposal.context == "0x" + "ee" * 16
    assert after.signature != before.signature
