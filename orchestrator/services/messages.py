"""What nodes sign: checked as the contract would, then recorded for relay."""

from dataclasses import dataclass

from contracts.messages import Domain
from orchestrator.domain.admission import Place, RoundCall, check_approval, check_round_message
from orchestrator.domain.chain import RelayApproval, RelayProposal
from orchestrator.domain.errors import ArtifactMissing, NotFound, WrongRound
from orchestrator.domain.outbox import Intent, IntentStatus, message_key
from orchestrator.domain.ports import ArtifactStore, Clock, Records, Unit
from orchestrator.domain.state import TaskState
from orchestrator.services.outbox import enqueue
from orchestrator.services.tasks import check_stored_adapter, stored_spec


@dataclass(frozen=True)
class MessageService:
    """Takes messages of nodes; ``domain`` is the one that they sign in."""

    records: Records
    artifacts: ArtifactStore
    domain: Domain
    clock: Clock

    def relay(self, task: int, round_number: int, call: RoundCall) -> Intent:
        """Record a round's message for relay; the same message again gives the same intent.

        Raises:
            NotFound: the chain has no such round.
            OrchestratorError, ContractViolation: as ``check_round_message``; for a proposal also what
                is wrong with its artifacts. Nothing is recorded then.
            Conflict: the node sent another message of the kind in this state of the round.
        """
        key = message_key(call)
        with self.records.read() as unit:
            known = unit.outbox.by_key(key)
            if known is not None and known.call == call and known.status is not IntentStatus.REFUSED:
                if (call.message.task, call.message.round) != (task, round_number):
                    raise WrongRound("the message is for another task or round than the one it was sent to")
                return known
            self._check(unit, task, round_number, call)
            spec_digest = _task(unit, task).config.spec_digest
        if isinstance(call, RelayProposal):
            self._check_artifacts(spec_digest, call)
        with self.records.write() as unit:
            # Again, because the round may have moved while the adapter was read.
            self._check(unit, task, round_number, call)
            return enqueue(unit, key, call, self.clock.now_unix_s())

    def approve(self, task: int, call: RelayApproval) -> Intent:
        """Record a node's approval of a task for relay; the same approval again gives the same intent.

        Raises:
            NotFound: the chain has no such task or node.
            OrchestratorError: as ``check_approval``.
            Conflict: the node signed another approval with the same nonce.
        """
        key = message_key(call)
        with self.records.write() as unit:
            state = _task(unit, task)
            if call.message.task != task:
                raise WrongRound(f"the approval is for task {call.message.task}, not for task {task}")
            node = unit.projection.node(call.message.node)
            check_approval(call, state, node, self.domain, _chain_time_unix_s(unit, self.clock))
            return enqueue(unit, key, call, self.clock.now_unix_s())

    def _check(self, unit: Unit, task: int, round_number: int, call: RoundCall) -> None:
        state = unit.projection.round(task, round_number)
        if state is None:
            raise NotFound(f"task {task} has no round {round_number}")
        place = Place(
            round=state,
            accepted_before=unit.projection.accepted_digests(task),
            node=unit.projection.node(call.message.node),
            domain=self.domain,
            now_unix_s=_chain_time_unix_s(unit, self.clock),
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


def _chain_time_unix_s(unit: Unit, clock: Clock) -> int:
    """The newest indexed block's time: deadlines are the chain's, not this machine's."""
    last = unit.projection.last_block()
    return clock.now_unix_s() if last is None else last.timestamp_unix_s
