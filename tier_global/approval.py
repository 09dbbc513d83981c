"""A network's approval of a task: read the spec, check it against the chain, sign, hand in."""

from contracts.digests import ZERO_DIGEST
from contracts.messages import Approval
from contracts.task import TaskSpec
from tier_global.chain_view import JsonRpcChainView
from tier_global.errors import NodeRefusal
from tier_global.hub import HttpHub
from tier_global.keys import read_key
from tier_global.node_config import NodeConfig
from tier_global.node_process import read_deployment


def approve_task(
    config: NodeConfig, task: int, *, orchestrator_url: str, token: str, expiry_unix_s: int
) -> tuple[Approval, TaskSpec]:
    """Approve ``task`` as the node of ``config``; what was approved.

    Raises:
        NodeRefusal: the chain has no such task, or knows another signing key for this node.
        InvalidTaskSpec: the spec is not one that this version can read.
        TierGlobalError: chain or orchestrator cannot be asked, or refuse.
    """
    deployment = read_deployment(config)
    key = read_key(config.key_file)
    chain = JsonRpcChainView(config.rpc_url, deployment)
    hub = HttpHub(orchestrator_url, token)
    spec_digest = chain.task(task).spec_digest
    if spec_digest == ZERO_DIGEST:
        raise NodeRefusal("no_task", f"there is no task {task} on chain")
    signer = chain.node(config.address).signer
    if signer != key.address:
        raise NodeRefusal(
            "wrong_key", f"the chain knows {signer} as this node's signing key, not {key.address}"
        )
    # The hub checks bytes against the digest that it is asked for, and this digest comes from the chain.
    spec = TaskSpec.parse(hub.artifact(spec_digest))
    approval = Approval(
        node=config.address,
        task=task,
        spec_digest=spec_digest,
        # A policy of a network's own comes with a later version of the protocol; until then there is none.
        policy_digest=ZERO_DIGEST,
        nonce=chain.approval_nonce(config.address),
        expiry_unix_s=expiry_unix_s,
    )
    hub.approve(approval, approval.sign(deployment.tasks_domain, key.reveal()))
    return approval, spec
