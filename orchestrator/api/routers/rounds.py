"""Rounds: their state, and the nodes' messages to relay."""

from http import HTTPStatus

from fastapi import APIRouter

from orchestrator.api.access import Caller, ServicesOfApp, TokenFirst
from orchestrator.api.routers.paths import RoundInPath, RoundOrBaseInPath, TaskInPath
from orchestrator.api.schemas import (
    AttestationRequest,
    CommitRequest,
    EvaluationAnswer,
    EvaluationList,
    EvaluationRequest,
    IntentAnswer,
    ProposalRequest,
    RevealRequest,
    RoundAnswer,
    RoundList,
)
from orchestrator.domain.chain import (
    RelayAttestation,
    RelayCommit,
    RelayProposal,
    RelayReveal,
    RoundMessageCall,
)
from orchestrator.services.bundle import Services
from orchestrator.services.queries import intent_view

router = APIRouter(prefix="/v1/tasks/{task}/rounds", tags=["rounds"], route_class=TokenFirst)


@router.get("", operation_id="list_rounds")
def list_rounds(task: TaskInPath, services: ServicesOfApp, _: Caller) -> RoundList:
    """A task's rounds, by number."""
    return RoundList(items=tuple(RoundAnswer.model_validate(each) for each in services.queries.rounds(task)))


@router.get("/{round_number}", operation_id="get_round")
def get_round(task: TaskInPath, round_number: RoundInPath, services: ServicesOfApp, _: Caller) -> RoundAnswer:
    """One round."""
    return RoundAnswer.model_validate(services.queries.round(task, round_number))


@router.post("/{round_number}/proposals", operation_id="propose", status_code=HTTPStatus.ACCEPTED)
def propose(
    task: TaskInPath,
    round_number: RoundInPath,
    request: ProposalRequest,
    services: ServicesOfApp,
    _: Caller,
) -> IntentAnswer:
    """Relay a proposal; its adapter is checked against the task's manifest."""
    return _relay(services, task, round_number, RelayProposal(request.message, request.signature))


@router.post("/{round_number}/commits", operation_id="commit", status_code=HTTPStatus.ACCEPTED)
def commit(
    task: TaskInPath,
    round_number: RoundInPath,
    request: CommitRequest,
    services: ServicesOfApp,
    _: Caller,
) -> IntentAnswer:
    """Relay a voter's commitment."""
    return _relay(services, task, round_number, RelayCommit(request.message, request.signature))


@router.post("/{round_number}/reveals", operation_id="reveal", status_code=HTTPStatus.ACCEPTED)
def reveal(
    task: TaskInPath,
    round_number: RoundInPath,
    request: RevealRequest,
    services: ServicesOfApp,
    _: Caller,
) -> IntentAnswer:
    """Relay a voter's revealed scores."""
    return _relay(services, task, round_number, RelayReveal(request.message))


@router.post("/{round_number}/attestations", operation_id="attest", status_code=HTTPStatus.ACCEPTED)
def attest(
    task: TaskInPath,
    round_number: RoundInPath,
    request: AttestationRequest,
    services: ServicesOfApp,
    _: Caller,
) -> IntentAnswer:
    """Relay a voter's attestation of the aggregate."""
    return _relay(services, task, round_number, RelayAttestation(request.message, request.signature))


@router.get("/{round_number}/evaluations", operation_id="list_evaluations")
def list_evaluations(
    task: TaskInPath, round_number: RoundOrBaseInPath, services: ServicesOfApp, _: Caller
) -> EvaluationList:
    """The evaluations of a round's aggregate; round 0 is the base model."""
    records = services.queries.evaluations_of_round(task, round_number)
    return EvaluationList(items=tuple(EvaluationAnswer.model_validate(record) for record in records))


@router.post("/{round_number}/evaluations", operation_id="record_evaluation", status_code=HTTPStatus.CREATED)
def record_evaluation(
    task: TaskInPath,
    round_number: RoundOrBaseInPath,
    request: EvaluationRequest,
    services: ServicesOfApp,
    _: Caller,
) -> EvaluationAnswer:
    """Keep an evaluation, in place of an earlier one of the same name."""
    record = services.evaluations.record(request.to_record(task, round_number))
    return EvaluationAnswer.model_validate(record)


def _relay(services: Services, task: int, round_number: int, call: RoundMessageCall) -> IntentAnswer:
    return IntentAnswer.model_validate(intent_view(services.messages.relay(task, round_number, call)))
