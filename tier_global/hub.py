"""The orchestrator's REST API as nodes and conductors use it: rounds, artifacts, signed messages."""

from collections.abc import Mapping
from typing import Literal, Protocol, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from contracts.digests import Digest, sha256_digest
from contracts.messages import (
    Address,
    Approval,
    Attestation,
    Commit,
    Context,
    Enrolment,
    Exit,
    Migration,
    Proposal,
    Return,
    Reveal,
    Revocation,
    Rotation,
    RoundNumber,
    TaskNumber,
    UnixSeconds,
)
from contracts.phase import Phase
from tier_global.errors import HubRefused, HubUnavailable

NodeMessage = Approval | Revocation | Return | Rotation | Exit | Migration
"""What a node says outside rounds."""
_TIMEOUT_S = 20.0
MAX_ARTIFACT_BYTES = 1 << 30


class _Resource(BaseModel):
    # The orchestrator may add fields; what the conductor does not need, it does not read.
    model_config = ConfigDict(frozen=True, extra="ignore")


class ProposalResource(_Resource):
    """A proposal of the round that is on chain."""

    node: Address
    adapter_digest: Digest
    standing: Literal["unscored", "refused", "accepted"] | None = None
    median_improvement_micronats: int | None = None

    @property
    def accepted(self) -> bool:
        """Whether it goes into the aggregate."""
        return self.standing == "accepted"


class VoteResource(_Resource):
    """What a voter has done so far."""

    node: Address
    committed: bool = False
    revealed: bool = False


class AttestationResource(_Resource):
    """An attestation that is on chain; the digest is null while a drawn voter has not attested."""

    node: Address
    aggregate_digest: Digest | None = None


class RoundResource(_Resource):
    """A round as the orchestrator's projection has it."""

    task: TaskNumber
    round: RoundNumber
    phase: Phase
    parent_digest: Digest
    context: Context | None
    deadline_unix_s: UnixSeconds | None
    proposers: tuple[Address, ...] = ()
    voters: tuple[Address, ...] = ()
    proposals: tuple[ProposalResource, ...] = ()
    votes: tuple[VoteResource, ...] = ()
    attestations: tuple[AttestationResource, ...] = ()

    @field_validator("phase", mode="before")
    @classmethod
    def _phase_by_name(cls, value: object) -> object:
        return (
            Phase[value.upper()] if isinstance(value, str) and value.upper() in Phase.__members__ else value
        )


class _TaskResource(_Resource):
    spec_digest: Digest


class _EnrolmentResource(_Resource):
    id: int


class _SignatureResource(_Resource):
    is_accepted: bool


class _NodeResource(_Resource):
    node: Address
    signer: Address


class _NodesResource(_Resource):
    items: tuple[_NodeResource, ...]
    next_cursor: str | None = None


_Model = TypeVar("_Model", bound=BaseModel)


class Hub(Protocol):
    """What the conductor asks the orchestrator. Every method may raise HubUnavailable or HubRefused."""

    def round(self, task: int, round_number: int) -> RoundResource:
        """The round as it stands."""

    def spec_digest(self, task: int) -> str:
        """The digest of the task's spec."""

    def signers(self) -> Mapping[str, str]:
        """Signing key address by node address."""

    def accepts(self, node: str, digest: str, signature: str) -> bool:
        """Whether the chain would take a signature over a digest as the node's signing key's."""

    def artifact(self, digest: str) -> bytes:
        """The artifact with this digest; its bytes are checked."""

    def store_artifact(self, data: bytes) -> str:
        """Store an artifact; returns its digest."""

    def propose(self, proposal: Proposal, signature: str) -> None:
        """Hand in a signed proposal."""

    def commit(self, commit: Commit, signature: str) -> None:
        """Hand in a signed commitment."""

    def reveal(self, reveal: Reveal) -> None:
        """Hand in the scores behind a commitment."""

    def attest(self, attestation: Attestation, signature: str) -> None:
        """Hand in a signed attestation."""


class HttpHub:
    """The orchestrator over HTTP."""

    def __init__(self, url: str, token: str | None, transport: httpx.BaseTransport | None = None) -> None:
        self._client = httpx.Client(
            base_url=url,
            timeout=_TIMEOUT_S,
            headers={} if token is None else {"Authorization": f"Bearer {token}"},
            follow_redirects=False,
            transport=transport,
        )

    def round(self, task: int, round_number: int) -> RoundResource:
        return _parsed(RoundResource, self._request("GET", f"/v1/tasks/{task}/rounds/{round_number}"))

    def spec_digest(self, task: int) -> str:
        return _parsed(_TaskResource, self._request("GET", f"/v1/tasks/{task}")).spec_digest

    def signers(self) -> Mapping[str, str]:
        signers: dict[str, str] = {}
        path: str | None = "/v1/nodes"
        while path is not None:
            page = _parsed(_NodesResource, self._request("GET", path))
            signers |= {node.node: node.signer for node in page.items}
            path = None if page.next_cursor is None else f"/v1/nodes?cursor={quote(page.next_cursor)}"
        return signers

    def accepts(self, node: str, digest: str, signature: str) -> bool:
        body = {"digest": digest, "signature": signature}
        answer = self._request("POST", f"/v1/nodes/{node}/signature-checks", json=body)
        return _parsed(_SignatureResource, answer).is_accepted

    def artifact(self, digest: str) -> bytes:
        received = bytearray()
        try:
            with self._client.stream("GET", f"/v1/artifacts/{digest}") as response:
                if response.is_error:
                    response.read()
                    _raise_for(response)
                for chunk in response.iter_bytes():
                    received += chunk
                    if len(received) > MAX_ARTIFACT_BYTES:
                        raise HubRefused(
                            413, "artifact_too_large", f"{digest} is larger than an adapter can be"
                        )
        except httpx.HTTPError as error:
            raise HubUnavailable(f"artifact {digest} cannot be fetched: {error}") from error
        data = bytes(received)
        if sha256_digest(data) != digest:
            raise HubRefused(502, "digest_mismatch", f"it gave other bytes than those of {digest}")
        return data

    def store_artifact(self, data: bytes) -> str:
        digest = sha256_digest(data)
        self._request("PUT", f"/v1/artifacts/{digest}", content=data)
        return digest

    def propose(self, proposal: Proposal, signature: str) -> None:
        self._hand_in("proposals", proposal, signature)

    def commit(self, commit: Commit, signature: str) -> None:
        self._hand_in("commits", commit, signature)

    def reveal(self, reveal: Reveal) -> None:
        self._hand_in("reveals", reveal, None)

    def attest(self, attestation: Attestation, signature: str) -> None:
        self._hand_in("attestations", attestation, signature)

    def hand_in(self, message: NodeMessage, signature: str) -> None:
        """Hand in a signed message that belongs to no round."""
        body = {"message": message.model_dump(mode="json"), "signature": signature}
        if isinstance(message, Approval | Revocation):
            path = f"/v1/tasks/{message.task}/{type(message).__name__.lower()}s"
        else:
            path = f"/v1/nodes/{message.node}/{type(message).__name__.lower()}s"
        self._request("POST", path, json=body)

    def enrol(self, invite: str, statement: Enrolment, signature: str) -> int:
        """Hand in a network's statement about its keys; the enrolment's number at the hub."""
        body = {"invite": invite, "message": statement.model_dump(mode="json"), "signature": signature}
        return _parsed(_EnrolmentResource, self._request("POST", "/v1/enrolments", json=body)).id

    def withdraw(self, node: str) -> None:
        """Ask to have what has matured of a node's stake paid to its own account."""
        self._request("POST", f"/v1/nodes/{node}/withdrawals")

    def claim(self, node: str) -> None:
        """Ask to have a node's rewards paid to its own account."""
        self._request("POST", f"/v1/nodes/{node}/claims")

    def _hand_in(
        self, kind: str, message: Proposal | Commit | Reveal | Attestation, signature: str | None
    ) -> None:
        body: dict[str, object] = {"message": message.model_dump(mode="json")}
        if signature is not None:
            body["signature"] = signature
        self._request("POST", f"/v1/tasks/{message.task}/rounds/{message.round}/{kind}", json=body)

    def _request(
        self, method: str, path: str, *, json: object | None = None, content: bytes | None = None
    ) -> httpx.Response:
        try:
            response = self._client.request(method, path, json=json, content=content)
        except httpx.HTTPError as error:
            raise HubUnavailable(f"{method} {path} failed: {error}") from error
        if not response.is_success:
            _raise_for(response)
        return response


def _raise_for(response: httpx.Response) -> None:
    if response.status_code >= 500 or response.status_code == 429:
        raise HubUnavailable(f"the orchestrator answers {response.status_code}")
    try:
        problem = response.json()
        code, detail = str(problem.get("code", "")), str(problem.get("detail", ""))
    except (ValueError, AttributeError):
        code, detail = "", response.text
    raise HubRefused(response.status_code, code[:64], detail[:300])


def _parsed(model: type[_Model], response: httpx.Response) -> _Model:
    try:
        return model.model_validate_json(response.content)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise HubUnavailable(f"the orchestrator's answer cannot be read: {where}: {first['msg']}") from error
