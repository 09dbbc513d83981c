"""Rounds: their state, and the nodes' messages to relay."""

from http import HTTPStatus

from fastapi import APIRouter, Response

from orchestrator.api.access import Caller, ServicesOfApp, TokenFirst
from orchestrator.api.media_types import json_answer
from orchestrator.api.paging import Listing, PagingOfRequest
from orchestrator.api.routers.paths import RoundInPath, RoundOrBaseInPath, TaskInPath
from orchestrator.api.schemas import (
    AttestationRequest,
    CommitRequest,
    EvaluationAnswer,
    EvaluationList,
    EvaluationRequest,
    IntentAnswer,
    ProposalAnswer,
    ProposalList,
    ProposalRequest,
    ReportAnswer,
    ReportList,
    RevealRequest,
    RoundAnswer,
    RoundList,
    VoteAnswer,
    VoteList,
)
from orchestrator.domain.chain import (
    RelayAttestation,
    RelayCommit,
    RelayProposal,
    RelayReveal,
    RoundMessageCall,
)
from orchestrator.domain.pages import Page
from orchestrator.services.bundle import Services
from orchestrator.services.queries import intent_view

router = APIRouter(prefix="/v1/tasks/{task}/rounds", tags=["rounds"], route_class=TokenFirst)


@router.get("", operation_id="list_rounds")
def list_rounds(task: TaskInPath, services: ServicesOfApp, _: Caller, paging: PagingOfRequest) -> RoundList:
    """A task's rounds, by number."""
    listing = Listing(f"rounds of {task}", (int,))
    page = services.listings.rounds(task, paging.after(listing), paging.limit)
    items = page.shown_as(RoundAnswer.model_validate).items
    return RoundList(items=items, next_cursor=listing.cursor(page.next_key))


@router.get("/{round_number}", operation_id="get_round", response_model=RoundAnswer)
def get_round(task: TaskInPath, round_number: RoundInPath, services: ServicesOfApp, _: Caller) -> Response:
    """One round."""
    state = services.queries.round(task, round_number)
    return json_answer(RoundAnswer.model_validate(state), HTTPStatus.OK)


@router.get("/{round_number}/proposals", operation_id="list_proposals")
def list_proposals(
    task: TaskInPath, round_number: RoundInPath, services: ServicesOfApp, _: Caller, paging: PagingOfRequest
) -> ProposalList:
    """A round's proposals, by node."""
    listing = Listing(f"proposals of {task}/{round_number}", (str,))
    found = services.queries.round(task, round_number).proposals
    page = Page.within(found, paging.after(listing), paging.limit, lambda proposal: (proposal.node.lower(),))
    items = page.shown_as(ProposalAnswer.model_validate).items
    return ProposalList(items=items, next_cursor=listing.cursor(page.next_key))


@router.get("/{round_number}/votes", operation_id="list_votes")
def list_votes(
    task: TaskInPath, round_number: RoundInPath, services: ServicesOfApp, _: Caller, paging: PagingOfRequest
) -> VoteList:
    """The drawn voters' votes, in the order of the draw."""
    listing = Listing(f"votes of {task}/{round_number}", (int,))
    drawn = enumerate(services.queries.round(task, round_number).votes)
    page = Page.within(drawn, paging.after(listing), paging.limit, lambda placed: (placed[0],))
    items = page.shown_as(lambda placed: VoteAnswer.model_validate(placed[1])).items
    return VoteList(items=items, next_cursor=listing.cursor(page.next_key))


@router.get("/{round_number}/reports", operation_id="list_reports")
def list_reports(
    task: TaskInPath, round_number: RoundInPath, services: ServicesOfApp, _: Caller, paging: PagingOfRequest
) -> ReportList:
    """What the networks say of their proposals, by node; nothing before the proposal phase is over."""
    listing = Listing(f"reports of {task}/{round_number}", (str,))
    found = services.reports.of_round(task, round_number)
    page = Page.within(found, paging.after(listing), paging.limit, lambda report: (report.node.lower(),))
    items = page.shown_as(ReportAnswer.model_validate).items
    return ReportList(items=items, next_cursor=listing.cursor(page.next_key))


@router.post(
    "/{round_number}/proposals",
    operation_id="propose",
    status_code=HTTPStatus.ACCEPTED,
    response_model=IntentAnswer,
)
def propose(
    task: TaskInPath,
    round_number: RoundInPath,
    request: ProposalRequest,
    services: ServicesOfApp,
    _: Caller,
) -> Response:
    """Relay a proposal; its adapter is checked against the task's manifest."""
    return _relay(services, task, round_number, RelayProposal(request.message, request.signature))


@router.post(
    "/{round_number}/commits",
    operation_id="commit",
    status_code=HTTPStatus.ACCEPTED,
    response_model=IntentAnswer,
)
def commit(
    task: TaskInPath,
    round_number: RoundInPath,
    request: CommitRequest,
    services: ServicesOfApp,
    _: Caller,
) -> Response:
    """Relay a voter's commitment."""
    return _relay(services, task, round_number, RelayCommit(request.message, request.signature))


@router.post(
    "/{round_number}/reveals",
    operation_id="reveal",
    status_code=HTTPStatus.ACCEPTED,
    response_model=IntentAnswer,
)
def reveal(
    task: TaskInPath,
    round_number: RoundInPath,
    request: RevealRequest,
    services: ServicesOfApp,
    _: Caller,
) -> Response:
    """Relay a voter's revealed scores."""
    return _relay(services, task, round_number, RelayReveal(request.message))


@router.post(
    "/{round_number}/attestations",
    operation_id="attest",
    status_code=HTTPStatus.ACCEPTED,
    response_model=IntentAnswer,
)
def attest(
    task: TaskInPath,
    round_number: RoundInPath,
    request: AttestationRequest,
    services: ServicesOfApp,
    _: Caller,
) -> Response:
    """Relay a voter's attestation of the aggregate."""
    return _relay(services, task, round_number, RelayAttestation(request.message, request.signature))


@router.get("/{round_number}/evaluations", operation_id="list_evaluations")
def list_evaluations(
    task: TaskInPath,
    round_number: RoundOrBaseInPath,
    services: ServicesOfApp,
    _: Caller,
    paging: PagingOfRequest,
) -> EvaluationList:
    """The evaluations of a round's aggregate; round 0 is the base model."""
    listing = Listing(f"evaluations of {task}/{round_number}", (str,))
    page = services.listings.evaluations_of_round(task, round_number, paging.after(listing), paging.limit)
    items = page.shown_as(EvaluationAnswer.model_validate).items
    return EvaluationList(items=items, next_cursor=listing.cursor(page.next_key))


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


def _relay(services: Services, task: int, round_number: int, call: RoundMessageCall) -> Response:
    intent = intent_view(services.messages.relay(task, round_number, call))
    return json_answer(IntentAnswer.model_validate(intent), HTTPStatus.ACCEPTED)
