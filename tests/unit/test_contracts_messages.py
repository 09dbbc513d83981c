"""Messages: the wire format is Solidity's, signatures bind every field, bad fields are named."""

import re
from pathlib import Path
from typing import Any

import pytest
from eth_abi.abi import encode
from eth_account import Account
from eth_utils.crypto import keccak

from contracts.digests import ZERO_DIGEST
from contracts.errors import InvalidMessage
from contracts.messages import (
    INVALID_SCORE,
    SCORE_LIMIT_MICRONATS,
    UNAVAILABLE_SCORE,
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

SOLIDITY = Path(__file__).parents[2] / "contracts" / "evm" / "src"
SIGNED = (Approval, Revocation, Rotation, Exit, Migration, Return, Proposal, Commit, Attestation)
KEY = "0x" + "11" * 32
SIGNER = str(Account.from_key(KEY).address)
NODE = "0x00000000000000000000000000000000000000AA"
OTHER = "0x00000000000000000000000000000000000000BB"
DOMAIN = Domain(chain_id=31337, verifying_contract="0x5FC8d32690cc91D4c39d9d3abcBD16989F875707")
CONTEXT = "0x" + "c0" * 16


def digest(byte: int) -> str:
    return "0x" + f"{byte:02x}" * 32


MESSAGES: dict[str, Any] = {
    "Approval": Approval(
        node=NODE, task=1, spec_digest=digest(1), policy_digest=digest(2), nonce=0, expiry_unix_s=9
    ),
    "Revocation": Revocation(node=NODE, task=1, nonce=3, expiry_unix_s=9),
    "Rotation": Rotation(node=NODE, signer=OTHER, nonce=4, expiry_unix_s=9),
    "Exit": Exit(node=NODE, amount=10**30, nonce=5, expiry_unix_s=9),
    "Migration": Migration(node=NODE, successor=OTHER, nonce=6, expiry_unix_s=9),
    "Return": Return(node=NODE, nonce=7, expiry_unix_s=9),
    "Proposal": Proposal(
        node=NODE,
        task=1,
        round=2,
        context=CONTEXT,
        parent_digest=digest(1),
        adapter_digest=digest(2),
        report_digest=digest(3),
    ),
    "Commit": Commit(node=NODE, task=1, round=2, context=CONTEXT, commitment=digest(4)),
    "Attestation": Attestation(
        node=NODE, task=1, round=2, context=CONTEXT, aggregate_digest=digest(5), score_micronats=-3
    ),
}
REVEAL = Reveal(
    node=NODE, task=1, round=2, context=CONTEXT, scores_micronats=(5, -6, INVALID_SCORE), salt=digest(7)
)


def solidity_fields(struct: str) -> list[tuple[str, str]]:
    source = (SOLIDITY / "Messages.sol").read_text()
    found = re.search(rf"struct {struct} {{(.*?)}}", source, re.DOTALL)
    assert found is not None
    return [(kind, name) for kind, name in re.findall(r"(\S+) (\w+);", found[1])]


@pytest.mark.parametrize("message", SIGNED)
def test_fields_are_those_of_the_solidity_struct(message: Any) -> None:
    assert [(kind, name) for _, kind, name in message.FIELDS] == solidity_fields(message.__name__)
    assert [python_name for python_name, _, _ in message.FIELDS] == list(message.model_fields)


@pytest.mark.parametrize("message", SIGNED)
def test_the_type_hash_in_solidity_is_of_the_same_string(message: Any) -> None:
    fields = ",".join(f"{kind} {name}" for _, kind, name in message.FIELDS)
    assert f'"{message.__name__}({fields})"' in (SOLIDITY / "libraries" / "MessageHash.sol").read_text()


@pytest.mark.parametrize("name", MESSAGES)
def test_the_signed_hash_is_eip_712(name: str) -> None:
    """Computed by hand from the EIP: 0x1901 ‖ domain separator ‖ hash of the struct."""
    message = MESSAGES[name]
    fields = ",".join(f"{kind} {field}" for _, kind, field in message.FIELDS)
    values = [
        bytes.fromhex(value[2:]) if kind.startswith("bytes") else value
        for value, (_, kind, _) in zip(message.model_dump().values(), message.FIELDS, strict=True)
    ]
    struct_hash = keccak(
        encode(
            ["bytes32", *(kind for _, kind, _ in message.FIELDS)],
            [keccak(text=f"{name}({fields})"), *values],
        )
    )
    domain_type = "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
    separator = keccak(
        encode(
            ["bytes32", "bytes32", "bytes32", "uint256", "address"],
            [
                keccak(text=domain_type),
                keccak(text="Collegium"),
                keccak(text="1"),
                DOMAIN.chain_id,
                DOMAIN.verifying_contract,
            ],
        )
    )
    assert message.digest(DOMAIN) == keccak(b"\x19\x01" + separator + struct_hash)


@pytest.mark.parametrize("name", MESSAGES)
def test_a_signature_binds_every_field_the_chain_and_the_contract(name: str) -> None:
    message = MESSAGES[name]
    signature = message.sign(DOMAIN, KEY)
    message.require_signer(DOMAIN, signature, SIGNER.lower())
    address = "0x00000000000000000000000000000000000000AB"
    others = {"node": address, "signer": address, "successor": address, "context": "0x" + "c1" * 16}
    for field in type(message).model_fields:
        value = getattr(message, field)
        if isinstance(value, int):
            change: Any = value + 1
        else:
            change = others.get(field, digest(99))
        with pytest.raises(InvalidMessage, match="not by"):
            message.model_copy(update={field: change}).require_signer(DOMAIN, signature, SIGNER)
    for domain in (Domain(1, DOMAIN.verifying_contract), Domain(DOMAIN.chain_id, NODE)):
        with pytest.raises(InvalidMessage, match="not by"):
            message.require_signer(domain, signature, SIGNER)
    with pytest.raises(InvalidMessage, match="not by"):
        message.require_signer(DOMAIN, signature, NODE)


@pytest.mark.parametrize("signature", ["", "0x", "0x1234", "0x" + "00" * 65, "0x" + "ff" * 65, "nonsense"])
def test_a_signature_that_is_none_is_refused(signature: str) -> None:
    with pytest.raises(InvalidMessage):
        MESSAGES["Commit"].require_signer(DOMAIN, signature, SIGNER)


def test_the_commitment_is_what_the_protocol_says() -> None:
    scores = b"".join(score.to_bytes(32, "big", signed=True) for score in REVEAL.scores_micronats)
    words = [
        (1).to_bytes(32, "big"),
        (2).to_bytes(32, "big"),
        bytes.fromhex(CONTEXT[2:]) + bytes(16),
        bytes(12) + bytes.fromhex(NODE[2:]),
        keccak(scores),
        bytes.fromhex(REVEAL.salt[2:]),
    ]
    assert REVEAL.commitment == "0x" + keccak(b"".join(words)).hex()
    assert REVEAL.commit() == Commit(
        node=NODE, task=1, round=2, context=CONTEXT, commitment=REVEAL.commitment
    )


@pytest.mark.parametrize(
    "change",
    [
        {"node": "0x00000000000000000000000000000000000000AB"},
        {"task": 2},
        {"round": 3},
        {"context": "0x" + "c1" * 16},
        {"scores_micronats": (5, -6)},
        {"scores_micronats": (-6, 5, INVALID_SCORE)},
        {"salt": digest(8)},
    ],
)
def test_the_commitment_hides_and_binds_every_field(change: dict[str, Any]) -> None:
    assert Reveal.parse(REVEAL.model_dump() | change).commitment != REVEAL.commitment


@pytest.mark.parametrize(
    ("name", "change", "where"),
    [
        ("Proposal", {"node": "0x12"}, "proposal.node"),
        ("Proposal", {"task": 0}, "proposal.task"),
        ("Proposal", {"task": 1 << 64}, "proposal.task"),
        ("Proposal", {"round": 1 << 32}, "proposal.round"),
        ("Proposal", {"context": "0x" + "C0" * 16}, "proposal.context"),
        ("Proposal", {"adapter_digest": ZERO_DIGEST[:-1]}, "proposal.adapter_digest"),
        ("Proposal", {"extra": 1}, "proposal.extra"),
        ("Commit", {"commitment": "00" * 32}, "commit.commitment"),
        ("Attestation", {"score_micronats": SCORE_LIMIT_MICRONATS + 1}, "attestation.score_micronats"),
        ("Attestation", {"score_micronats": INVALID_SCORE}, "attestation.score_micronats"),
        ("Approval", {"nonce": -1}, "approval.nonce"),
    ],
)
def test_a_field_out_of_range_is_named(name: str, change: dict[str, Any], where: str) -> None:
    message = MESSAGES[name]
    with pytest.raises(InvalidMessage, match=f"^{where}: "):
        type(message).parse(message.model_dump() | change)


@pytest.mark.parametrize("score", [SCORE_LIMIT_MICRONATS + 1, -SCORE_LIMIT_MICRONATS - 1, 1 << 31])
def test_a_score_is_within_the_limit_or_a_sentinel(score: int) -> None:
    with pytest.raises(InvalidMessage, match=r"reveal\.scores_micronats\.0"):
        Reveal.parse(REVEAL.model_dump() | {"scores_micronats": (score,)})
    Reveal.parse(REVEAL.model_dump() | {"scores_micronats": (INVALID_SCORE, UNAVAILABLE_SCORE)})


def test_a_reveal_has_at_most_one_score_for_each_possible_proposer() -> None:
    with pytest.raises(InvalidMessage, match="scores_micronats"):
        Reveal.parse(REVEAL.model_dump() | {"scores_micronats": (0,) * 17})


def test_addresses_are_checksummed_whatever_their_spelling() -> None:
    lower = Commit.parse(MESSAGES["Commit"].model_dump() | {"node": SIGNER.lower()})
    assert lower.node == SIGNER


def test_what_is_no_object_is_refused() -> None:
    for nothing in (None, [], "text", 3):
        with pytest.raises(InvalidMessage):
            Commit.parse(nothing)
