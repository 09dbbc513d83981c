"""The conductor of one round: looks at the round, asks the nodes for what is missing, relays what is good.

It keeps nothing that matters. Every tick starts from the round as the orchestrator shows it, so that a
conductor that is started again for the same round asks only for what is still missing; nodes answer again
from their records. A node that refuses, fails or answers with something bad is logged, and the round goes
on without it.

Requests go out ahead of their phase where a node would otherwise be asked too late: a voter gets "reveal"
and "attest" right behind "commit", holds them until the chain is there, and so answers at once. Their
answers are kept here until the orchestrator's own view of the chain has come as far.

Free of Flower types: nodes are behind ``Mailbox``, the orchestrator behind ``Hub``, time behind ``Clock``.
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from contracts.aggregation import Contribution
from contracts.errors import ContractViolation
from contracts.messages import Domain
from contracts.task import TaskSpec
from tier_global.backoff import Backoff
from tier_global.clock import Clock
from tier_global.errors import HubRefused, HubUnavailable, RoundOverdue
from tier_global.exchange import (
    AttestReply,
    AttestRequest,
    CommitReply,
    CommitRequest,
    RefusalReply,
    Reply,
    Request,
    RevealReply,
    RevealRequest,
    TrainReply,
    TrainRequest,
)
from tier_global.hub import Hub, RoundResource
from tier_global.journal import Journal, JournalEntry
from tier_global.mailbox import Arrival, Mailbox
from tier_global.phases import PHASE_OF, Phase, Stage
from tier_global.reply_checks import check_reply
from tier_global.roster import Roster
from tier_global.scoring import combine

TICK_S = 0.25
HUB_PATIENCE_S = 120.0
"""How long the orchestrator may be away before the conductor gives up; the worker starts another one."""
REQUESTED_PATIENCE_S = 300.0
"""How long a round may wait for its draw, a phase without a deadline."""
OVERDUE_S = 60.0
"""How long a phase may stay past its deadline until somebody moves the round on."""
HAND_IN_AGAIN_S = 10.0
"""An answer that was handed in and is not on chain after this long is handed in again; that is harmless."""
_ASK_AGAIN = ("too_early", "busy")
_MAY_PASS = ("chain_unavailable",)

log = logging.getLogger("collegium.conductor")


@dataclass(frozen=True)
class _Asked:
    """A request that waits for its answer."""

    node: str
    stage: Stage
    connection: int
    asked_unix_s: float
    request_bytes: int


@dataclass(frozen=True)
class _Delivery:
    """A good-looking answer on its way to the orchestrator."""

    node: str
    stage: Stage
    reply: Reply


@dataclass(frozen=True)
class _HandedIn:
    """An answer that the orchestrator has taken, and when."""

    delivery: _Delivery
    handed_in_unix_s: float


class Conductor:
    """Conducts one round, from wherever it stands to its end."""

    def __init__(
        self,
        task: int,
        round_number: int,
        *,
        hub: Hub,
        mailbox: Mailbox,
        domain: Domain,
        clock: Clock,
        journal: Journal,
    ) -> None:
        self._task = task
        self._round = round_number
        self._hub = hub
        self._mailbox = mailbox
        self._domain = domain
        self._clock = clock
        self._journal = journal
        self._roster = Roster(task, round_number, domain, mailbox, hub.signers, clock)
        self._asked: dict[str, _Asked] = {}
        self._asked_once: set[tuple[str, Stage]] = set()
        self._failures = Backoff[tuple[str, Stage]](clock)
        self._handed_in: dict[tuple[str, Stage], _HandedIn] = {}
        self._given_up: set[tuple[str, Stage]] = set()
        self._deliveries: list[_Delivery] = []
        self._lacks_adapters: set[str] = set()
        self._artifacts: dict[str, bytes] = {}
        self._spec: TaskSpec | None = None
        self._spec_bytes = b""
        self._aggregate_stored = False

    def run(self) -> Phase:
        """Conduct the round until it is closed; the phase in which it ended.

        Raises:
            RoundOverdue: a phase is past its deadline and nobody moves the round on.
            HubUnavailable: the orchestrator was away for too long.
            HubRefused: the orchestrator does not know the round, or does not let this conductor read it.
        """
        started_unix_s = last_seen_unix_s = self._clock.now_unix_s()
        phase: Phase | None = None
        while True:
            now_unix_s = self._clock.now_unix_s()
            try:
                view = self._hub.round(self._task, self._round)
                last_seen_unix_s = now_unix_s
                if view.phase != phase:
                    phase = view.phase
                    log.info("round %d of task %d is in phase %s", self._round, self._task, phase.label)
                if view.phase.closed:
                    return view.phase
                _require_in_time(view, started_unix_s, now_unix_s)
                self._tick(view)
            except HubUnavailable as error:
                log.warning("%s", error)
                if now_unix_s - last_seen_unix_s > HUB_PATIENCE_S:
                    raise
            self._clock.sleep(TICK_S)

    def _tick(self, view: RoundResource) -> None:
        self._roster.greet_newcomers()
        for arrival in self._mailbox.collect():
            self._take_in(arrival)
        self._deliver(view)
        self._store_aggregate(view)
        for stage, nodes in self._missing(view):
            self._hand_in_again(stage, nodes)
            self._ask(stage, nodes, view)

    # Asking

    def _missing(self, view: RoundResource) -> Iterable[tuple[Stage, Sequence[str]]]:
        """Which stages to ask of whom, in the order in which a node is to read them."""
        committed = {vote.node for vote in view.votes if vote.committed}
        revealed = {vote.node for vote in view.votes if vote.revealed}
        attested = {vote.node for vote in view.attestations if vote.aggregate_digest is not None}
        match view.phase:
            case Phase.TRAINING:
                proposed = {proposal.node for proposal in view.proposals}
                yield Stage.TRAIN, [node for node in view.proposers if node not in proposed]
            case Phase.COMMITTING:
                hopeful = [node for node in view.voters if (node, Stage.COMMIT) not in self._given_up]
                first_time = [node for node in hopeful if (node, Stage.ATTEST) not in self._asked_once]
                yield Stage.COMMIT, [node for node in hopeful if node not in committed]
                yield Stage.REVEAL, hopeful
                yield Stage.ATTEST, first_time
            case Phase.REVEALING:
                yield Stage.REVEAL, [node for node in view.voters if node in committed - revealed]
                yield Stage.ATTEST, view.voters
            case Phase.ATTESTING:
                yield Stage.ATTEST, [node for node in view.voters if node not in attested]

    def _ask(self, stage: Stage, nodes: Sequence[str], view: RoundResource) -> None:
        connections = {
            node: connection
            for node in nodes
            if (connection := self._roster.connection_of(node)) is not None
            and self._is_to_be_asked(node, stage, connection)
        }
        without_adapters = [node for node in connections if node not in self._lacks_adapters]
        for addressees in (without_adapters, [node for node in connections if node in self._lacks_adapters]):
            if addressees:
                request = self._request(stage, view, with_adapters=addressees is not without_adapters)
                self._send(request, {node: connections[node] for node in addressees}, stage)

    def _is_to_be_asked(self, node: str, stage: Stage, connection: int) -> bool:
        waiting = any(
            (asked.node, asked.stage, asked.connection) == (node, stage, connection)
            for asked in self._asked.values()
        )
        on_its_way = any((delivery.node, delivery.stage) == (node, stage) for delivery in self._deliveries)
        settled = (node, stage) in self._handed_in or (node, stage) in self._given_up
        return not (waiting or on_its_way or settled) and self._failures.is_over((node, stage))

    def _send(self, request: Request, connections: dict[str, int], stage: Stage) -> None:
        now_unix_s = self._clock.now_unix_s()
        letters = self._mailbox.send(request, list(connections.values()))
        for node, connection in connections.items():
            if connection in letters:
                log.info("%s: asked %s", stage, node)
                self._asked_once.add((node, stage))
                self._asked[letters[connection]] = _Asked(
                    node, stage, connection, now_unix_s, request.size_bytes
                )

    def _request(self, stage: Stage, view: RoundResource, *, with_adapters: bool) -> Request:
        match stage:
            case Stage.TRAIN:
                self._task_spec()
                parent = {view.parent_digest: self._artifact(view.parent_digest)}
                return TrainRequest(
                    task=self._task, round=self._round, spec=self._spec_bytes, adapters=parent
                )
            case Stage.COMMIT:
                self._task_spec()
                return CommitRequest(
                    task=self._task,
                    round=self._round,
                    spec=self._spec_bytes,
                    adapters=self._all_adapters(view),
                )
            case Stage.REVEAL:
                return RevealRequest(task=self._task, round=self._round)
            case _:
                if not with_adapters:
                    return AttestRequest(task=self._task, round=self._round)
                self._task_spec()
                return AttestRequest(
                    task=self._task,
                    round=self._round,
                    spec=self._spec_bytes,
                    adapters=self._all_adapters(view),
                )

    def _all_adapters(self, view: RoundResource) -> dict[str, bytes]:
        """The parent and every proposal that the orchestrator can give."""
        adapters = {view.parent_digest: self._artifact(view.parent_digest)}
        for proposal in view.proposals:
            try:
                adapters[proposal.adapter_digest] = self._artifact(proposal.adapter_digest)
            except HubRefused as refusal:
                log.warning("the adapter of %s is not to be had: %s", proposal.node, refusal)
        return adapters

    def _task_spec(self) -> TaskSpec:
        if self._spec is None:
            self._spec_bytes = self._hub.artifact(self._hub.spec_digest(self._task))
            self._spec = TaskSpec.parse(self._spec_bytes)
        return self._spec

    def _artifact(self, digest: str) -> bytes:
        if digest not in self._artifacts:
            self._artifacts[digest] = self._hub.artifact(digest)
        return self._artifacts[digest]

    # Answers

    def _take_in(self, arrival: Arrival) -> None:
        if self._roster.owns(arrival.letter):
            if node := self._roster.hear(arrival):
                self._forget_older_connections(node)
            return
        asked = self._asked.pop(arrival.letter, None)
        if asked is None:
            return
        self._write_down(asked, arrival)
        key = (asked.node, asked.stage)
        match arrival.reply:
            case None:
                log.warning("%s: %s failed: %s", asked.stage, asked.node, arrival.failure)
                self._failures.count(key)
            case RefusalReply(code=code, reason=reason):
                log.warning("%s: %s refused (%s): %s", asked.stage, asked.node, code, reason)
                self._consider_refusal(key, code)
            case reply if reply.stage == asked.stage:
                self._deliveries.append(_Delivery(asked.node, asked.stage, reply))
            case reply:
                log.warning("%s: %s answered with %s", asked.stage, asked.node, reply.stage)
                self._given_up.add(key)

    def _consider_refusal(self, key: tuple[str, Stage], code: str) -> None:
        node, stage = key
        if code in _ASK_AGAIN:
            return
        if code == "adapters_missing" and stage is Stage.ATTEST and node not in self._lacks_adapters:
            self._lacks_adapters.add(node)
        elif code in _MAY_PASS:
            self._failures.count(key)
        else:
            self._given_up.add(key)

    def _forget_older_connections(self, node: str) -> None:
        """A node that comes back under a new connection will never answer under the old one."""
        log.info("identify: %s is connected", node)
        connection = self._roster.connection_of(node)
        self._asked = {
            letter: asked
            for letter, asked in self._asked.items()
            if asked.node != node or asked.connection == connection
        }

    def _write_down(self, asked: _Asked, arrival: Arrival) -> None:
        reply = arrival.reply
        seconds = self._clock.now_unix_s() - asked.asked_unix_s
        log.info("%s: %s answered after %.1f s", asked.stage, asked.node, seconds)
        self._journal.write(
            JournalEntry(
                task=self._task,
                round=self._round,
                stage=asked.stage,
                node=asked.node,
                seconds=round(seconds, 3),
                bytes_to_nodes=asked.request_bytes,
                bytes_from_nodes=0 if reply is None else reply.size_bytes,
                node_seconds=dict(getattr(reply, "seconds", {})),
            )
        )

    # Relaying

    def _deliver(self, view: RoundResource) -> None:
        """Hand in what the round is ready for, drop what came too late, keep the rest."""
        waiting, self._deliveries = self._deliveries, []
        for position, delivery in enumerate(waiting):
            if view.phase < PHASE_OF[delivery.stage]:
                self._deliveries.append(delivery)
            elif view.phase > PHASE_OF[delivery.stage]:
                log.warning("%s: the answer of %s came too late", delivery.stage, delivery.node)
            else:
                try:
                    self._hand_in(delivery, view)
                except HubUnavailable:
                    self._deliveries += waiting[position:]
                    raise

    def _hand_in_again(self, stage: Stage, nodes: Sequence[str]) -> None:
        """What was handed in and does not get to the chain may have been lost on the way there."""
        for node in nodes:
            handed_in = self._handed_in.get((node, stage))
            if handed_in and self._clock.now_unix_s() - handed_in.handed_in_unix_s > HAND_IN_AGAIN_S:
                del self._handed_in[node, stage]
                self._deliveries.append(handed_in.delivery)

    def _hand_in(self, delivery: _Delivery, view: RoundResource) -> None:
        key = (delivery.node, delivery.stage)
        try:
            signer = self._roster.signer_of(delivery.node)
            if signer is None:
                raise HubRefused(404, "unknown_node", f"{delivery.node} is not a node")
            check_reply(delivery.reply, delivery.node, signer, view, self._task_spec(), self._domain)
            self._relay(delivery.reply)
        except (ContractViolation, HubRefused) as refusal:
            log.warning("%s: the answer of %s is refused (%s): %s", *reversed(key), refusal.code, refusal)
            self._given_up.add(key)
        else:
            log.info("%s: the answer of %s is relayed", delivery.stage, delivery.node)
            self._handed_in[key] = _HandedIn(delivery, self._clock.now_unix_s())

    def _relay(self, reply: Reply) -> None:
        match reply:
            case TrainReply():
                adapter = reply.adapters[reply.proposal.adapter_digest]
                self._artifacts[self._hub.store_artifact(adapter)] = adapter
                self._hub.store_artifact(reply.report)
                self._hub.propose(reply.proposal, reply.signature)
            case CommitReply():
                self._hub.commit(reply.commit, reply.signature)
            case RevealReply():
                self._hub.reveal(reply.reveal)
            case AttestReply():
                self._hub.attest(reply.attestation, reply.signature)

    def _store_aggregate(self, view: RoundResource) -> None:
        """Once the votes are counted, recompute the aggregate and store it, for everybody to get."""
        if view.phase is not Phase.ATTESTING or self._aggregate_stored:
            return
        spec = self._task_spec()
        accepted = [proposal for proposal in view.proposals if proposal.accepted]
        try:
            contributions = [
                Contribution(
                    node=proposal.node,
                    digest=proposal.adapter_digest,
                    tensors=spec.manifest.decode(
                        self._artifact(proposal.adapter_digest), digest=proposal.adapter_digest
                    ),
                )
                for proposal in accepted
            ]
            digest = self._hub.store_artifact(combine("accepted", spec, contributions).data)
            log.info("attest: the aggregate of %d adapters is %s", len(accepted), digest)
        except (ContractViolation, HubRefused) as refusal:
            log.error("attest: the aggregate cannot be made or stored: %s", refusal)
        self._aggregate_stored = True


def _require_in_time(view: RoundResource, started_unix_s: float, now_unix_s: float) -> None:
    """Refuse to wait for ever for a round that nobody moves on."""
    if view.deadline_unix_s:
        limit_unix_s = view.deadline_unix_s + OVERDUE_S
    else:
        limit_unix_s = started_unix_s + REQUESTED_PATIENCE_S
    if now_unix_s > limit_unix_s:
        raise RoundOverdue(f"phase {view.phase.label} should be over, and nobody moves the round on")
