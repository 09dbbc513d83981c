"""Enrolment: the council invites, a network hands in its statement, the council decides."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Path

from orchestrator.api.access import ATTEMPT, Caller, ServicesOfApp, TokenFirst
from orchestrator.api.enrolment_schemas import (
    EnrolmentAnswer,
    EnrolmentApproval,
    EnrolmentList,
    EnrolmentRequest,
    InviteAnswer,
    InviteRequest,
    RefusalRequest,
)
from orchestrator.api.idempotency import holds_a_secret
from orchestrator.api.media_types import JsonRoute
from orchestrator.api.paging import Listing, PagingOfRequest
from orchestrator.api.schemas import IntentAnswer
from orchestrator.services.queries import intent_view

router = APIRouter(prefix="/v1/enrolments", tags=["enrolment"], route_class=TokenFirst)
open_router = APIRouter(
    prefix="/v1/enrolments", tags=["enrolment"], route_class=JsonRoute, dependencies=[ATTEMPT]
)
"""For those who have no token yet: the invite in the body is what they show."""

_ENROLMENTS = Listing("enrolments", (int,))

EnrolmentInPath = Annotated[int, Path(ge=1, lt=1 << 63, description="the enrolment's number at this hub")]


@open_router.post("", operation_id="enrol", status_code=HTTPStatus.CREATED)
def enrol(request: EnrolmentRequest, services: ServicesOfApp) -> EnrolmentAnswer:
    """Hand in a statement that binds a network's keys; the same again changes nothing."""
    record = services.enrolment.enrol(request.invite, request.message, request.signature)
    return EnrolmentAnswer.model_validate(record)


@router.post(
    "/invites",
    operation_id="invite_network",
    status_code=HTTPStatus.CREATED,
    dependencies=[Depends(holds_a_secret)],
)
def invite_network(request: InviteRequest, services: ServicesOfApp, _: Caller) -> InviteAnswer:
    """Make an invite that lets one statement of one network in."""
    record, secret = services.enrolment.invite(request.network, request.group, request.lasts_s)
    return InviteAnswer(
        id=record.id,
        network=record.network,
        group=record.group,
        expires_unix_s=record.expires_unix_s,
        secret=secret,
    )


@router.get("", operation_id="list_enrolments")
def list_enrolments(services: ServicesOfApp, _: Caller, paging: PagingOfRequest) -> EnrolmentList:
    """All enrolments, oldest first."""
    page = services.enrolment.list(paging.after(_ENROLMENTS), paging.limit)
    items = page.shown_as(EnrolmentAnswer.model_validate).items
    return EnrolmentList(items=items, next_cursor=_ENROLMENTS.cursor(page.next_key))


@router.get("/{enrolment}", operation_id="get_enrolment")
def get_enrolment(enrolment: EnrolmentInPath, services: ServicesOfApp, _: Caller) -> EnrolmentAnswer:
    """One enrolment, its statement and signature as they came."""
    return EnrolmentAnswer.model_validate(services.enrolment.get(enrolment))


@router.post("/{enrolment}/approval", operation_id="approve_enrolment", status_code=HTTPStatus.ACCEPTED)
def approve_enrolment(enrolment: EnrolmentInPath, services: ServicesOfApp, _: Caller) -> EnrolmentApproval:
    """Have the node admitted on chain; the worker sends the call."""
    record, intent = services.enrolment.approve(enrolment)
    return EnrolmentApproval(
        enrolment=EnrolmentAnswer.model_validate(record),
        intent=IntentAnswer.model_validate(intent_view(intent)),
    )


@router.post("/{enrolment}/refusal", operation_id="refuse_enrolment")
def refuse_enrolment(
    enrolment: EnrolmentInPath, request: RefusalRequest, services: ServicesOfApp, _: Caller
) -> EnrolmentAnswer:
    """Say no, and why; the statement is kept."""
    return EnrolmentAnswer.model_validate(services.enrolment.refuse(enrolment, request.reason))
