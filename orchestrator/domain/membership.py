"""Whether what a node says of itself, or what anyone may do for it, would be taken by the chain now.

Messages without a round (approval, revocation, return, rotation, exit, migration) carry the node's next
nonce at the contract that takes them, and an expiry. What moves a node's money or its key is signed by its
own account; the rest by its signing key, as it is now.
"""

from dataclasses import dataclass

from contracts.deployment import Deployment
from contracts.digests import ZERO_DIGEST
from contracts.messages import Domain
from orchestrator.domain.chain import (
    NodeMessageCall,
    RelayApproval,
    RelayExit,
    RelayMigration,
    RelayReturn,
    RelayRevocation,
    RelayRotation,
)
from orchestrator.domain.errors import (
    Expired,
    InOpenRounds,
    InsufficientStake,
    NodeDismissed,
    NotApproved,
    NothingMature,
    NothingToClaim,
    SlashesPending,
    Unacceptable,
    UnknownNode,
    WrongNonce,
    WrongSpec,
    WrongSuccessor,
)
from orchestrator.domain.signatures import SignatureClaim, require_signed
from orchestrator.domain.state import NodeState, RegistryState, TaskState

_NO_ADDRESS = ZERO_DIGEST[:42]


@dataclass(frozen=True)
class Membership:
    """Where and when a node's message arrives; ``now_unix_s`` is the newest block's time."""

    node: NodeState | None
    task: TaskState | None
    """The task that the message names, if it names one."""
    registry: RegistryState
    deployment: Deployment
    now_unix_s: int
    accepted: SignatureClaim | None = None
    """What the contract that must sign has accepted, if it was asked."""


def check_node_message(call: NodeMessageCall, membership: Membership) -> None:
    """Refuse a message without a round that its contract would refuse now.

    Raises:
        UnknownNode, Expired, WrongNonce, UnprovenSignature: any kind of message.
        WrongSpec: an approval. NotApproved: a revocation. NodeDismissed: a return. Unacceptable: a rotation.
        InsufficientStake: an exit.
        WrongSuccessor, InOpenRounds, SlashesPending, NothingMature: a migration.
    """
    message, node = call.message, membership.node
    if node is None:
        raise UnknownNode(f"node {message.node} was never admitted")
    if membership.now_unix_s > message.expiry_unix_s:
        raise Expired(
            f"the {type(message).__name__.lower()} expired at {message.expiry_unix_s}; sign it again"
        )
    of_tasks = isinstance(call, RelayApproval | RelayRevocation)
    nonce = node.tasks_nonce if of_tasks else node.registry_nonce
    if message.nonce != nonce:
        raise WrongNonce(
            f"the message carries nonce {message.nonce}; the node's next one is {nonce}, as far as the hub "
            "has read the chain; if it is behind, try again in a moment"
        )
    deployment = membership.deployment
    domain = deployment.tasks_domain if of_tasks else deployment.registry_domain
    _check_signature(call, node, domain, membership.accepted)
    _check_content(call, node, membership)


def check_withdrawal(node: NodeState, now_unix_s: int) -> None:
    """Refuse to pay out a stake that the registry would not pay out now.

    Raises:
        InOpenRounds, SlashesPending: the node still owes something.
        NothingMature: nothing has matured.
    """
    if node.open_rounds:
        raise InOpenRounds(
            f"the node has a seat in {node.open_rounds} open rounds; wait until they are closed"
        )
    if node.pending_slashes:
        raise SlashesPending(
            f"{node.pending_slashes} slashes of the node are pending; each is waived or executed first"
        )
    if node.mature(now_unix_s) == 0:
        first = min((each.matures_unix_s for each in node.unbonding), default=None)
        when = "nothing is on its way out" if first is None else f"the first amount matures at {first}"
        raise NothingMature(f"nothing can be paid out yet: {when}")


def check_claim(node: NodeState) -> None:
    """Refuse a claim of nothing. Raises NothingToClaim."""
    if node.claimable == 0:
        raise NothingToClaim(f"{node.node} has no rewards that were not paid yet")


def _check_signature(
    call: NodeMessageCall, node: NodeState, domain: Domain, accepted: SignatureClaim | None
) -> None:
    by_account = isinstance(call, RelayRotation | RelayExit | RelayMigration)
    signer, whose = (node.node, "own account") if by_account else (node.signer, "signing key")
    kind = type(call.message).__name__.lower()
    require_signed(
        call.message,
        domain,
        call.signature,
        signer,
        accepted=accepted,
        refusal=f"a {kind} is signed by the node's {whose}, {signer}",
    )


def _check_content(call: NodeMessageCall, node: NodeState, membership: Membership) -> None:
    match call:
        case RelayApproval(message=approval):
            assert membership.task is not None, "an approval names a task"
            expected = membership.task.config.spec_digest
            if approval.spec_digest != expected:
                raise WrongSpec(f"the approval is for spec {approval.spec_digest}, the task's is {expected}")
        case RelayRevocation(message=revocation):
            assert membership.task is not None, "a revocation names a task"
            if node.node not in membership.task.approved:
                raise NotApproved(f"{node.node} does not approve task {revocation.task}")
        case RelayReturn():
            if not node.admitted:
                raise NodeDismissed(f"the council has dismissed {node.node}; it can only admit it again")
        case RelayRotation(message=rotation):
            if rotation.signer == _NO_ADDRESS:
                raise Unacceptable("the zero address is nobody's signing key")
        case RelayExit(message=leaving):
            if leaving.amount > node.stake:
                raise InsufficientStake(f"the node stakes {node.stake}, the exit asks for {leaving.amount}")
        case RelayMigration(message=migration):
            successor = membership.registry.successor
            if migration.successor != successor:
                named = "has named none" if successor is None else f"has named {successor}"
                raise WrongSuccessor(f"the migration is to {migration.successor}; the council {named}")
            check_withdrawal(node, membership.now_unix_s)
