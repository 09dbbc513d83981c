"""Nodes: who takes part."""

from http import HTTPStatus

from fastapi import APIRouter

from orchestrator.api.access import Admin, Reader, ServicesOfApp, TokenFirst
from orchestrator.api.schemas import IntentAnswer, NodeAnswer, NodeList, NodeRequest
from orchestrator.services.queries import intent_view

router = APIRouter(prefix="/v1/nodes", tags=["nodes"], route_class=TokenFirst)


@router.get("", operation_id="list_nodes")
def list_nodes(services: ServicesOfApp, _: Reader) -> NodeList:
    """All admitted nodes, by address."""
    return NodeList(items=tuple(NodeAnswer.model_validate(node) for node in services.queries.nodes()))


@router.post("", operation_id="admit_node", status_code=HTTPStatus.ACCEPTED)
def admit_node(request: NodeRequest, services: ServicesOfApp, _: Admin) -> IntentAnswer:
    """Admit a node on chain; the worker sends the call."""
    intent = services.nodes.admit(request.node, request.signer, request.group, request.name)
    return IntentAnswer.model_validate(intent_view(intent))
