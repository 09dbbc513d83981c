"""What nodes sign: checked as the contract would, then recorded for relay."""

from dataclasses import dataclass

from contracts.deployment import Deployment
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
    NotFound,
    Unavailable,
    UnknownNode,
    WrongNode,
    WrongRound,
)
from orchestrator.domain.membership import Membership, check_node_message
from orchestrator.domain.outbox import Intent, IntentStatus, message_key
from orchestrator.domain.ports import Clock, Records, Unit
from orchestrator.domain.signatures import SignatureClaim
from orchestrator.domain.state import TaskState
from orchestrator.services.outbox import enqueue
from orchestrator.services.signatures import SignatureService
from orchestrator.services.tasks import check_stored_adapter, stored_spec


@dataclass(frozen=True)
class MessageService:
    """Takes messages of nodes; ``deployment`` names the contracts that they sign for."""

    records: Records
    artifacts: ArtifactStore
    deployment: Deployment
    clock: Clock
    signatures: SignatureService

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
        key = message_key(call)
        with self.records.read() as unit:
            known = unit.outbox.by_key(key)
            if known is not None and known.call == call and known.status is not IntentStatus.REFUSED:
                if (call.message.task, call.message.round) != (task, round_number):
                    raise WrongRound("the message is for another task or round than the one it was sent to")
                return known
            self._check(unit, task, round_number, call, accepted)
            spec_digest = _task(unit, task).config.spec_digest
        if isinstance(call, RelayProposal):
            self._check_artifacts(spec_digest, call)
        with self.records.write() as unit:
            # Again, because the round may have moved while the adapter was read.
            self._check(unit, task, round_number, call, accepted)
            return enqueue(unit, key, call, self.clock.now_unix_s())

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

    def _check(
        self,
        unit: Unit,
        task: int,
        round_number: int,
        call: RoundMessageCall,
        accepted: SignatureClaim | None,
    ) -> None:
        state = unit.projection.round(task, round_number)
        if state is None:
            raise NotFound(f"task {task} has no round {round_number}")
        place = Place(
            round=state,
            accepted_before=unit.projection.accepted_digests(task),
            node=unit.projection.node(call.message.node),
            domain=self.deployment.rounds_domain,
            now_unix_s=chain_time_unix_s(unit, self.clock),
            accepted=accepted,
        )
        check_round_message(call, place)

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


def _task(unit: Unit, task: int) -> TaskState:
    state = unit.projection.task(task)
    if state is None:
        raise NotFound(f"the chain has no task {task}")
    return state


def chain_time_unix_s(unit: Unit, clock: Clock) -> int:
    """The newest indexed block's time: deadlines are the chain's, not this machine's."""
    last = unit.projection.last_block()
    return clock.now_unix_s() if last is None else last.timestamp_unix_s
