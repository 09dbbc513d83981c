"""What a node checks before it works: the round on chain, its own role, the spec, the parent and the time."""

from collections.abc import Iterable, Mapping, Sequence

from contracts.digests import sha256_digest
from contracts.phase import Phase
from contracts.task import TaskSpec
from tier_global.chain_view import ChainView, RoundOnChain
from tier_global.clock import Clock
from tier_global.errors import NodeRefusal
from tier_global.exchange import Request
from tier_global.phases import PHASE_OF, Stage

HOLD_S = 20.0
"""How long a request that comes one phase too early is held back. It may come early on purpose: a node
that is already waiting answers the moment the phase begins. Not longer: the node is deaf meanwhile."""
DELIVERY_MARGIN_S = 15.0
"""What an answer needs to reach the chain before the phase's deadline; work ends that much earlier."""
DELIVERY_MARGIN_SHARE = 0.2
"""The margin is at most this share of the time that is left, so that short phases keep time for the work."""
_CHAIN_POLL_S = 0.3


class NodeChecks:
    """The checks of one node against its own view of the chain. Each raises NodeRefusal with its code."""

    def __init__(self, address: str, chain: ChainView, clock: Clock) -> None:
        self._address = address
        self._chain = chain
        self._clock = clock

    def await_phase(self, request: Request, stage: Stage) -> RoundOnChain:
        """The round, once it is in the stage's phase; waits up to HOLD_S while it is in the phase before."""
        wanted = PHASE_OF[stage]
        patience_ends_unix_s = self._clock.now_unix_s() + HOLD_S
        while True:
            facts = self._chain.round(request.task, request.round)
            now_unix_s = self._clock.now_unix_s()
            if facts.phase == wanted:
                if now_unix_s > facts.deadline_unix_s:
                    raise NodeRefusal("too_late", f"the deadline of phase {wanted.label} has passed")
                return facts
            if facts.phase is Phase.NONE or facts.phase > wanted:
                raise NodeRefusal(
                    "wrong_phase", f"the round is in phase {facts.phase.label}, not {wanted.label}"
                )
            if facts.phase + 1 != wanted or now_unix_s >= patience_ends_unix_s:
                raise NodeRefusal("too_early", f"the round is still in phase {facts.phase.label}")
            self._clock.sleep(_CHAIN_POLL_S)

    def require_signing_key(self, key_address: str) -> None:
        """Refuse to work with a key that is not this node's any more: what it signs, the chain refuses."""
        signer = self._chain.node(self._address).signer
        if signer != key_address:
            raise NodeRefusal(
                "wrong_key", f"the chain knows {signer} as this node's signing key, not {key_address}"
            )

    def require_drawn(self, drawn: Sequence[str], role: str) -> None:
        """Refuse work in a role for which this node was not drawn."""
        if self._address not in drawn:
            raise NodeRefusal("not_drawn", f"{self._address} is not a {role} of this round")

    def approved_spec(self, task: int, data: bytes) -> TaskSpec:
        """The task's spec, if it is the one on chain and this node's key has approved it there."""
        facts = self._chain.task(task)
        if sha256_digest(data) != facts.spec_digest:
            raise NodeRefusal("wrong_spec", "the spec that came does not have the digest that is on chain")
        if self._address not in facts.approved:
            raise NodeRefusal("not_approved", f"{self._address} has not approved task {task}")
        return TaskSpec.parse(data)

    def approved_policy_digest(self, task: int) -> str:
        """The network's policy as this node approved the task with it."""
        return self._chain.approved_policy_digest(task, self._address)

    def parent(self, facts: RoundOnChain, adapters: Mapping[str, bytes]) -> bytes:
        """The parent's bytes, which must have the digest that the round starts from."""
        data = adapters.get(facts.parent_digest)
        if data is None or sha256_digest(data) != facts.parent_digest:
            raise NodeRefusal(
                "wrong_parent", "no adapter came whose bytes have the digest of the round's parent"
            )
        return data

    def kin(self, nodes: Iterable[str]) -> frozenset[str]:
        """Those of ``nodes`` that this node must not score: itself and its group."""
        group = self._chain.node(self._address).group
        return frozenset(
            node for node in nodes if node == self._address or self._chain.node(node).group == group
        )

    def work_deadline_unix_s(self, facts: RoundOnChain) -> float:
        """When work must be done so that the answer still gets to the chain in time."""
        left_s = facts.deadline_unix_s - self._clock.now_unix_s()
        return facts.deadline_unix_s - min(DELIVERY_MARGIN_S, DELIVERY_MARGIN_SHARE * left_s)
