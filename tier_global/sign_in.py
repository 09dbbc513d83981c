"""A node signs in at the orchestrator with its signing key, for a token that lasts an hour."""

import time
from typing import TypeVar

import httpx
from pydantic import BaseModel, ConfigDict, ValidationError

from contracts.deployment import Deployment
from contracts.errors import InvalidMessage
from contracts.sign_in import SignIn, domain_of
from tier_global.errors import HubRefused, HubUnavailable, NodeRefusal
from tier_global.keys import SigningKey

_TIMEOUT_S = 20.0
_CLOCKS_DIFFER_S = 300


class _Challenge(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    url: str
    nonce: str
    issued_unix_s: int
    expires_unix_s: int


_Model = TypeVar("_Model", bound=BaseModel)


class _Token(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    secret: str


def sign_in(
    url: str,
    node: str,
    deployment: Deployment,
    key: SigningKey,
    transport: httpx.BaseTransport | None = None,
) -> str:
    """A token for the node's operator.

    Raises:
        NodeRefusal: the hub asks for a signature that it could use elsewhere.
        HubRefused, HubUnavailable: the hub does not give a token.
    """
    with httpx.Client(
        base_url=url, timeout=_TIMEOUT_S, follow_redirects=False, transport=transport
    ) as client:
        asked = _post(client, "/v1/sign-in/challenges", {"node": node}, _Challenge)
        if domain_of(asked.url) != domain_of(url):
            raise NodeRefusal(
                "wrong_domain", f"the hub at {domain_of(url)} calls itself {domain_of(asked.url)}"
            )
        if abs(asked.issued_unix_s - time.time()) > _CLOCKS_DIFFER_S:
            raise NodeRefusal("wrong_time", "the hub's clock and this one differ by more than five minutes")
        try:
            message = SignIn(
                url=url,
                node=node,
                signer=key.address,
                chain_id=deployment.chain_id,
                registry=deployment.registry,
                nonce=asked.nonce,
                issued_unix_s=asked.issued_unix_s,
                expires_unix_s=asked.expires_unix_s,
            )
        except InvalidMessage as error:
            raise NodeRefusal("bad_challenge", str(error)) from error
        body = {"nonce": asked.nonce, "signature": message.sign(key.reveal())}
        return _post(client, "/v1/sign-in/tokens", body, _Token).secret


def _post(client: httpx.Client, path: str, body: dict[str, str], answer_type: type[_Model]) -> _Model:
    try:
        response = client.post(path, json=body)
        answer = response.json()
    except (httpx.HTTPError, ValueError) as error:
        raise HubUnavailable(f"signing in at {client.base_url} failed: {error}") from error
    if response.is_success:
        try:
            return answer_type.model_validate(answer)
        except ValidationError as error:
            raise HubUnavailable("the orchestrator's answer to a sign-in cannot be read") from error
    if response.status_code >= 500 or response.status_code == 429 or not isinstance(answer, dict):
        raise HubUnavailable(f"the orchestrator answers {response.status_code} to a sign-in")
    raise HubRefused(
        response.status_code, str(answer.get("code", ""))[:64], str(answer.get("detail", ""))[:300]
    )
