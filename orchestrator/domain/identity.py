"""Who asks, and in which role."""

from dataclasses import dataclass
from typing import Literal, get_args

Role = Literal["admin", "operator", "auditor", "conductor"]
"""The consortium's admin; the operator of one network; an auditor, who reads; the conductor of rounds."""

ROLES: tuple[Role, ...] = get_args(Role)


@dataclass(frozen=True)
class Principal:
    """Somebody whose credential was checked; it is worthless from ``expires_unix_s`` on.

    An operator is bound to the ``node`` of its network, nobody else is to any. ``operations`` None means all
    that the role may do; else only these. ``token`` is the number of the token that was shown, if it was one.
    """

    name: str
    role: Role
    expires_unix_s: int
    node: str | None = None
    operations: frozenset[str] | None = None
    token: int | None = None

    @property
    def key(self) -> str:
        """What tells this caller from every other."""
        return f"{self.role}:{self.name}:{self.node}:{self.token}"
