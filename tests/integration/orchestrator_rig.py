"""A small task and a few networks' keys: what nodes would sign, without any training."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from eth_utils.crypto import keccak

from contracts.accounts import Account
from contracts.deployment import Deployment
from contracts.digests import sha256_digest
from contracts.manifest import FloatArray, Manifest
from contracts.messages import (
    Approval,
    Attestation,
    Commit,
    Domain,
    Exit,
    Migration,
    Proposal,
    Return,
    Reveal,
    Revocation,
    Rotation,
)
from contracts.task import TaskSpec

SignedMessage = Approval | Revocation | Rotation | Exit | Migration | Return | Proposal | Commit | Attestation
TOKEN = 10**18
POOL = 300 * TOKEN
STAKE = 10 * TOKEN
TERMS = {
    "rounds": 2,
    "proposers": 3,
    "voters": 4,
    "min_proposals": 2,
    "min_reveals": 3,
    "min_scorers": 2,
    "attestation_quorum_bps": 5_000,
    "proposer_share_bps": 6_000,
    "absent_bps": 100,
    "unrevealed_bps": 500,
    "invalid_bps": 2_000,
    "acceptance_threshold_micronats": -250_000,
    "closeness_range_micronats": 1_000_000,
    "training_s": 120,
    "committing_s": 120,
    "revealing_s": 60,
    "attesting_s": 120,
    "stake_cap": 1_000 * TOKEN,
}


def tensors(value: float) -> dict[str, FloatArray]:
    """An adapter with one value everywhere."""
    return {
        "block.0.lora_A": np.full((2, 3), value, dtype=np.float32),
        "block.0.lora_B": np.full((3, 2), value, dtype=np.float32),
    }


MANIFEST = Manifest.of(tensors(0.0))
GENESIS = MANIFEST.encode(tensors(0.0))
REPORT = b'{"kind": "train"}'


def adapter(value: float) -> bytes:
    """The canonical file of ``tensors(value)``."""
    return MANIFEST.encode(tensors(value))


def task_spec(name: str = "small-task") -> TaskSpec:
    """A valid spec over the small manifest."""
    fields: dict[str, Any] = {
        "schema": "collegium.task/1",
        "name": name,
        "base_model": {"source": "tiny-llama", "digest": sha256_digest(b"weights")},
        "adapter": {"rank": 2, "alpha": 4.0, "target_modules": ["q_proj"], "blocks": [0]},
        "manifest": MANIFEST.model_dump(mode="json"),
        "genesis_digest": sha256_digest(GENESIS),
        "data": {
            "prompt": "{text}:",
            "labels": ["a", "b"],
            "max_prompt_tokens": 16,
            "least_stratum_records": 1,
        },
        "training": {
            "steps": 1,
            "batch_records": 1,
            "learning_rate": 0.01,
            "warmup_steps": 0,
            "seed": 1,
        },
        "aggregation": {"rule": "mean"},
    }
    return TaskSpec.model_validate(fields)


def terms_of(spec: TaskSpec, **changes: int) -> dict[str, Any]:
    """The terms on chain as the API takes them."""
    return {**TERMS, **changes, "spec_digest": spec.digest, "genesis_digest": spec.genesis_digest}


@dataclass(frozen=True)
class Network:
    """A node's key, and what it signs."""

    name: str
    value: float
    """What its adapters are filled with, but for the round."""

    @cached_property
    def key(self) -> bytes:
        """Its private key."""
        return bytes(keccak(text=f"network {self.name}"))

    @cached_property
    def address(self) -> str:
        """Its account."""
        return str(Account.from_key(self.key).address)

    def adapter(self, round_number: int) -> bytes:
        """What it proposes in a round: each time something new."""
        return adapter(self.value_in(round_number))

    def value_in(self, round_number: int) -> float:
        """What its adapter of a round is filled with."""
        return self.value + 10.0 * round_number

    def approval(
        self, deployment: Deployment, task: int, spec_digest: str, expiry_unix_s: int, nonce: int = 0
    ) -> dict[str, Any]:
        """A signed approval, as the API takes it."""
        message = Approval(
            node=self.address,
            task=task,
            spec_digest=spec_digest,
            policy_digest=sha256_digest(b"policy"),
            nonce=nonce,
            expiry_unix_s=expiry_unix_s,
        )
        return self.signed(message, deployment.tasks_domain)

    def proposal(self, domain: Domain, state: dict[str, Any], **changes: Any) -> dict[str, Any]:
        """A signed proposal for a round resource, as the API takes it."""
        fields = {
            **self._header(state),
            "parent_digest": state["parent_digest"],
            "adapter_digest": sha256_digest(self.adapter(state["round"])),
            "report_digest": sha256_digest(REPORT),
        }
        return self.signed(Proposal(**(fields | changes)), domain)

    def reveal_message(self, state: dict[str, Any], **changes: Any) -> Reveal:
        """Scores: a hundred thousand micronats for each proposal."""
        fields = {
            **self._header(state),
            "scores_micronats": (100_000,) * len(state["proposals"]),
            "salt": sha256_digest(self.key),
        }
        return Reveal(**(fields | changes))

    def commit(self, domain: Domain, state: dict[str, Any]) -> dict[str, Any]:
        """A signed commitment to those scores."""
        return self.signed(self.reveal_message(state).commit(), domain)

    def reveal(self, state: dict[str, Any], **changes: Any) -> dict[str, Any]:
        """Those scores, revealed."""
        return {"message": self.reveal_message(state, **changes).model_dump(mode="json")}

    def attestation(self, domain: Domain, state: dict[str, Any], digest: str) -> dict[str, Any]:
        """A signed attestation of an aggregate that is a little better than the parent."""
        message = Attestation(**self._header(state), aggregate_digest=digest, score_micronats=50_000)
        return self.signed(message, domain)

    def _header(self, state: dict[str, Any]) -> dict[str, Any]:
        return {
            "node": self.address,
            "task": state["task"],
            "round": state["round"],
            "context": state["context"],
        }

    def signed(self, message: SignedMessage, domain: Domain) -> dict[str, Any]:
        """A message of this network, as the API takes it."""
        return {"message": message.model_dump(mode="json"), "signature": message.sign(domain, self.key)}


NETWORKS = tuple(
    Network(name, value)
    for name, value in (("aurora", 1.0), ("borealis", 2.0), ("cascade", 3.0), ("delta", 4.0))
)
BY_ADDRESS = {network.address: network for network in NETWORKS}
