"""Single sign-on: what the hub asks of an identity provider, and how its groups become roles."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol, Self

from pydantic import TypeAdapter

from contracts.messages import Address
from orchestrator.domain.errors import NotAllowed
from orchestrator.domain.identity import ROLES, Role


@dataclass(frozen=True)
class Attempt:
    """One browser's attempt to sign in: everything follows from a secret that only this browser has."""

    state: str
    nonce: str
    verifier: str

    @classmethod
    def of(cls, secret: str) -> Self:
        """The attempt of a secret of 256 random bits; none of its parts tells the secret or another part."""
        state, nonce, verifier = (
            sha256(f"{part}:{secret}".encode()).hexdigest() for part in ("state", "nonce", "verifier")
        )
        return cls(state, nonce, verifier)


@dataclass(frozen=True)
class Person:
    """Somebody whom the provider knows; ``values`` are those of the claim that roles are read from."""

    subject: str
    name: str
    values: frozenset[str]


class IdentityProvider(Protocol):
    """An OpenID provider."""

    def begin(self, attempt: Attempt, redirect_url: str) -> str:
        """Where the browser goes to sign in. Raises Unavailable."""

    def finish(self, attempt: Attempt, redirect_url: str, code: str, issuer: str | None) -> Person:
        """Who came back. Raises Unauthenticated, Unavailable."""


@dataclass(frozen=True)
class RoleGrant:
    """A role, and an operator's node."""

    role: Role
    node: str | None = None


@dataclass(frozen=True)
class RoleMap:
    """Which value of the claim gives which role; the first that fits, in the order of the settings."""

    grants: tuple[tuple[str, RoleGrant], ...] = ()

    @classmethod
    def parse(cls, mapping: Mapping[str, str]) -> Self:
        """From ``{"group": "admin", "other": "operator:0x…"}``. Raises ValueError."""
        return cls(tuple((value, _grant(text)) for value, text in mapping.items()))

    def grant_for(self, person: Person) -> RoleGrant:
        """The person's role. Raises NotAllowed without one."""
        for value, grant in self.grants:
            if value in person.values:
                return grant
        raise NotAllowed("your account has no role at this hub; ask the consortium's admin for a group")


_OPERATOR = re.compile(r"operator:(0x[0-9a-fA-F]{40})")


def _grant(text: str) -> RoleGrant:
    if match := _OPERATOR.fullmatch(text):
        return RoleGrant("operator", TypeAdapter(Address).validate_python(match[1]))
    for role in ROLES:
        if text == role and role not in ("operator", "conductor"):
            return RoleGrant(role)
    raise ValueError(f"{text!r} is none of admin, auditor and operator:0x… with a node's address")
