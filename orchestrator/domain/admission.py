"""Whether a round's message may be relayed: what the contract would check, checked where it can be explained.

Nothing here reads artifacts; that an adapter is what its digest and the manifest say is checked apart. So are
messages without a round (``membership``).
"""

from dataclasses import dataclass
from typing import assert_never

from contracts.errors import WrongParent
from contracts.messages import Attestation, Commit, Domain, Proposal, Reveal
from contracts.phase import Phase
from orchestrator.domain.chain import (
    RelayAttestation,
    RelayCommit,
    RelayProposal,
    RelayReveal,
    RoundMessageCall,
)
from orchestrator.domain.errors import (
    Conflict,
    DeadlinePassed,
    NotDrawn,
    RepeatsAccepted,
    RepeatsParent,
    WrongCommitment,
    WrongContext,
    WrongPhase,
    WrongRound,
    WrongScoreCount,
)
from orchestrator.domain.signatures import SignatureClaim, require_signed
from orchestrator.domain.state import NodeState, RoundState

_PHASE_OF: dict[type[RoundMessageCall], Phase] = {
    RelayProposal: Phase.TRAINING,
    RelayCommit: Phase.COMMITTING,
    RelayReveal: Phase.REVEALING,
    RelayAttestation: Phase.ATTESTING,
}


@dataclass(frozen=True)
class Place:
    """Where and when a round's message arrives; ``now_unix_s`` is the newest block's time."""

    round: RoundState
    accepted_before: frozenset[str]
    """Digests of adapters that final rounds of the task accepted."""
    node: NodeState | None
    domain: Domain
    now_unix_s: int
    accepted: SignatureClaim | None = None
    """What the signing key's contract has accepted, if it was asked."""


def check_round_message(call: RoundMessageCall, place: Place) -> None:
    """Refuse a message that the round's contract would refuse now.

    Raises:
        WrongRound, WrongPhase, DeadlinePassed, WrongContext, NotDrawn: any kind of message.
        UnprovenSignature: a message that is signed.
        WrongParent, RepeatsParent, RepeatsAccepted: a proposal.
        WrongCommitment, WrongScoreCount: a reveal.
        Conflict: the chain has this node's message of this kind already.
    """
    message, state = call.message, place.round
    if (message.task, message.round) != (state.task, state.round):
        raise WrongRound(
            f"the message is for round {message.round} of task {message.task}, "
            f"not for round {state.round} of task {state.task}"
        )
    _check_time(_PHASE_OF[type(call)], place)
    if message.context != state.context:
        raise WrongContext(
            f"the message was signed for context {message.context}, the round's is {state.context}"
        )
    match call:
        case RelayProposal():
            _check_proposal(call, place)
        case RelayCommit():
            _check_commit(call, place)
        case RelayReveal():
            _check_reveal(call.message, place)
        case RelayAttestation():
            _check_attestation(call, place)
        case _:
            assert_never(call)


def _check_time(needed: Phase, place: Place) -> None:
    state = place.round
    if state.phase is not needed:
        raise WrongPhase(f"the round is {state.phase.label}, the message belongs to {needed.label}")
    if 0 < state.deadline_unix_s < place.now_unix_s:
        raise DeadlinePassed(f"the deadline of {needed.label} passed at {state.deadline_unix_s}")


def _check_proposal(call: RelayProposal, place: Place) -> None:
    proposal, state = call.message, place.round
    node = _drawn(proposal.node, state.proposers, "proposer", place)
    if proposal.parent_digest != state.parent_digest:
        raise WrongParent(
            f"the proposal starts from {proposal.parent_digest}, the round from {state.parent_digest}"
        )
    if proposal.adapter_digest == state.parent_digest:
        raise RepeatsParent("the proposal repeats the adapter that the round starts from")
    if proposal.adapter_digest in place.accepted_before:
        raise RepeatsAccepted("the proposal repeats an adapter that an earlier round accepted")
    _check_signature(proposal, call.signature, node, place)
    if any(known.node == proposal.node for known in state.proposals):
        raise Conflict(f"the chain holds a proposal of {proposal.node} already")


def _check_commit(call: RelayCommit, place: Place) -> None:
    node = _drawn(call.message.node, place.round.voters, "voter", place)
    _check_signature(call.message, call.signature, node, place)
    if place.round.vote_of(call.message.node) is not None:
        raise Conflict(f"the chain holds a commitment of {call.message.node} already")


def _check_reveal(reveal: Reveal, place: Place) -> None:
    _drawn(reveal.node, place.round.voters, "voter", place)
    vote = place.round.vote_of(reveal.node)
    if vote is None:
        raise WrongCommitment(f"{reveal.node} has not committed to scores in this round")
    if vote.scores_micronats is not None:
        raise Conflict(f"the chain holds the scores of {reveal.node} already")
    if reveal.commitment != vote.commitment:
        raise WrongCommitment("the scores and salt are not those that the node committed to")
    if len(reveal.scores_micronats) != len(place.round.proposals):
        raise WrongScoreCount(
            f"the reveal has {len(reveal.scores_micronats)} scores, "
            f"the round has {len(place.round.proposals)} proposals"
        )


def _check_attestation(call: RelayAttestation, place: Place) -> None:
    node = _drawn(call.message.node, place.round.voters, "voter", place)
    _check_signature(call.message, call.signature, node, place)
    if any(known.node == call.message.node for known in place.round.attestations):
        raise Conflict(f"the chain holds an attestation of {call.message.node} already")


def _drawn(node: str, drawn: tuple[str, ...], role: str, place: Place) -> NodeState:
    if node not in drawn or place.node is None:
        raise NotDrawn(f"{node} was not drawn as a {role} of this round")
    return place.node


def _check_signature(
    message: Proposal | Commit | Attestation, signature: str, node: NodeState, place: Place
) -> None:
    kind = type(message).__name__.lower()
    require_signed(
        message,
        place.domain,
        signature,
        node.signer,
        accepted=place.accepted,
        refusal=f"the {kind} is not signed for {node.node}",
    )
