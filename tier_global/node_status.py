"""What there is to say about a node, for its operator."""

from pydantic import BaseModel, ConfigDict

from contracts.digests import Digest
from contracts.messages import Address
from tier_global.chain_view import JsonRpcChainView
from tier_global.errors import ChainUnavailable
from tier_global.node_config import NodeConfig
from tier_global.node_process import open_record, read_deployment, signer_of
from tier_global.record import Kind


class Answered(BaseModel):
    """One thing that the node has signed."""

    model_config = ConfigDict(frozen=True)

    task: int
    round: int
    kind: Kind
    stored_at: str


class RefusedBundle(BaseModel):
    """An app bundle that came with messages and is not among the allowed ones."""

    model_config = ConfigDict(frozen=True)

    digest: Digest
    messages: int
    refused_at: str
    """When the last of the messages came."""


class NodeStatus(BaseModel):
    """The node, the chain's opinion of it in a sentence, its answers and refused bundles in order of time."""

    model_config = ConfigDict(frozen=True)

    address: Address
    signer: Address
    on_chain: str
    answers: tuple[Answered, ...]
    allowed_bundles: tuple[Digest, ...]
    refused_bundles: tuple[RefusedBundle, ...]


def read_status(config: NodeConfig) -> NodeStatus:
    """Look at the node's files and at the chain.

    Raises:
        SetupError: the key or the deployment file is missing or wrong.
        NodeRefusal: the process with the key gives no answer.
    """
    signer = signer_of(config, read_deployment(config)).address()
    with open_record(config) as record:
        answers, refused = record.answered(), record.refused_bundles()
    return NodeStatus(
        address=config.address,
        signer=signer,
        on_chain=_on_chain(config, signer),
        answers=tuple(
            Answered(task=task, round=round_number, kind=kind, stored_at=stored_at)
            for task, round_number, kind, stored_at in answers
        ),
        allowed_bundles=config.allowed_bundles,
        refused_bundles=tuple(
            RefusedBundle(digest=digest, messages=messages, refused_at=refused_at)
            for digest, messages, refused_at in refused
        ),
    )


def _on_chain(config: NodeConfig, signer: str) -> str:
    try:
        facts = JsonRpcChainView(config.rpc_url, read_deployment(config)).node(config.address)
    except ChainUnavailable as error:
        return f"not known, {error}"
    if not facts.admitted:
        return "not admitted, or dismissed"
    if facts.signer != signer:
        return f"admitted to group {facts.group}, but with another signing key: {facts.signer}"
    stake = f"stake {facts.stake}, {facts.unbonding} on its way out"
    drawn = (
        "can be drawn" if facts.can_be_drawn else f"cannot be drawn, absent {facts.absences} times running"
    )
    return f"admitted to group {facts.group}; {stake}; {drawn}"
