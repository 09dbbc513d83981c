"""A network's policy: its hospitals' policies by digest. Approvals on chain name this document's digest."""

from typing import Annotated, Literal, Self

import rfc8785
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from contracts.digests import ZERO_DIGEST, Digest, sha256_digest
from contracts.errors import ContractViolation

_SiteName = Annotated[str, StringConstraints(min_length=1, max_length=100)]


class InvalidNetworkPolicy(ContractViolation):
    """A document is no network's policy."""

    code = "invalid_network_policy"


class NetworkPolicy(BaseModel):
    """Each hospital's policy by its digest; zeros for one that has none."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    schema_version: Literal["collegium.network-policy/1"] = Field(
        alias="schema", default="collegium.network-policy/1"
    )
    sites: Annotated[dict[_SiteName, Digest], Field(min_length=1, max_length=100)]

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """The document in ``data`` (JSON).

        Raises:
            InvalidNetworkPolicy: not JSON or not the schema; the message names the field.
        """
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            first = error.errors(include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or "the document"
            raise InvalidNetworkPolicy(f"network policy {where}: {first['msg']}") from error

    def canonical_bytes(self) -> bytes:
        """The document as RFC 8785 canonical JSON."""
        return rfc8785.dumps(self.model_dump(mode="json", by_alias=True))

    @property
    def digest(self) -> str:
        """What an approval names: SHA-256 of the canonical bytes, or zeros where no hospital has a policy."""
        if set(self.sites.values()) == {ZERO_DIGEST}:
            return ZERO_DIGEST
        return sha256_digest(self.canonical_bytes())
