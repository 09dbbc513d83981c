"""How a network comes in: an invite, one statement that binds its keys, the council's word.

An invite is used up by the statement that it let in. A statement is kept as it was signed and never replaced:
whoever wants to say something else needs another invite.
"""

from dataclasses import dataclass
from typing import Literal, Protocol

from contracts.digests import ZERO_DIGEST
from contracts.messages import Domain, Enrolment
from orchestrator.domain.errors import Conflict, NotAllowed, Unacceptable, Unauthenticated
from orchestrator.domain.signatures import SignatureClaim, require_signed

EnrolmentStatus = Literal["pending", "approved", "refused"]


class InviteUnknown(Unauthenticated):
    """Nobody gave out such an invite."""

    code = "invite_unknown"


class InviteExpired(NotAllowed):
    """The invite's time is over."""

    code = "invite_expired"


class InviteUsed(Conflict):
    """The invite let another statement in already."""

    code = "invite_used"


class ForeignInvite(Unacceptable):
    """The invite, or the statement, is another network's."""

    code = "foreign_invite"


class KeyTaken(Conflict):
    """Another enrolment has one of the keys already."""

    code = "key_taken"


class EnrolmentDecided(Conflict):
    """The enrolment was approved or refused before."""

    code = "enrolment_decided"


@dataclass(frozen=True)
class InviteRecord:
    """An invite without its secret; ``digest`` is the secret's SHA-256."""

    id: int
    digest: str
    network: str
    group: int
    created_unix_s: int
    expires_unix_s: int
    enrolment: int | None
    """What it let in."""


@dataclass(frozen=True)
class EnrolmentRecord:
    """A statement and what became of it."""

    id: int
    group: int
    """Of the invite: sister networks share one."""
    statement: Enrolment
    signature: str
    status: EnrolmentStatus
    received_unix_s: int
    changed_unix_s: int
    reason: str | None = None
    """Why it was refused."""


class EnrolmentRepository(Protocol):
    """Invites and enrolments."""

    def add_invite(
        self, digest: str, network: str, group: int, now_unix_s: int, expires_unix_s: int
    ) -> InviteRecord:
        """Record an invite."""

    def invite(self, digest: str) -> InviteRecord | None:
        """The invite whose secret has that digest."""

    def add(
        self, invite: InviteRecord, statement: Enrolment, signature: str, now_unix_s: int
    ) -> EnrolmentRecord:
        """Keep a statement, which uses the invite up."""

    def get(self, enrolment: int) -> EnrolmentRecord | None:
        """The enrolment of that number."""

    def all(self) -> list[EnrolmentRecord]:
        """All enrolments, oldest first."""

    def save(self, record: EnrolmentRecord) -> None:
        """Store what became of an enrolment; its statement and signature stay as they are."""


def check_invite(invite: InviteRecord | None, now_unix_s: int) -> InviteRecord:
    """An invite that lets a statement in now. Raises InviteUnknown, InviteExpired, InviteUsed."""
    if invite is None:
        raise InviteUnknown("nobody gave out this invite")
    if invite.enrolment is not None:
        raise InviteUsed(f"the invite let enrolment {invite.enrolment} in already; ask for another one")
    if now_unix_s >= invite.expires_unix_s:
        raise InviteExpired(f"the invite was good until {invite.expires_unix_s}; ask for another one")
    return invite


def check_statement(
    invite: InviteRecord,
    statement: Enrolment,
    signature: str,
    domain: Domain,
    others: list[EnrolmentRecord],
    accepted: SignatureClaim | None = None,
) -> None:
    """Refuse a statement that is not this invite's, not by its account, or that takes another's key.

    Raises:
        ForeignInvite: it names another network or invite.
        UnprovenSignature: the node's account did not sign it for this registry, nor has its contract
            ``accepted`` it.
        KeyTaken: account, signing key, Flower key or certificate are in an enrolment that was not refused.
    """
    if statement.invite != invite.digest:
        raise ForeignInvite("the statement was signed for another invite")
    if statement.network != invite.network:
        raise ForeignInvite(f"the invite is for {invite.network}, the statement of {statement.network}")
    require_signed(
        statement,
        domain,
        signature,
        statement.node,
        accepted=accepted,
        refusal=f"the account {statement.node} did not sign this statement",
    )
    for other in others:
        if other.status != "refused" and (taken := _shared_key(other.statement, statement)) is not None:
            raise KeyTaken(f"enrolment {other.id} has the same {taken}")


def check_undecided(record: EnrolmentRecord) -> None:
    """Refuse to decide twice. Raises EnrolmentDecided."""
    if record.status != "pending":
        raise EnrolmentDecided(f"enrolment {record.id} is {record.status} already")


def _shared_key(one: Enrolment, other: Enrolment) -> str | None:
    accounts = {one.node, one.signer}
    if other.node in accounts or other.signer in accounts:
        return "account or signing key"
    if one.flower_key and one.flower_key == other.flower_key:
        return "Flower key"
    if one.certificate != ZERO_DIGEST and one.certificate == other.certificate:
        return "certificate"
    return "name" if one.network == other.network else None
