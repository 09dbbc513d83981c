"""Sites and policies in tables."""

import json
from collections.abc import Sequence
from typing import cast

import rfc8785
from sqlalchemy import select
from sqlalchemy.orm import Session

from orchestrator.adapters.database.declaration_models import PolicyRow, SiteRow
from orchestrator.adapters.database.text_order import by_bytes
from orchestrator.domain.declarations import PolicyVersion, Site, SiteState


class SqlDeclarationRepository:
    """``DeclarationRepository`` over one session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def sites(self, node: str) -> list[Site]:
        """A network's sites, by name."""
        return [Site(row.name, cast(SiteState, row.state)) for row in self._site_rows(node)]

    def set_sites(self, node: str, sites: Sequence[Site]) -> None:
        """Replace a network's sites."""
        wanted = {site.name: site.state for site in sites}
        for row in self._site_rows(node):
            if row.name not in wanted:
                self._session.delete(row)
        for name, state in wanted.items():
            self._session.merge(SiteRow(node=node, name=name, state=state))
        self._session.flush()

    def policies(self, node: str) -> list[PolicyVersion]:
        """Every version of a network's policy, oldest first."""
        query = select(PolicyRow).where(PolicyRow.node == node).order_by(PolicyRow.version)
        return [
            PolicyVersion(row.node, row.version, row.digest, json.loads(row.document), row.declared_unix_s)
            for row in self._session.scalars(query)
        ]

    def add_policy(self, policy: PolicyVersion) -> None:
        """Keep a new version."""
        self._session.add(
            PolicyRow(
                node=policy.node,
                version=policy.version,
                digest=policy.digest,
                document=rfc8785.dumps(policy.document).decode(),
                declared_unix_s=policy.declared_unix_s,
            )
        )
        self._session.flush()

    def _site_rows(self, node: str) -> list[SiteRow]:
        query = select(SiteRow).where(SiteRow.node == node).order_by(by_bytes(self._session, SiteRow.name))
        return list(self._session.scalars(query))
