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

from contracts.messages import Domain
from contracts.phase import Phase
from tier_global.backoff import Backoff
from tier_global.clock import Clock
from tier_global.connection_book import ConnectionBook
from tier_global.errors import HubUnavailable, RoundOverdue
from tier_global.exchange import (
    AttestRequest,
    CommitRequest,
    RefusalReply,
    Request,
    RevealRequest,
    TrainRequest,
    sender_of,
)
from tier_global.hub import Hub, RoundResource
from tier_global.journal import Journal, JournalEntry
from tier_global.mailbox import Arrival, Mailbox
from tier_global.phases import Stage
from tier_global.relay import Answer, Relay
from tier_global.roster import Roster
from tier_global.round_files import RoundFiles
from tier_global.signers import Signers

TICK_S = 0.25
HUB_PATIENCE_S = 120.0
"""How long the orchestrator may be away before the conductor gives up; the worker starts another one."""
REQUESTED_PATIENCE_S = 300.0
"""How long a round may wait for its draw where the hub names no deadline."""
OVERDUE_S = 60.0
"""How long a phase may stay past its deadline until somebody moves the round on."""
ASK_PAUSE_S = 2.0
"""The same question is not put to the same node more often than this."""
_ASK_AGAIN = ("too_early", "busy")
_MAY_PASS = ("chain_unavailable", "wrong_key", "signer_unavailable")
_NOT_I = ("not_drawn", "not_approved", "not_committed")
"""What a node says that was taken for another one."""

log = logging.getLogger("collegium.conductor")


@dataclass(frozen=True)
class _Asked:
    """A request that waits for its answer."""

    node: str
    stage: Stage
    connection: int
    asked_unix_s: float
    request_bytes: int


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
        book: ConnectionBook,
        registered_only: bool = False,
    ) -> None:
        self._task = task
        self._round = round_number
        self._hub = hub
        self._mailbox = mailbox
        self._domain = domain
        self._clock = clock
        self._journal = journal
        signers = Signers(hub)
        self._roster = Roster(
            task, round_number, domain, mailbox, signers, clock, book, registered_only=registered_only
        )
        self._files = RoundFiles(hub, task)
        self._relay = Relay(hub, domain, clock, signers)
        self._waiting: dict[str, _Asked] = {}
        self._asked_unix_s: dict[tuple[str, Stage], float] = {}
        self._failures = Backoff[tuple[str, Stage]](clock)
        self._given_up: set[tuple[str, Stage]] = set()
        self._lack_adapters: set[str] = set()

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
        self._relay.hand_in(view, self._files.spec())
        if view.phase is Phase.ATTESTING:
            self._files.store_aggregate(view)
        for stage, nodes in self._missing(view):
            for node in nodes:
                self._relay.hand_in_again(node, stage)
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
                hopeful = [node for node in view.voters if not self._is_hopeless(node, Stage.COMMIT)]
                first_time = [node for node in hopeful if (node, Stage.ATTEST) not in self._asked_unix_s]
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
        lacking = {
            node: connection for node, connection in connections.items() if node in self._lack_adapters
        }
        others = {node: connection for node, connection in connections.items() if node not in lacking}
        if others:
            self._send(self._request(stage, view, with_adapters=stage is Stage.COMMIT), others, stage)
        if lacking:
            self._send(self._request(stage, view, with_adapters=True), lacking, stage)

    def _is_to_be_asked(self, node: str, stage: Stage, connection: int) -> bool:
        waits = any(
            (asked.node, asked.stage, asked.connection) == (node, stage, connection)
            for asked in self._waiting.values()
        )
        settled = self._relay.has(node, stage) or self._is_hopeless(node, stage)
        asked_s = self._clock.now_unix_s() - self._asked_unix_s.get((node, stage), 0.0)
        return not (waits or settled) and asked_s >= ASK_PAUSE_S and self._failures.is_over((node, stage))

    def _is_hopeless(self, node: str, stage: Stage) -> bool:
        return (node, stage) in self._given_up or self._relay.has_refused(node, stage)

    def _send(self, request: Request, connections: dict[str, int], stage: Stage) -> None:
        now_unix_s = self._clock.now_unix_s()
        letters = self._mailbox.send(request, list(connections.values()))
        for node, connection in connections.items():
            if connection in letters:
                log.info("%s: asked %s", stage, node)
                self._asked_unix_s[node, stage] = now_unix_s
                asked = _Asked(node, stage, connection, now_unix_s, request.size_bytes)
                self._waiting[letters[connection]] = asked

    def _request(self, stage: Stage, view: RoundResource, *, with_adapters: bool) -> Request:
        task, round_number = self._task, self._round
        spec = self._files.spec_bytes() if with_adapters or stage is Stage.TRAIN else b""
        adapters = self._files.adapters(view) if with_adapters else {}
        match stage:
            case Stage.TRAIN:
                parent = self._files.parent(view)
                return TrainRequest(task=task, round=round_number, spec=spec, adapters=parent)
            case Stage.COMMIT:
                return CommitRequest(task=task, round=round_number, spec=spec, adapters=adapters)
            case Stage.REVEAL:
                return RevealRequest(task=task, round=round_number)
            case _:
                return AttestRequest(task=task, round=round_number, spec=spec, adapters=adapters)

    # Answers

    def _take_in(self, arrival: Arrival) -> None:
        if self._roster.owns(arrival.letter):
            if node := self._roster.hear(arrival):
                self._forget_older_connections(node)
            return
        asked = self._waiting.pop(arrival.letter, None)
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
            case reply if sender_of(reply) != asked.node and self._roster.doubt(asked.node):
                log.warning("%s: another node than %s answered", asked.stage, asked.node)
            case reply if reply.stage == asked.stage:
                self._relay.take(Answer(asked.node, asked.stage, reply))
            case reply:
                log.warning("%s: %s answered with %s", asked.stage, asked.node, reply.stage)
                self._given_up.add(key)

    def _consider_refusal(self, key: tuple[str, Stage], code: str) -> None:
        node, stage = key
        if code in _ASK_AGAIN:
            return
        if code == "adapters_missing" and stage is Stage.ATTEST and node not in self._lack_adapters:
            self._lack_adapters.add(node)
        elif code in _MAY_PASS:
            self._failures.count(key)
        elif code not in _NOT_I or not self._roster.doubt(node):
            self._given_up.add(key)

    def _forget_older_connections(self, node: str) -> None:
        """A node that comes back under a new connection will never answer under the old one."""
        log.info("identify: %s is connected", node)
        connection = self._roster.connection_of(node)
        self._waiting = {
            letter: asked
            for letter, asked in self._waiting.items()
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


def _require_in_time(view: RoundResource, started_unix_s: float, now_unix_s: float) -> None:
    """Refuse to wait for ever for a round that nobody moves on."""
    if view.deadline_unix_s:
        limit_unix_s = view.deadline_unix_s + OVERDUE_S
    else:
        limit_unix_s = started_unix_s + REQUESTED_PATIENCE_S
    if now_unix_s > limit_unix_s:
        raise RoundOverdue(f"phase {view.phase.label} should be over, and nobody moves the round on")
