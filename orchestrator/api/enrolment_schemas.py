"""The JSON of enrolment."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from contracts.messages import Enrolment, NetworkName, Signature
from orchestrator.api.schemas import Integer, IntentAnswer, ListPage, WithoutNull
from orchestrator.domain.enrolment import EnrolmentStatus

_HOUR_S = 3600
_MOST_LASTS_S = 30 * 24 * _HOUR_S


class InviteRequest(BaseModel):
    """Whom to invite."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    network: NetworkName
    group: Annotated[Integer, Field(ge=1, lt=1 << 63)]
    lasts_s: Annotated[Integer, Field(ge=_HOUR_S, le=_MOST_LASTS_S)] = 72 * _HOUR_S


class InviteAnswer(BaseModel):
    """An invite. ``secret`` is shown here and never again; it goes to the network by a private way."""

    model_config = ConfigDict(frozen=True)

    id: int
    network: NetworkName
    group: int
    expires_unix_s: int
    secret: str


class EnrolmentRequest(BaseModel):
    """A network's statement, and the invite that lets it in."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    invite: Annotated[str, Field(min_length=1, max_length=200)]
    message: Enrolment
    signature: Signature


class RefusalRequest(BaseModel):
    """Why not."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    reason: Annotated[str, Field(min_length=1, max_length=500), WithoutNull]


class EnrolmentAnswer(BaseModel):
    """An enrolment: the statement as it was signed, and what became of it."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    id: int
    group: int
    statement: Enrolment
    signature: str
    status: EnrolmentStatus
    received_unix_s: int
    changed_unix_s: int
    reason: str | None


class EnrolmentList(ListPage):
    """A page of enrolments."""

    items: tuple[EnrolmentAnswer, ...]


class EnrolmentApproval(BaseModel):
    """The approved enrolment, and the admission on its way to the chain."""

    model_config = ConfigDict(frozen=True)

    enrolment: EnrolmentAnswer
    intent: IntentAnswer
