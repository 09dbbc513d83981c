"""What a network says outside rounds: it reads the chain, signs with the key that it takes, hands in.

Approvals, revocations and returns are signed by the signing key; what moves the node's money or its key
(rotation, exit, migration) by its own account, whose key need not lie on the node's machine.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from contracts.deployment import Deployment
from contracts.digests import ZERO_DIGEST
from contracts.messages import Approval, Exit, Migration, Return, Revocation, Rotation
from contracts.task import TaskSpec
from tier_global.chain_view import ChainView, JsonRpcChainView
from tier_global.errors import NodeRefusal
from tier_global.hub import HttpHub, NodeMessage
from tier_global.keys import SigningKey, read_key
from tier_global.node_config import NodeConfig
from tier_global.node_process import read_deployment


@dataclass(frozen=True)
class Member:
    """A node and its ways to the chain and to the orchestrator.

    Every method may raise NodeRefusal, ChainUnavailable, HubUnavailable and HubRefused.
    """

    address: str
    deployment: Deployment
    chain: ChainView
    hub: HttpHub

    @classmethod
    def of(cls, config: NodeConfig, *, orchestrator_url: str, token: str) -> Self:
        """The node of ``config``. Raises SetupError."""
        deployment = read_deployment(config)
        return cls(
            address=config.address,
            deployment=deployment,
            chain=JsonRpcChainView(config.rpc_url, deployment),
            hub=HttpHub(orchestrator_url, token),
        )

    def approve(self, task: int, key: SigningKey, expiry_unix_s: int) -> tuple[Approval, TaskSpec]:
        """Approve a task by its spec; what was approved. Raises InvalidTaskSpec too."""
        facts = self.chain.task(task)
        if facts.is_over:
            raise NodeRefusal("task_over", f"task {task} is over: no round of it will be opened any more")
        self._require_signing_key(key)
        # The hub checks bytes against the digest that it is asked for, and this digest comes from the chain.
        spec = TaskSpec.parse(self.hub.artifact(facts.spec_digest))
        approval = Approval(
            node=self.address,
            task=task,
            spec_digest=facts.spec_digest,
            # A policy of a network's own comes with a later version; until then there is none.
            policy_digest=ZERO_DIGEST,
            nonce=self.chain.tasks_nonce(self.address),
            expiry_unix_s=expiry_unix_s,
        )
        self._hand_in(approval, key)
        return approval, spec

    def revoke(self, task: int, key: SigningKey, expiry_unix_s: int) -> Revocation:
        """Take the approval of a task back, from the next round on."""
        if self.address not in self.chain.task(task).approved:
            raise NodeRefusal("not_approved", f"{self.address} does not approve task {task}")
        self._require_signing_key(key)
        nonce = self.chain.tasks_nonce(self.address)
        revocation = Revocation(node=self.address, task=task, nonce=nonce, expiry_unix_s=expiry_unix_s)
        self._hand_in(revocation, key)
        return revocation

    def come_back(self, key: SigningKey, expiry_unix_s: int) -> Return:
        """Say that the node is back after too many absences."""
        self._require_signing_key(key)
        nonce = self.chain.registry_nonce(self.address)
        message = Return(node=self.address, nonce=nonce, expiry_unix_s=expiry_unix_s)
        self._hand_in(message, key)
        return message

    def rotate(self, signer: str, owner_key: SigningKey, expiry_unix_s: int) -> Rotation:
        """Replace the signing key by the one with address ``signer``."""
        self._require_owner(owner_key)
        if self.chain.node(self.address).signer == signer:
            raise NodeRefusal("same_key", f"{signer} is this node's signing key already")
        nonce = self.chain.registry_nonce(self.address)
        rotation = Rotation(node=self.address, signer=signer, nonce=nonce, expiry_unix_s=expiry_unix_s)
        self._hand_in(rotation, owner_key)
        return rotation

    def exit(self, amount: int, owner_key: SigningKey, expiry_unix_s: int) -> Exit:
        """Send an amount of the stake on its way out."""
        self._require_owner(owner_key)
        stake = self.chain.node(self.address).stake
        if amount > stake:
            raise NodeRefusal("insufficient_stake", f"the node stakes {stake}, not {amount}")
        nonce = self.chain.registry_nonce(self.address)
        leaving = Exit(node=self.address, amount=amount, nonce=nonce, expiry_unix_s=expiry_unix_s)
        self._hand_in(leaving, owner_key)
        return leaving

    def migrate(self, successor: str, owner_key: SigningKey, expiry_unix_s: int) -> Migration:
        """Move what has matured to the stake in the registry that the council has named.

        Raises:
            InvalidMessage: ``successor`` is no address.
        """
        self._require_owner(owner_key)
        nonce = self.chain.registry_nonce(self.address)
        migration = Migration.parse(
            {
                "node": self.address,
                "successor": successor,
                "nonce": nonce,
                "expiry_unix_s": expiry_unix_s,
            }
        )
        self._hand_in(migration, owner_key)
        return migration

    def _require_signing_key(self, key: SigningKey) -> None:
        signer = self.chain.node(self.address).signer
        if signer != key.address:
            raise NodeRefusal(
                "wrong_key", f"the chain knows {signer} as this node's signing key, not {key.address}"
            )

    def _require_owner(self, key: SigningKey) -> None:
        if key.address != self.address:
            raise NodeRefusal(
                "wrong_key",
                f"this is signed by the node's own account, {self.address}, and the key is {key.address}'s; "
                "name the file of the account's key with --owner-key-file",
            )

    def _hand_in(self, message: NodeMessage, key: SigningKey) -> None:
        of_tasks = isinstance(message, Approval | Revocation)
        domain = self.deployment.tasks_domain if of_tasks else self.deployment.registry_domain
        self.hub.hand_in(message, message.sign(domain, key.reveal()))


def signing_key(config: NodeConfig) -> SigningKey:
    """The node's signing key. Raises UnsafeKeyFile."""
    return read_key(config.key_file, config.wallet)


def owner_key(config: NodeConfig, file: Path | None) -> SigningKey:
    """The key of the node's own account: in ``file``, else the signing key, where the two are one.

    Raises:
        UnsafeKeyFile: no key, or one that others can read.
    """
    return read_key(file or config.key_file)
