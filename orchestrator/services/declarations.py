"""Networks declare their sites and their policy; each sees its own, auditors and the admin see all."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import rfc8785

from contracts.digests import sha256_digest
from orchestrator.domain import permissions
from orchestrator.domain.declarations import (
    PolicyVersion,
    Site,
    require_operator,
    version_of_policy,
    version_of_sites,
)
from orchestrator.domain.errors import NotFound, Unacceptable, UnknownNode
from orchestrator.domain.identity import Principal
from orchestrator.domain.pages import Key, Page
from orchestrator.domain.ports import Clock, Records, Unit
from orchestrator.domain.projection import Announcement
from orchestrator.domain.versions import check_version

MOST_POLICY_BYTES = 1 << 16
MOST_POLICY_LEVELS = 32


class InvalidPolicy(Unacceptable):
    """The document cannot be written as canonical JSON, is too long, or too deep."""

    code = "invalid_policy"


@dataclass(frozen=True)
class DeclarationService:
    """Reads and replaces what networks declare; ``expected`` names the versions that a change may meet."""

    records: Records
    clock: Clock

    def sites(self, caller: Principal, node: str) -> tuple[Site, ...]:
        """A network's sites, by name. Raises NotAllowed, UnknownNode."""
        permissions.require_node(caller, node)
        with self.records.read() as unit:
            _require_known(unit, node)
            return _sites(unit, node)

    def declare_sites(
        self, caller: Principal, node: str, sites: Sequence[Site], expected: frozenset[str] | None
    ) -> tuple[Site, ...]:
        """Replace a network's sites.

        Raises:
            NotTheOperator: somebody else asks. UnknownNode: it was never admitted.
            Unacceptable: two sites have one name. PreconditionFailed: they were changed meanwhile.
        """
        require_operator(caller, node)
        if len({site.name for site in sites}) < len(sites):
            raise Unacceptable("two sites have the same name")
        with self.records.write() as unit:
            _require_known(unit, node)
            known = _sites(unit, node)
            check_version(version_of_sites(known), expected)
            unit.declarations.set_sites(node, sites)
            if (declared := _sites(unit, node)) != known:
                facts = {"sites": len(declared)}
                unit.stream.append(Announcement("sites.declared", node=node, facts=facts), self._now())
            return declared

    def policy(self, caller: Principal, node: str) -> PolicyVersion:
        """A network's policy as it is now. Raises NotAllowed, NotFound."""
        permissions.require_node(caller, node)
        with self.records.read() as unit:
            _require_known(unit, node)
            newest = unit.declarations.newest_policy(node)
        if newest is None:
            raise NotFound(f"{node} has declared no policy")
        return newest

    def policies(self, caller: Principal, node: str, after: Key | None, limit: int) -> Page[PolicyVersion]:
        """The versions of a network's policy, oldest first. Raises NotAllowed, UnknownNode."""
        permissions.require_node(caller, node)
        version = 0 if after is None else int(after[0])
        with self.records.read() as unit:
            _require_known(unit, node)
            found = unit.declarations.policies_after(node, version, limit + 1)
        return Page.of(found, limit, lambda policy: (policy.version,))

    def declare_policy(
        self, caller: Principal, node: str, document: dict[str, Any], expected: frozenset[str] | None
    ) -> PolicyVersion:
        """Keep a new version of a network's policy; the same document again changes nothing.

        Raises:
            NotTheOperator: somebody else asks. UnknownNode: it was never admitted.
            InvalidPolicy: the document has no canonical form, is too long, or too deep.
            PreconditionFailed: the policy was changed meanwhile.
        """
        require_operator(caller, node)
        canonical = _canonical(document)
        with self.records.write() as unit:
            _require_known(unit, node)
            newest = unit.declarations.newest_policy(node)
            check_version(version_of_policy(newest), expected)
            digest = sha256_digest(canonical)
            if newest is not None and newest.digest == digest:
                return newest
            version = 1 if newest is None else newest.version + 1
            policy = PolicyVersion(node, version, digest, document, self._now())
            unit.declarations.add_policy(policy)
            facts: dict[str, str | int | bool | None] = {"version": policy.version, "digest": digest}
            unit.stream.append(Announcement("policy.declared", node=node, facts=facts), self._now())
            return policy

    def _now(self) -> int:
        return self.clock.now_unix_s()


def _sites(unit: Unit, node: str) -> tuple[Site, ...]:
    return tuple(sorted(unit.declarations.sites(node), key=lambda site: site.name))


def _require_known(unit: Unit, node: str) -> None:
    if unit.projection.node(node) is None:
        raise UnknownNode(f"node {node} was never admitted")


def _canonical(document: dict[str, Any]) -> bytes:
    _check_levels(document)
    try:
        canonical = rfc8785.dumps(document)
    except rfc8785.CanonicalizationError as error:
        raise InvalidPolicy(f"the document cannot be written as canonical JSON: {error}") from error
    if len(canonical) > MOST_POLICY_BYTES:
        raise InvalidPolicy(f"a policy has at most {MOST_POLICY_BYTES} bytes")
    return canonical


def _check_levels(document: dict[str, Any]) -> None:
    """Refuse what is nested so deep that those who read it would give up."""
    level: list[Any] = [document]
    for _ in range(MOST_POLICY_LEVELS):
        level = [part for value in level for part in _parts(value)]
        if not level:
            return
    raise InvalidPolicy(f"a policy has at most {MOST_POLICY_LEVELS} levels")


def _parts(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()
