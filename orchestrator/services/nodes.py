"""Admission of nodes: the council's call, sent by the worker."""

from dataclasses import dataclass

from orchestrator.domain.chain import AdmitNode
from orchestrator.domain.errors import Conflict
from orchestrator.domain.outbox import Intent
from orchestrator.domain.ports import Clock, Records
from orchestrator.services.outbox import enqueue


@dataclass(frozen=True)
class NodeService:
    """Admissions and display names."""

    records: Records
    clock: Clock

    def admit(self, node: str, signer: str, group: int, name: str) -> Intent:
        """Record the admission of a node for sending, and its display name; again, it changes nothing.

        Raises:
            Conflict: the node was admitted otherwise, with another signer or group.
        """
        with self.records.write() as unit:
            intent = enqueue(unit, f"admit:{node}", AdmitNode(node, signer, group), self.clock.now_unix_s())
            if any(other == name and holder != node for holder, other in unit.names.names().items()):
                raise Conflict(f"another node is named {name!r}")
            unit.names.set_name(node, name)
            return intent
