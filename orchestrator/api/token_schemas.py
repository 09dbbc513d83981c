"""The JSON of tokens."""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field

from contracts.messages import Address
from orchestrator.api.schemas import Integer, ListPage, Name
from orchestrator.domain.credentials import TokenRecord
from orchestrator.domain.identity import Role
from orchestrator.services.tokens import (
    DEFAULT_LIFETIME_S,
    LONGEST_LIFETIME_S,
    IssuedToken,
    TokenRequest,
)

_MOST_OPERATIONS = 200

OperationId = Annotated[str, Field(max_length=80)]


class TokenOrder(BaseModel):
    """A token to be made. ``operations`` narrows it to some of its role's; left out, it may all of them."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "example": {
                "name": "nightly export",
                "role": "auditor",
                "operations": ["list_tasks", "list_rounds"],
                "lasts_s": 604_800,
            }
        },
    )

    name: Name
    role: Role
    node: Address | None = Field(default=None, description="the node of an operator; nobody else has one")
    operations: (
        Annotated[tuple[OperationId, ...], Field(min_length=1, max_length=_MOST_OPERATIONS)] | None
    ) = None
    lasts_s: Annotated[Integer, Field(ge=60, le=LONGEST_LIFETIME_S)] = DEFAULT_LIFETIME_S

    def to_request(self) -> TokenRequest:
        """What the service takes."""
        operations = None if self.operations is None else frozenset(self.operations)
        return TokenRequest(self.name, self.role, self.node, operations, self.lasts_s)


class TokenAnswer(BaseModel):
    """A token, without its secret."""

    model_config = ConfigDict(frozen=True)

    token: int
    name: str
    role: Role
    node: str | None
    operations: tuple[str, ...] | None
    created_unix_s: int
    expires_unix_s: int
    issued_by: str

    @classmethod
    def of(cls, record: TokenRecord) -> Self:
        """The answer for a record."""
        return cls(
            token=record.id,
            name=record.name,
            role=record.role,
            node=record.node,
            operations=None if record.operations is None else tuple(sorted(record.operations)),
            created_unix_s=record.created_unix_s,
            expires_unix_s=record.expires_unix_s,
            issued_by=record.issued_by,
        )


class TokenSecretAnswer(TokenAnswer):
    """A token with its secret, which is never shown again."""

    secret: str

    @classmethod
    def of_issued(cls, issued: IssuedToken) -> Self:
        """The answer for a token that was just made."""
        return cls(**TokenAnswer.of(issued.record).model_dump(), secret=issued.secret)


class TokenList(ListPage):
    """A page of tokens."""

    items: tuple[TokenAnswer, ...]
