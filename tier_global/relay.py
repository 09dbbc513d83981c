"""The conductor's way to the orchestrator: checks answers, hands them in when the round is ready for them.

A node sees the chain with its own eyes and may answer before the orchestrator has seen the same block; its
answer is kept until then. Handing in twice is harmless, so what does not get to the chain is handed in again.
"""

import logging
from dataclasses import dataclass

from contracts.errors import ContractViolation, InvalidMessage
from contracts.messages import Domain
from contracts.task import TaskSpec
from tier_global.clock import Clock
from tier_global.errors import HubRefused, HubUnavailable
from tier_global.exchange import AttestReply, CommitReply, Reply, RevealReply, TrainReply
from tier_global.hub import Hub, RoundResource
from tier_global.phases import PHASE_OF, Stage
from tier_global.reply_checks import check_reply
from tier_global.signers import Signers

HAND_IN_AGAIN_S = 10.0
"""An answer that was handed in and is not on chain after this long is handed in again."""

log = logging.getLogger("collegium.conductor")


@dataclass(frozen=True)
class Answer:
    """What a node answered in a stage."""

    node: str
    stage: Stage
    reply: Reply


class Relay:
    """The answers of one round on their way."""

    def __init__(self, hub: Hub, domain: Domain, clock: Clock, signers: Signers) -> None:
        self._hub = hub
        self._domain = domain
        self._clock = clock
        self._signers = signers
        self._waiting: list[Answer] = []
        self._handed_in: dict[tuple[str, Stage], tuple[Answer, float]] = {}
        self._refused: set[tuple[str, Stage]] = set()

    def has(self, node: str, stage: Stage) -> bool:
        """Whether an answer is here, handed in or not."""
        waits = any((answer.node, answer.stage) == (node, stage) for answer in self._waiting)
        return waits or (node, stage) in self._handed_in

    def has_refused(self, node: str, stage: Stage) -> bool:
        """Whether an answer broke a rule; the same node would only give the same answer again."""
        return (node, stage) in self._refused

    def take(self, answer: Answer) -> None:
        """An answer has come."""
        self._waiting.append(answer)

    def hand_in(self, view: RoundResource, spec: TaskSpec) -> None:
        """Hand in what the round is ready for, drop what came too late, keep the rest.

        Raises:
            HubUnavailable: nothing is lost; try again.
        """
        waiting, self._waiting = self._waiting, []
        for position, answer in enumerate(waiting):
            if view.phase < PHASE_OF[answer.stage]:
                self._waiting.append(answer)
            elif view.phase > PHASE_OF[answer.stage]:
                log.warning("%s: the answer of %s came too late", answer.stage, answer.node)
            else:
                try:
                    self._hand_in_one(answer, view, spec)
                except HubUnavailable:
                    self._waiting += waiting[position:]
                    raise

    def hand_in_again(self, node: str, stage: Stage) -> None:
        """The answer of ``node`` is not on chain: if that has lasted, it may have been lost on the way."""
        answer, handed_in_unix_s = self._handed_in.get((node, stage), (None, 0.0))
        if answer and self._clock.now_unix_s() - handed_in_unix_s > HAND_IN_AGAIN_S:
            del self._handed_in[node, stage]
            self._waiting.append(answer)

    def _hand_in_one(self, answer: Answer, view: RoundResource, spec: TaskSpec) -> None:
        node, stage = answer.node, answer.stage
        try:
            self._check(answer, view, spec)
            self._send(answer.reply)
        except (ContractViolation, HubRefused) as refusal:
            log.warning("%s: the answer of %s is refused (%s): %s", stage, node, refusal.code, refusal)
            self._refused.add((node, stage))
        else:
            log.info("%s: the answer of %s is handed in", stage, node)
            self._handed_in[node, stage] = (answer, self._clock.now_unix_s())

    def _check(self, answer: Answer, view: RoundResource, spec: TaskSpec) -> None:
        if not self._signers.knows(answer.node):
            raise HubRefused(404, "unknown_node", f"{answer.node} is not a node")
        signed = check_reply(answer.reply, answer.node, view, spec, self._domain)
        if signed is not None and not self._signers.have_signed(answer.node, *signed):
            raise InvalidMessage(f"the signature is not by the signing key of {answer.node}")

    def _send(self, reply: Reply) -> None:
        match reply:
            case TrainReply():
                self._hub.store_artifact(reply.adapters[reply.proposal.adapter_digest])
                self._hub.store_artifact(reply.report)
                self._hub.propose(reply.proposal, reply.signature)
            case CommitReply():
                self._hub.commit(reply.commit, reply.signature)
            case RevealReply():
                self._hub.reveal(reply.reveal)
            case AttestReply():
                self._hub.attest(reply.attestation, reply.signature)
