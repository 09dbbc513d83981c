"""Bad proposals and messages, one test each: refused with a clear error, and nothing changes."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from contracts.digests import ZERO_DIGEST, sha256_digest
from contracts.messages import INVALID_SCORE
from tests.integration.databases import Databases, all_rows
from tests.integration.orchestrator_double_rig import ARTIFACT_LIMIT_BYTES, DEPLOYMENT, DOMAIN, Rig
from tests.integration.orchestrator_rig import BY_ADDRESS, NETWORKS, Network, adapter, tensors

PROPOSALS = "/v1/tasks/1/rounds/1/proposals"
COMMITS = "/v1/tasks/1/rounds/1/commits"
REVEALS = "/v1/tasks/1/rounds/1/reveals"
ATTESTATIONS = "/v1/tasks/1/rounds/1/attestations"
HEADER_OF_A_PICKLE = b"\x80\x04\x95"


@dataclass
class Stage:
    """A rig whose first round waits in a phase; tests send it what it must refuse."""

    rig: Rig
    state: dict[str, Any]
    sender: Network
    """A node whose message is missing."""

    def refused(self, path: str, body: dict[str, Any], status: int, code: str) -> str:
        """Post what must be refused and must change nothing; the sentence of the refusal."""
        before = self.everything()
        response = self.rig.conductor.post(path, json=body)
        assert (response.status_code, response.json()["code"]) == (status, code), response.text
        assert response.headers["content-type"] == "application/problem+json"
        assert self.everything() == before
        return str(response.json()["detail"])

    def everything(self) -> dict[str, list[tuple[Any, ...]]]:
        """All rows of the database, but for the log of refusals."""
        return {name: rows for name, rows in all_rows(self.rig.database_url).items() if name != "audit_log"}

    def proposal(self, data: bytes | None = None, **changes: Any) -> dict[str, Any]:
        """A proposal of the sender with other bytes or other fields."""
        if data is not None:
            changes["adapter_digest"] = self.rig.put(data)
        return self.sender.proposal(DOMAIN, self.state, **changes)


def stage(folder: Path, databases: Databases, phase: str) -> Stage:
    rig = Rig(folder, databases.new(folder))
    rig.start_task()
    if phase != "training":
        rig.propose_all()
    if phase in ("revealing", "attesting"):
        rig.commit_all()
    if phase == "attesting":
        rig.reveal_all()
    state = rig.round_in(phase)
    sender = BY_ADDRESS[state["proposers"][0]]
    rig.put(sender.adapter(1))
    return Stage(rig, state, sender)


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory, module_databases: Databases) -> Iterator[Stage]:
    staged = stage(tmp_path_factory.mktemp("training"), module_databases, "training")
    yield staged
    staged.rig.close()


@pytest.fixture(scope="module")
def revealing(tmp_path_factory: pytest.TempPathFactory, module_databases: Databases) -> Iterator[Stage]:
    staged = stage(tmp_path_factory.mktemp("revealing"), module_databases, "revealing")
    yield staged
    staged.rig.close()


# --- the adapter


def test_not_safetensors(training: Stage) -> None:
    body = training.proposal(HEADER_OF_A_PICKLE + b"anything")
    training.refused(PROPOSALS, body, 422, "not_safetensors")


def test_missing_tensor(training: Stage) -> None:
    partial = {"block.0.lora_A": tensors(1.0)["block.0.lora_A"]}
    body = training.proposal(safetensors.numpy.save(partial))
    assert "block.0.lora_B" in training.refused(PROPOSALS, body, 422, "tensor_missing")


def test_extra_tensor(training: Stage) -> None:
    more = tensors(1.0) | {"block.9.lora_A": np.zeros((1, 1), dtype=np.float32)}
    body = training.proposal(safetensors.numpy.save(more))
    assert "block.9.lora_A" in training.refused(PROPOSALS, body, 422, "tensor_unexpected")


def test_wrong_shape(training: Stage) -> None:
    wrong = tensors(1.0) | {"block.0.lora_A": np.zeros((3, 2), dtype=np.float32)}
    training.refused(PROPOSALS, training.proposal(safetensors.numpy.save(wrong)), 422, "wrong_shape")


def test_wrong_dtype(training: Stage) -> None:
    wrong = tensors(1.0) | {"block.0.lora_A": np.zeros((2, 3), dtype=np.float16)}
    training.refused(PROPOSALS, training.proposal(safetensors.numpy.save(wrong)), 422, "wrong_dtype")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_finite(training: Stage, value: float) -> None:
    wrong = tensors(1.0)
    wrong["block.0.lora_B"][1, 1] = value
    training.refused(PROPOSALS, training.proposal(safetensors.numpy.save(wrong)), 422, "not_finite")


def test_not_canonical(training: Stage) -> None:
    other_order = safetensors.numpy.save(tensors(1.0), metadata={"note": "the same numbers, another file"})
    training.refused(PROPOSALS, training.proposal(other_order), 422, "not_canonical")


def test_much_larger_than_the_manifest(training: Stage) -> None:
    body = training.proposal(adapter_digest=training.rig.put(b"\0" * ARTIFACT_LIMIT_BYTES))
    training.refused(PROPOSALS, body, 422, "not_safetensors")


def test_digest_that_does_not_match(training: Stage) -> None:
    before = training.everything()
    digest = sha256_digest(b"something else")
    response = training.rig.conductor.put(f"/v1/artifacts/{digest}", content=adapter(1.0))
    assert (response.status_code, response.json()["code"]) == (422, "digest_mismatch")
    assert training.rig.conductor.get(f"/v1/artifacts/{digest}").status_code == 404
    assert training.everything() == before


def test_adapter_that_nobody_stored(training: Stage) -> None:
    body = training.proposal(adapter_digest=sha256_digest(b"nowhere"))
    training.refused(PROPOSALS, body, 422, "artifact_missing")


def test_report_that_nobody_stored(training: Stage) -> None:
    body = training.proposal(report_digest=sha256_digest(b"nowhere"))
    assert "report" in training.refused(PROPOSALS, body, 422, "artifact_missing")


def test_adapter_that_repeats_its_parent(training: Stage) -> None:
    body = training.proposal(adapter_digest=training.state["parent_digest"])
    training.refused(PROPOSALS, body, 422, "repeats_parent")


def test_adapter_that_an_earlier_round_accepted(tmp_path: Path, databases: Databases) -> None:
    rig = Rig(tmp_path, databases.new(tmp_path))
    rig.start_task()
    first = rig.play_round(1)
    state = rig.round_in("training", 2)
    sender = BY_ADDRESS[state["proposers"][0]]
    again = Stage(rig, state, sender)
    body = again.proposal(adapter_digest=first["proposals"][1]["adapter_digest"])
    again.refused("/v1/tasks/1/rounds/2/proposals", body, 422, "repeats_accepted")
    rig.close()


# --- the message


def test_wrong_parent(training: Stage) -> None:
    body = training.proposal(parent_digest=sha256_digest(b"last year's adapter"))
    training.refused(PROPOSALS, body, 422, "wrong_parent")


def test_bad_signature(training: Stage) -> None:
    body = training.proposal()
    forged = next(network for network in NETWORKS if network != training.sender)
    body["signature"] = forged.proposal(DOMAIN, training.state, node=training.sender.address)["signature"]
    training.refused(PROPOSALS, body, 422, "bad_signature")


def test_signature_of_other_fields(training: Stage) -> None:
    body = training.proposal()
    body["message"]["adapter_digest"] = training.rig.put(adapter(77.0))
    training.refused(PROPOSALS, body, 422, "bad_signature")


def test_signature_in_another_domain(training: Stage) -> None:
    elsewhere = type(DOMAIN)(chain_id=1, verifying_contract=DOMAIN.verifying_contract)
    body = training.sender.proposal(elsewhere, training.state)
    training.refused(PROPOSALS, body, 422, "bad_signature")


def test_signature_that_is_none(training: Stage) -> None:
    body = training.proposal() | {"signature": "0x" + "ff" * 65}
    training.refused(PROPOSALS, body, 422, "bad_signature")
    body = training.proposal() | {"signature": "0x1234"}
    training.refused(PROPOSALS, body, 422, "invalid_request")


def test_wrong_round(training: Stage) -> None:
    training.refused(PROPOSALS, training.proposal(round=2), 409, "wrong_round")
    training.refused(PROPOSALS, training.proposal(task=2), 409, "wrong_round")


def test_round_that_does_not_exist(training: Stage) -> None:
    body = training.proposal(round=2)
    training.refused("/v1/tasks/1/rounds/2/proposals", body, 404, "not_found")


def test_wrong_context(training: Stage) -> None:
    training.refused(PROPOSALS, training.proposal(context="0x" + "ab" * 16), 409, "wrong_context")


def test_node_that_was_not_drawn(training: Stage) -> None:
    idle = next(network for network in NETWORKS if network.address not in training.state["proposers"])
    training.rig.put(idle.adapter(1))
    training.refused(PROPOSALS, idle.proposal(DOMAIN, training.state), 403, "not_drawn")


def test_node_that_was_never_admitted(training: Stage) -> None:
    stranger = Network("stranger", 5.0)
    training.rig.put(stranger.adapter(1))
    training.refused(PROPOSALS, stranger.proposal(DOMAIN, training.state), 403, "not_drawn")


def test_wrong_phase(training: Stage) -> None:
    state = training.state | {"proposals": [{}] * 3}
    training.refused(COMMITS, training.sender.commit(DOMAIN, state), 409, "wrong_phase")
    training.refused(REVEALS, training.sender.reveal(state), 409, "wrong_phase")
    body = training.sender.attestation(DOMAIN, state, ZERO_DIGEST)
    training.refused(ATTESTATIONS, body, 409, "wrong_phase")


def test_fields_missing_unknown_or_malformed(training: Stage) -> None:
    body = training.proposal()
    without = {key: value for key, value in body["message"].items() if key != "context"}
    assert "context" in training.refused(PROPOSALS, body | {"message": without}, 422, "invalid_request")
    more = body["message"] | {"hint": 1}
    assert "hint" in training.refused(PROPOSALS, body | {"message": more}, 422, "invalid_request")
    shouting = body["message"] | {"adapter_digest": body["message"]["adapter_digest"].upper()}
    training.refused(PROPOSALS, body | {"message": shouting}, 422, "invalid_request")


def test_after_the_deadline(tmp_path: Path, databases: Databases) -> None:
    late = stage(tmp_path, databases, "training")
    late.rig.chain.mine(seconds=300)
    late.rig.worker.indexer.run_once()
    late.refused(PROPOSALS, late.proposal(), 409, "deadline_passed")
    late.rig.close()


def test_a_second_different_proposal(tmp_path: Path, databases: Databases) -> None:
    twice = stage(tmp_path, databases, "training")
    first = twice.proposal()
    accepted = twice.rig.conductor.post(PROPOSALS, json=first)
    again = twice.rig.conductor.post(PROPOSALS, json=first)
    assert accepted.status_code == again.status_code == 202
    assert accepted.json() == again.json()
    twice.refused(PROPOSALS, twice.proposal(adapter(55.0)), 409, "conflict")

    twice.rig.turn()
    repeated = twice.rig.conductor.post(PROPOSALS, json=first)
    assert (repeated.status_code, repeated.json()["status"]) == (202, "mined")
    twice.refused(PROPOSALS, twice.proposal(adapter(55.0)), 409, "conflict")
    twice.rig.close()


# --- reveals


def test_reveal_of_other_scores(revealing: Stage) -> None:
    body = revealing.sender.reveal(revealing.state, scores_micronats=(1, 2, 3))
    revealing.refused(REVEALS, body, 422, "wrong_commitment")


def test_reveal_with_another_salt(revealing: Stage) -> None:
    body = revealing.sender.reveal(revealing.state, salt=ZERO_DIGEST)
    revealing.refused(REVEALS, body, 422, "wrong_commitment")


def test_reveal_of_another_voters_commitment(revealing: Stage) -> None:
    other = BY_ADDRESS[revealing.state["voters"][1]]
    body = other.reveal(revealing.state, node=revealing.sender.address)
    revealing.refused(REVEALS, body, 422, "wrong_commitment")


def test_reveal_with_a_score_out_of_range(revealing: Stage) -> None:
    body = revealing.sender.reveal(revealing.state)
    body["message"]["scores_micronats"] = [8_000_001, INVALID_SCORE, 0]
    revealing.refused(REVEALS, body, 422, "invalid_request")


def test_reveal_with_a_score_too_few_for_its_own_commitment(tmp_path: Path, databases: Databases) -> None:
    few = stage(tmp_path, databases, "committing")
    short = few.state | {"proposals": few.state["proposals"][:2]}
    for node in few.state["voters"]:
        few.rig.post(COMMITS, BY_ADDRESS[node].commit(DOMAIN, short))
    few.rig.round_in("revealing")
    few.refused(REVEALS, few.sender.reveal(short), 422, "wrong_score_count")
    few.rig.close()


# --- approvals and orders


def test_approval_of_another_spec_expired_or_by_another_key(training: Stage) -> None:
    path, now_unix_s = "/v1/tasks/1/approvals", training.rig.clock.unix_s
    spec_digest = training.rig.get("/v1/tasks/1")["spec_digest"]
    other = training.sender.approval(DEPLOYMENT, 1, sha256_digest(b"other"), now_unix_s + 99, nonce=1)
    training.refused(path, other, 422, "wrong_spec")
    expired = training.sender.approval(DEPLOYMENT, 1, spec_digest, now_unix_s - 1, nonce=1)
    training.refused(path, expired, 422, "expired")
    used = training.sender.approval(DEPLOYMENT, 1, spec_digest, now_unix_s + 99, nonce=0)
    assert "next one is 1" in training.refused(path, used, 409, "wrong_nonce")
    forged = training.sender.approval(DEPLOYMENT, 1, spec_digest, now_unix_s + 99, nonce=1)
    forged["message"]["node"] = next(n.address for n in NETWORKS if n != training.sender)
    training.refused(path, forged, 422, "bad_signature")
    stranger = Network("stranger", 5.0).approval(DEPLOYMENT, 1, spec_digest, now_unix_s + 99)
    training.refused(path, stranger, 404, "unknown_node")
    elsewhere = training.sender.approval(DEPLOYMENT, 2, spec_digest, now_unix_s + 99)
    training.refused(path, elsewhere, 409, "wrong_round")
