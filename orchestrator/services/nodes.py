"""Nodes: the council admits them, and anyone may have them paid; the worker sends the calls."""

from dataclasses import dataclass

from orchestrator.domain.chain import AdmitNode, Claim, Withdraw
from orchestrator.domain.errors import Conflict, UnknownNode
from orchestrator.domain.membership import check_claim, check_withdrawal
from orchestrator.domain.outbox import Intent
from orchestrator.domain.ports import Clock, Records, Unit
from orchestrator.domain.state import NodeState
from orchestrator.services.messages import chain_time_unix_s
from orchestrator.services.outbox import enqueue


@dataclass(frozen=True)
class NodeService:
    """Admissions, display names, and payments that anyone may trigger."""

    records: Records
    clock: Clock

    def admit(self, node: str, signer: str, group: int, name: str) -> Intent:
        """Record the admission of a node for sending, and its display name; again, it changes nothing.

        Raises:
            Conflict: the node was admitted otherwise, with another signer or group.
        """
        with self.records.write() as unit:
            return order_admission(unit, AdmitNode(node, signer, group), name, self.clock.now_unix_s())

    def withdraw(self, node: str) -> Intent:
        """Record the payment of what has matured of a node's stake, to its own account.

        Raises:
            UnknownNode: it was never admitted.
            InOpenRounds, SlashesPending, NothingMature: the registry would not pay now.
        """
        with self.records.write() as unit:
            state = _node(unit, node)
            check_withdrawal(state, chain_time_unix_s(unit, self.clock))
            # What was paid before numbers the payments.
            key = f"withdraw:{node}:{state.withdrawn}"
            return enqueue(unit, key, Withdraw(node), self.clock.now_unix_s())

    def claim(self, node: str) -> Intent:
        """Record the payment of a node's rewards, to its own account.

        Raises:
            UnknownNode: it was never admitted.
            NothingToClaim: it has no rewards that were not paid.
        """
        with self.records.write() as unit:
            state = _node(unit, node)
            check_claim(state)
            return enqueue(unit, f"claim:{node}:{state.claimed}", Claim(node), self.clock.now_unix_s())


def order_admission(unit: Unit, call: AdmitNode, name: str, now_unix_s: int) -> Intent:
    """Record an admission for sending, and the node's display name.

    Raises:
        Conflict: the node was admitted with another signer or group, or another node has the name.
    """
    intent = enqueue(unit, f"admit:{call.node}", call, now_unix_s)
    if any(other == name and holder != call.node for holder, other in unit.names.names().items()):
        raise Conflict(f"another node is named {name!r}")
    unit.names.set_name(call.node, name)
    return intent


def _node(unit: Unit, node: str) -> NodeState:
    state = unit.projection.node(node)
    if state is None:
        raise UnknownNode(f"node {node} was never admitted")
    return state
