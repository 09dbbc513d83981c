"""What a network declares of itself at the hub: its sites, and the policy that its approvals name by digest.

Nobody else may declare it, the consortium's admin neither. A policy is kept in every version that there was,
so that an approval on chain can be read with the document that its digest stands for.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Literal, Protocol

from orchestrator.domain.errors import NotAllowed
from orchestrator.domain.identity import Principal

SiteState = Literal["ready", "paused", "unavailable"]
NO_POLICY = "none"
"""The version of a policy that was never declared."""
_VERSION_CHARACTERS = 32


class NotTheOperator(NotAllowed):
    """Only the operator of the network may declare this."""

    code = "not_the_operator"


@dataclass(frozen=True)
class Site:
    """A hospital of a network, as the network names it."""

    name: str
    state: SiteState


@dataclass(frozen=True)
class PolicyVersion:
    """A network's policy as it was at a time; ``digest`` is the SHA-256 of its canonical JSON."""

    node: str
    version: int
    digest: str
    document: dict[str, Any]
    declared_unix_s: int


class DeclarationRepository(Protocol):
    """Sites and policies."""

    def sites(self, node: str) -> list[Site]:
        """A network's sites, by name."""

    def set_sites(self, node: str, sites: Sequence[Site]) -> None:
        """Replace a network's sites."""

    def newest_policy(self, node: str) -> PolicyVersion | None:
        """A network's policy as it is now."""

    def policies_after(self, node: str, version: int, limit: int) -> list[PolicyVersion]:
        """The versions of a network's policy after one, oldest first."""

    def add_policy(self, policy: PolicyVersion) -> None:
        """Keep a new version."""


def version_of_sites(sites: Sequence[Site]) -> str:
    """A text that is another one when anything about the sites is."""
    text = "\n".join(f"{site.name}\t{site.state}" for site in sites)
    return sha256(text.encode()).hexdigest()[:_VERSION_CHARACTERS]


def version_of_policy(policy: PolicyVersion | None) -> str:
    """Which version of a policy somebody saw."""
    return NO_POLICY if policy is None else policy.digest


def require_operator(principal: Principal, node: str) -> None:
    """Raises NotTheOperator unless the principal operates the node."""
    if principal.role != "operator" or principal.node != node:
        raise NotTheOperator(f"only the operator of {node} declares this, with an operator's token")
