"""Nodes: who takes part, what they say of themselves, and what anyone may have paid to them."""

from http import HTTPStatus

from fastapi import APIRouter

from orchestrator.api.access import Caller, ServicesOfApp, TokenFirst
from orchestrator.api.paging import Listing, PagingOfRequest
from orchestrator.api.routers.paths import NodeInPath
from orchestrator.api.schemas import (
    ExitRequest,
    IntentAnswer,
    MigrationRequest,
    NodeAnswer,
    NodeList,
    NodeRequest,
    ReturnRequest,
    RotationRequest,
    SignatureCheckAnswer,
    SignatureCheckRequest,
)
from orchestrator.domain import permissions
from orchestrator.domain.chain import (
    RegistryMessageCall,
    RelayExit,
    RelayMigration,
    RelayReturn,
    RelayRotation,
)
from orchestrator.services.bundle import Services
from orchestrator.services.queries import intent_view

router = APIRouter(prefix="/v1/nodes", tags=["nodes"], route_class=TokenFirst)

_NODES = Listing("nodes", (str,))


@router.get("", operation_id="list_nodes")
def list_nodes(services: ServicesOfApp, _: Caller, paging: PagingOfRequest) -> NodeList:
    """All nodes ever admitted, by address."""
    page = services.listings.nodes(paging.after(_NODES), paging.limit).shown_as(NodeAnswer.model_validate)
    return NodeList(items=page.items, next_cursor=_NODES.cursor(page.next_key))


@router.post("", operation_id="admit_node", status_code=HTTPStatus.ACCEPTED)
def admit_node(request: NodeRequest, services: ServicesOfApp, _: Caller) -> IntentAnswer:
    """Admit a node on chain; the worker sends the call."""
    intent = services.nodes.admit(request.node, request.signer, request.group, request.name)
    return IntentAnswer.model_validate(intent_view(intent))


@router.get("/{node}", operation_id="get_node")
def get_node(node: NodeInPath, services: ServicesOfApp, _: Caller) -> NodeAnswer:
    """One node."""
    return NodeAnswer.model_validate(services.queries.node(node))


# What a node signs is proof enough; still, an operator speaks for its own node only.


@router.post("/{node}/returns", operation_id="return_node", status_code=HTTPStatus.ACCEPTED)
def return_node(
    node: NodeInPath, request: ReturnRequest, services: ServicesOfApp, caller: Caller
) -> IntentAnswer:
    """Relay a node's word that it is back after too many absences."""
    permissions.require_node(caller, node)
    return _relay(services, node, RelayReturn(request.message, request.signature))


@router.post("/{node}/rotations", operation_id="rotate_signer", status_code=HTTPStatus.ACCEPTED)
def rotate_signer(
    node: NodeInPath, request: RotationRequest, services: ServicesOfApp, caller: Caller
) -> IntentAnswer:
    """Relay the replacement of a node's signing key."""
    permissions.require_node(caller, node)
    return _relay(services, node, RelayRotation(request.message, request.signature))


@router.post("/{node}/exits", operation_id="exit_stake", status_code=HTTPStatus.ACCEPTED)
def exit_stake(
    node: NodeInPath, request: ExitRequest, services: ServicesOfApp, caller: Caller
) -> IntentAnswer:
    """Relay a node's order to send an amount of its stake on its way out."""
    permissions.require_node(caller, node)
    return _relay(services, node, RelayExit(request.message, request.signature))


@router.post("/{node}/migrations", operation_id="migrate_stake", status_code=HTTPStatus.ACCEPTED)
def migrate_stake(
    node: NodeInPath, request: MigrationRequest, services: ServicesOfApp, caller: Caller
) -> IntentAnswer:
    """Relay a node's order to move what has matured to the successor registry."""
    permissions.require_node(caller, node)
    return _relay(services, node, RelayMigration(request.message, request.signature))


@router.post("/{node}/withdrawals", operation_id="withdraw_stake", status_code=HTTPStatus.ACCEPTED)
def withdraw_stake(node: NodeInPath, services: ServicesOfApp, caller: Caller) -> IntentAnswer:
    """Have what has matured of a node's stake paid to its own account."""
    permissions.require_node(caller, node)
    return IntentAnswer.model_validate(intent_view(services.nodes.withdraw(node)))


@router.post("/{node}/claims", operation_id="claim_rewards", status_code=HTTPStatus.ACCEPTED)
def claim_rewards(node: NodeInPath, services: ServicesOfApp, caller: Caller) -> IntentAnswer:
    """Have a node's rewards paid to its own account."""
    permissions.require_node(caller, node)
    return IntentAnswer.model_validate(intent_view(services.nodes.claim(node)))


@router.post("/{node}/signature-checks", operation_id="check_signature")
def check_signature(
    node: NodeInPath, request: SignatureCheckRequest, services: ServicesOfApp, _: Caller
) -> SignatureCheckAnswer:
    """Ask the chain whether a node's signing key, which may be a contract, has signed something."""
    is_accepted = services.messages.has_signed(node, request.digest, request.signature)
    return SignatureCheckAnswer(is_accepted=is_accepted)


def _relay(services: Services, node: str, call: RegistryMessageCall) -> IntentAnswer:
    return IntentAnswer.model_validate(intent_view(services.messages.relay_of_node(node, call)))
