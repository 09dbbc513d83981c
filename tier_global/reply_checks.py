"""What the conductor checks before it relays a node's answer. Pure; each check raises ContractViolation.

Whether the node signed it is for ``Signers`` to say.

The chain and the orchestrator check again: this is the first place that can know, so that a bad answer
costs no gas and its node is named in the log.
"""

from contracts.digests import sha256_digest
from contracts.errors import DigestMismatch, InvalidMessage, WrongParent
from contracts.messages import Attestation, Commit, Domain, Proposal, Reveal
from contracts.task import TaskSpec
from tier_global.exchange import AttestReply, CommitReply, Reply, RevealReply, TrainReply
from tier_global.hub import RoundResource


def check_reply(
    reply: Reply, node: str, view: RoundResource, spec: TaskSpec, domain: Domain
) -> tuple[bytes, str] | None:
    """Refuse an answer of ``node`` that the protocol would not accept in the round as ``view`` shows it.

    Returns the digest that the node must have signed, and its signature; None for a reveal, whose commitment
    proves it.
    """
    match reply:
        case TrainReply():
            _check_message(reply.proposal, node, view)
            _check_training(reply, view, spec)
            return reply.proposal.digest(domain), reply.signature
        case CommitReply():
            _check_message(reply.commit, node, view)
            return reply.commit.digest(domain), reply.signature
        case RevealReply():
            _check_message(reply.reveal, node, view)
            if len(reply.reveal.scores_micronats) != len(view.proposals):
                raise InvalidMessage(f"a reveal has one score for each of {len(view.proposals)} proposals")
            return None
        case AttestReply():
            _check_message(reply.attestation, node, view)
            return reply.attestation.digest(domain), reply.signature
        case _:
            raise InvalidMessage(f"a reply of kind {reply.stage} holds no message")


def _check_message(message: Proposal | Commit | Reveal | Attestation, node: str, view: RoundResource) -> None:
    if message.node != node:
        raise InvalidMessage(f"{node} answers with a message of {message.node}")
    if (message.task, message.round) != (view.task, view.round):
        raise InvalidMessage(f"the message is for round {message.round} of task {message.task}")
    if message.context != view.context:
        raise InvalidMessage("the message's context is not the round's")
    if node not in (view.proposers if isinstance(message, Proposal) else view.voters):
        raise InvalidMessage(f"{node} was not drawn for this")


def _check_training(reply: TrainReply, view: RoundResource, spec: TaskSpec) -> None:
    proposal = reply.proposal
    if proposal.parent_digest != view.parent_digest:
        raise WrongParent(
            f"{proposal.node} trained from {proposal.parent_digest}, not from the round's parent"
        )
    if proposal.adapter_digest == view.parent_digest:
        raise WrongParent(f"{proposal.node} proposes the parent itself")
    adapter = reply.adapters.get(proposal.adapter_digest)
    if adapter is None or len(reply.adapters) != 1:
        raise DigestMismatch(f"{proposal.node} sent another adapter than it signed for")
    spec.manifest.decode(adapter, digest=proposal.adapter_digest)
    if sha256_digest(reply.report) != proposal.report_digest:
        raise DigestMismatch(f"{proposal.node} sent another report than it signed for")
