"""Nodes sign in: a challenge, and a token for whoever signed it with the node's signing key."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from contracts.messages import Address, Signature
from orchestrator.api.access import ATTEMPT, ServicesOfApp
from orchestrator.api.media_types import JsonRoute
from orchestrator.api.token_schemas import TokenSecretAnswer

router = APIRouter(prefix="/v1/sign-in", tags=["sign-in"], route_class=JsonRoute, dependencies=[ATTEMPT])


class ChallengeRequest(BaseModel):
    """The node that somebody means to act for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    node: Address


class ChallengeAnswer(BaseModel):
    """What to sign as a personal message (EIP-191); ``text`` is made of the other fields."""

    url: str
    node: str
    signer: str
    chain_id: int
    registry: str
    nonce: str
    issued_unix_s: int
    expires_unix_s: int
    text: str


class SignInRequest(BaseModel):
    """A signed challenge."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    nonce: Annotated[str, Field(pattern=r"^[A-Za-z0-9]{16,64}$")]
    signature: Signature


@router.post(
    "/challenges",
    operation_id="create_challenge",
    status_code=HTTPStatus.CREATED,
    responses={404: {}},
)
def create_challenge(order: ChallengeRequest, services: ServicesOfApp) -> ChallengeAnswer:
    """Ask for a text that the node's signing key has to sign within five minutes."""
    asked = services.node_sign_in.challenge(order.node)
    return ChallengeAnswer(
        url=asked.url,
        node=asked.node,
        signer=asked.signer,
        chain_id=asked.chain_id,
        registry=asked.registry,
        nonce=asked.nonce,
        issued_unix_s=asked.issued_unix_s,
        expires_unix_s=asked.expires_unix_s,
        text=asked.text,
    )


@router.post("/tokens", operation_id="sign_in_node", status_code=HTTPStatus.CREATED)
def sign_in_node(answer: SignInRequest, services: ServicesOfApp) -> TokenSecretAnswer:
    """Exchange a signed challenge for an operator's token that lasts an hour. A challenge works once."""
    return TokenSecretAnswer.of_issued(services.node_sign_in.redeem(answer.nonce, answer.signature))
