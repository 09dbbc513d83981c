"""What nodes sign: checked as the contract would, then recorded for relay."""

from collections.abc import Sequence
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from functools import cached_property

from contracts.deployment import Deployment
from contracts.errors import ContractViolation
from orchestrator.domain.admission import Place, check_round_message
from orchestrator.domain.artifacts import ArtifactStore
from orchestrator.domain.chain import (
    NodeMessageCall,
    RegistryMessageCall,
    RelayProposal,
    RoundMessageCall,
    TasksMessageCall,
)
from orchestrator.domain.errors import (
    ArtifactMissing,
    Conflict,
    NotFound,
    OrchestratorError,
    Unavailable,
    UnknownNode,
    WrongNode,
    WrongRound,
)
from orchestrator.domain.membership import Membership, check_node_message
from orchestrator.domain.outbox import Intent, IntentStatus, message_key
from orchestrator.domain.ports import Clock, Records, Unit
from orchestrator.domain.signatures import SignatureClaim
from orchestrator.domain.state import NodeState, TaskState
from orchestrator.services.audit import record_change
from orchestrator.services.outbox import enqueue, enqueue_after
from orchestrator.services.remembered_rounds import RememberedRounds
from orchestrator.services.signatures import SignatureService
from orchestrator.services.tasks import check_stored_adapter, stored_spec
from orchestrator.services.together import Together

_MOST_AT_A_TIME = 100
"""Messages that are recorded in one transaction."""


@dataclass(frozen=True)
class _Asked:
    """A round's message as it was sent, and the context of its request: who sent it, and its correlation."""

    task: int
    round: int
    call: RoundMessageCall
    accepted: SignatureClaim | None
    context: Context

    @cached_property
    def key(self) -> str:
        """What its intent is called."""
        return message_key(self.call)


@dataclass(frozen=True)
class MessageService:
    """Takes messages of nodes; ``deployment`` names the contracts that they sign for."""

    records: Records
    artifacts: ArtifactStore
    deployment: Deployment
    clock: Clock
    signatures: SignatureService
    _rounds: RememberedRounds = field(default_factory=RememberedRounds, init=False)
    _sent: Together[_Asked, Intent] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # The dataclass is frozen for everybody else.
        object.__setattr__(self, "_sent", Together(self._relay_all, _MOST_AT_A_TIME))

    def relay(self, task: int, round_number: int, call: RoundMessageCall) -> Intent:
        """Record a round's message for relay; the same message again gives the same intent.

        Raises:
            NotFound: the chain has no such round.
            OrchestratorError, ContractViolation: as ``check_round_message`` and ``SignatureService.settle``;
                for a proposal also what is wrong with its artifacts. Nothing is recorded then.
            Conflict: the node sent another message of the kind in this state of the round.
        """
        return self.signatures.settle(lambda accepted: self._relay(task, round_number, call, accepted))

    def _relay(
        self, task: int, round_number: int, call: RoundMessageCall, accepted: SignatureClaim | None
    ) -> Intent:
        asked = _Asked(task, round_number, call, accepted, copy_context())
        if isinstance(call, RelayProposal):
            # Its adapter is read outside of any unit, and only when all else is right.
            with self.records.read() as unit:
                known = self._looked_at(unit, [asked])[0]
                spec_digest = None if known else _task(unit, task).config.spec_digest
            if isinstance(known, Exception):
                raise known
            if known is not None:
                return known
            if spec_digest is not None:
                self._check_artifacts(spec_digest, call)
        return self._sent.ask(asked)

    def _relay_all(self, sent: Sequence[_Asked]) -> list[Intent | Exception]:
        """Check and record messages that came in at the same time, in one transaction."""
        with self.records.read() as unit:
            outcomes = self._looked_at(unit, sent)
            checked_at = unit.projection.last_block()
        if all(outcomes):
            return [outcome for outcome in outcomes if outcome is not None]
        with self.records.write() as unit:
            if unit.projection.last_block() != checked_at:
                # Again, because the round may have moved since.
                outcomes = self._looked_at(unit, sent)
            known = unit.outbox.by_keys([asked.key for asked in sent])
            return [
                outcome or asked.context.run(self._record, unit, asked, known)
                for asked, outcome in zip(sent, outcomes, strict=True)
            ]

    def _looked_at(self, unit: Unit, sent: Sequence[_Asked]) -> list[Intent | Exception | None]:
        """For each its intent if it has one, or what is wrong with it; None for what may be recorded."""
        known = unit.outbox.by_keys([asked.key for asked in sent])
        nodes = unit.projection.nodes_of({asked.call.message.node for asked in sent})
        outcomes: list[Intent | Exception | None] = []
        for asked in sent:
            intent = known.get(asked.key)
            try:
                if intent is not None and _is_the_same(intent, asked):
                    outcomes.append(intent)
                else:
                    self._check(unit, asked, nodes.get(asked.call.message.node))
                    outcomes.append(None)
            except (OrchestratorError, ContractViolation) as error:
                outcomes.append(error)
        return outcomes

    def _record(self, unit: Unit, asked: _Asked, known: dict[str, Intent]) -> Intent | Exception:
        """Queue a message in the name of whoever sent it; ``known`` are the unit's own."""
        now_unix_s = self.clock.now_unix_s()
        try:
            intent = enqueue_after(unit, known.get(asked.key), asked.key, asked.call, now_unix_s)
        except Conflict as error:
            return error
        known[asked.key] = intent
        record_change(unit, now_unix_s)
        return intent

    def relay_of_task(self, task: int, call: TasksMessageCall) -> Intent:
        """Record a node's approval or revocation for relay; the same message again gives the same intent.

        Raises:
            NotFound: the chain has no such task.
            OrchestratorError: as ``check_node_message`` and ``SignatureService.settle``.
            Conflict: another message with the same nonce was recorded.
        """
        if call.message.task != task:
            raise WrongRound(f"the message is for task {call.message.task}, not for task {task}")
        return self.signatures.settle(lambda accepted: self._relay_of_node(call, task, accepted))

    def relay_of_node(self, node: str, call: RegistryMessageCall) -> Intent:
        """Record what a node says to the registry for relay; the same message again gives the same intent.

        Raises:
            OrchestratorError: as ``check_node_message`` and ``SignatureService.settle``.
            Conflict: another message with the same nonce was recorded.
        """
        if call.message.node != node:
            raise WrongNode(f"the message is of node {call.message.node}, not of {node}")
        return self.signatures.settle(lambda accepted: self._relay_of_node(call, None, accepted))

    def has_signed(self, node: str, digest: str, signature: str) -> bool:
        """Whether the chain would take a signature over a digest as the node's signing key's, now.

        Raises:
            UnknownNode: it was never admitted.
            TooManyRequests, Unavailable: as ``SignatureService.accept``.
        """
        with self.records.read() as unit:
            state = unit.projection.node(node)
        if state is None:
            raise UnknownNode(f"node {node} was never admitted")
        return self.signatures.accept(SignatureClaim(state.signer, digest, signature))

    def _relay_of_node(
        self, call: NodeMessageCall, task: int | None, accepted: SignatureClaim | None
    ) -> Intent:
        key = message_key(call)
        with self.records.write() as unit:
            known = unit.outbox.by_key(key)
            if known is not None and known.call == call and known.status is not IntentStatus.REFUSED:
                return known
            registry = unit.projection.registry()
            if registry is None:
                raise Unavailable("the worker has not read the chain yet; try again in a moment")
            membership = Membership(
                node=unit.projection.node(call.message.node),
                task=None if task is None else _task(unit, task),
                registry=registry,
                deployment=self.deployment,
                now_unix_s=chain_time_unix_s(unit, self.clock),
                accepted=accepted,
            )
            check_node_message(call, membership)
            return enqueue(unit, key, call, self.clock.now_unix_s())

    def _check(self, unit: Unit, asked: _Asked, node: NodeState | None) -> None:
        state = self._rounds.round(unit, asked.task, asked.round)
        if state is None:
            raise NotFound(f"task {asked.task} has no round {asked.round}")
        place = Place(
            round=state,
            accepted_before=self._rounds.accepted_digests(unit, asked.task),
            node=node,
            domain=self.deployment.rounds_domain,
            now_unix_s=chain_time_unix_s(unit, self.clock),
            accepted=asked.accepted,
        )
        check_round_message(asked.call, place)

    def _check_artifacts(self, spec_digest: str, call: RelayProposal) -> None:
        proposal = call.message
        check_stored_adapter(
            self.artifacts, stored_spec(self.artifacts, spec_digest).manifest, proposal.adapter_digest
        )
        try:
            self.artifacts.size_bytes(proposal.report_digest)
        except NotFound as error:
            raise ArtifactMissing(
                f"the report {proposal.report_digest} is not stored; upload it first"
            ) from error


def _is_the_same(known: Intent, asked: _Asked) -> bool:
    """Whether the intent is of this very message and stands. Raises WrongRound when it was sent elsewhere."""
    if known.call != asked.call or known.status is IntentStatus.REFUSED:
        return False
    message = asked.call.message
    if (message.task, message.round) != (asked.task, asked.round):
        raise WrongRound("the message is for another task or round than the one it was sent to")
    return True


def _task(unit: Unit, task: int) -> TaskState:
    state = unit.projection.task(task)
    if state is None:
        raise NotFound(f"the chain has no task {task}")
    return state


def chain_time_unix_s(unit: Unit, clock: Clock) -> int:
    """The newest indexed block's time: deadlines are the chain's, not this machine's."""
    last = unit.projection.last_block()
    return clock.now_unix_s() if last is None else last.timestamp_unix_s
