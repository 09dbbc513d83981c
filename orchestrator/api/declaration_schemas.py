"""The JSON of what networks declare of themselves."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from contracts.digests import Digest
from orchestrator.api.schemas import ListPage
from orchestrator.domain.declarations import Site, SiteState

_MOST_SITES = 1000

SiteName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._\-]{0,99}$")]


class SiteBody(BaseModel):
    """A hospital of a network."""

    model_config = ConfigDict(extra="forbid", frozen=True, from_attributes=True)

    name: SiteName
    state: SiteState

    def to_site(self) -> Site:
        """The site of the domain."""
        return Site(self.name, self.state)


class SiteList(BaseModel):
    """All sites of a network."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    items: Annotated[tuple[SiteBody, ...], Field(max_length=_MOST_SITES)]


class PolicyRequest(BaseModel):
    """A policy: any JSON object that the network's hospitals obey; the hub reads nothing into it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    document: dict[str, Any]


class PolicyAnswer(BaseModel):
    """A version of a policy; an approval on chain names its ``digest``."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    node: str
    version: int
    digest: Digest
    document: dict[str, Any]
    declared_unix_s: int


class PolicyList(ListPage):
    """A page of a policy's versions."""

    items: tuple[PolicyAnswer, ...]
