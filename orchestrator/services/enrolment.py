"""Enrolment of networks: the council invites, the network names its keys, the council decides."""

import hashlib
import secrets
from dataclasses import dataclass, replace

from contracts.deployment import Deployment
from contracts.messages import Enrolment
from orchestrator.domain.chain import AdmitNode
from orchestrator.domain.enrolment import (
    EnrolmentRecord,
    InviteRecord,
    check_invite,
    check_statement,
    check_undecided,
)
from orchestrator.domain.errors import Conflict, NotFound
from orchestrator.domain.outbox import Intent
from orchestrator.domain.ports import Clock, Records, Unit
from orchestrator.domain.projection import Announcement
from orchestrator.domain.signatures import SignatureClaim
from orchestrator.services.audit import identify
from orchestrator.services.nodes import order_admission
from orchestrator.services.signatures import SignatureService

_PREFIX = "collegium_invite_"
_SECRET_BYTES = 32
_INVITED = "invited network"


@dataclass(frozen=True)
class EnrolmentService:
    """Invites, statements and decisions."""

    records: Records
    deployment: Deployment
    clock: Clock
    signatures: SignatureService

    def invite(self, network: str, group: int, lasts_s: int) -> tuple[InviteRecord, str]:
        """A new invite and its secret, which nobody sees again.

        Raises:
            Conflict: a node has the network's name.
        """
        secret = _PREFIX + secrets.token_urlsafe(_SECRET_BYTES)
        now_unix_s = self.clock.now_unix_s()
        with self.records.write() as unit:
            if network in unit.names.names().values():
                raise Conflict(f"a node is named {network!r} already")
            record = unit.enrolments.add_invite(
                invite_digest(secret), network, group, now_unix_s, now_unix_s + lasts_s
            )
        return record, secret

    def enrol(self, secret: str, statement: Enrolment, signature: str) -> EnrolmentRecord:
        """Keep a network's statement until the council decides; the same again changes nothing.

        Raises:
            InviteUnknown, InviteExpired, InviteUsed: as ``check_invite``.
            ForeignInvite, BadSignature, KeyTaken: as ``check_statement``.
            TooManyRequests, Unavailable: as ``SignatureService.settle``.
        """
        return self.signatures.settle(lambda accepted: self._enrol(secret, statement, signature, accepted))

    def _enrol(
        self, secret: str, statement: Enrolment, signature: str, accepted: SignatureClaim | None
    ) -> EnrolmentRecord:
        now_unix_s = self.clock.now_unix_s()
        with self.records.write() as unit:
            found = unit.enrolments.invite(invite_digest(secret))
            if found is not None:
                identify(found.network, _INVITED)
                known = None if found.enrolment is None else unit.enrolments.get(found.enrolment)
                if known is not None and (known.statement, known.signature) == (statement, signature):
                    return known
            invite = check_invite(found, now_unix_s)
            domain = self.deployment.registry_domain
            check_statement(invite, statement, signature, domain, unit.enrolments.all(), accepted)
            record = unit.enrolments.add(invite, statement, signature, now_unix_s)
            announcement = Announcement(
                "enrolment.received", node=statement.node, facts={"network": statement.network}
            )
            unit.stream.append(announcement, now_unix_s)
            return record

    def all(self) -> tuple[EnrolmentRecord, ...]:
        """All enrolments, oldest first."""
        with self.records.read() as unit:
            return tuple(unit.enrolments.all())

    def get(self, enrolment: int) -> EnrolmentRecord:
        """One enrolment. Raises NotFound."""
        with self.records.read() as unit:
            return _record(unit, enrolment)

    def approve(self, enrolment: int) -> tuple[EnrolmentRecord, Intent]:
        """Have the node admitted on chain, under its network's name; again, it changes nothing.

        Raises:
            NotFound: there is no such enrolment.
            EnrolmentDecided: it was refused.
            Conflict: the node was admitted otherwise, or another one has the name.
        """
        now_unix_s = self.clock.now_unix_s()
        with self.records.write() as unit:
            record = _record(unit, enrolment)
            statement = record.statement
            if record.status != "approved":
                check_undecided(record)
                record = replace(record, status="approved", changed_unix_s=now_unix_s)
                unit.enrolments.save(record)
            call = AdmitNode(statement.node, statement.signer, record.group)
            return record, order_admission(unit, call, statement.network, now_unix_s)

    def refuse(self, enrolment: int, reason: str) -> EnrolmentRecord:
        """Say no; the statement is kept, and its keys may come again with another invite.

        Raises:
            NotFound: there is no such enrolment.
            EnrolmentDecided: it was approved or refused before.
        """
        now_unix_s = self.clock.now_unix_s()
        with self.records.write() as unit:
            record = _record(unit, enrolment)
            check_undecided(record)
            record = replace(record, status="refused", changed_unix_s=now_unix_s, reason=reason)
            unit.enrolments.save(record)
            return record


def invite_digest(secret: str) -> str:
    """What is kept of an invite, and what the network signs; 256 random bits need no slow hash."""
    return "0x" + hashlib.sha256(secret.encode(errors="replace")).hexdigest()


def _record(unit: Unit, enrolment: int) -> EnrolmentRecord:
    record = unit.enrolments.get(enrolment)
    if record is None:
        raise NotFound(f"there is no enrolment {enrolment}")
    return record
