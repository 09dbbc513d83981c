"""Signatures: the same as eth_account makes and reads; nothing raises what nobody expects."""

import itertools
from contextlib import suppress
from typing import Any

import pytest
from eth_account import Account
from eth_account.messages import SignableMessage, encode_defunct, encode_typed_data
from eth_utils.address import is_address
from eth_utils.crypto import keccak
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import InvalidMessage
from contracts.messages import Domain, Enrolment, Proposal
from contracts.signatures import address_of, new_private_key, personal_digest, recover_signer, sign

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
"""Of the curve's group."""
EDGES = (0, 1, ORDER // 2, ORDER - 1, ORDER, (1 << 256) - 1)
KEY = "0x" + "11" * 32
DIGEST = personal_digest("x")
NODE = "0x00000000000000000000000000000000000000AA"
DOMAIN = Domain(chain_id=31337, verifying_contract="0x5FC8d32690cc91D4c39d9d3abcBD16989F875707")

private_keys = st.integers(1, ORDER - 1).map(lambda number: f"0x{number:064x}")
digests = st.binary(min_size=32, max_size=32).map(lambda data: "0x" + data.hex())


def hash_of(message: SignableMessage) -> bytes:
    """As eth_account hashes it before it signs."""
    return keccak(b"\x19" + message.version + message.header + message.body)


def typed(message: Any) -> SignableMessage:
    """A message of ours as eth_account reads it."""
    return encode_typed_data(
        domain_data={
            "name": "Collegium",
            "version": "1",
            "chainId": DOMAIN.chain_id,
            "verifyingContract": DOMAIN.verifying_contract,
        },
        message_types={
            type(message).__name__: [{"name": name, "type": kind} for _, kind, name in message.FIELDS]
        },
        message_data={name: getattr(message, field) for field, _, name in message.FIELDS},
    )


@given(digests, digests, st.integers(1, (1 << 64) - 1))
def test_a_message_is_hashed_as_eth_account_does(one: str, other: str, task: int) -> None:
    proposal = Proposal(
        node=NODE,
        task=task,
        round=2,
        context=one[:34],
        parent_digest=one,
        adapter_digest=other,
        report_digest=one,
    )
    assert proposal.digest(DOMAIN) == hash_of(typed(proposal))
    enrolment = Enrolment(
        node=NODE, signer=NODE, network=f"network {task}", flower_key="", certificate=one, invite=other
    )
    assert enrolment.digest(DOMAIN) == hash_of(typed(enrolment))


@given(st.text(), private_keys)
def test_a_text_is_signed_as_eth_account_does(text: str, key: str) -> None:
    message = encode_defunct(text=text)
    assert personal_digest(text) == hash_of(message)
    signature = sign(personal_digest(text), key)
    assert signature == "0x" + bytes(Account.sign_message(message, key).signature).hex()
    assert (
        recover_signer(personal_digest(text), signature) == address_of(key) == Account.from_key(key).address
    )


def test_v_may_count_from_zero() -> None:
    signature = sign(DIGEST, KEY)
    from_zero = signature[:-2] + f"{int(signature[-2:], 16) - 27:02x}"
    assert recover_signer(DIGEST, from_zero) == address_of(KEY)


@pytest.mark.parametrize("v", [0, 1, 2, 26, 27, 28, 29, 35, 255])
def test_a_signature_gives_an_address_or_is_refused(v: int) -> None:
    for r, s in itertools.product(EDGES, EDGES):
        with suppress(InvalidMessage):
            assert is_address(recover_signer(DIGEST, f"0x{r:064x}{s:064x}{v:02x}"))


@pytest.mark.parametrize("signature", ["", "0x", "0x1b", "0x0", "nonsense", "é", "0x" + "11" * 1024])
def test_what_is_no_signature_is_refused(signature: str) -> None:
    with pytest.raises(InvalidMessage, match="cannot be read"):
        recover_signer(DIGEST, signature)


@pytest.mark.parametrize("key", ["0x" + "00" * 32, f"0x{ORDER:064x}", "0x11", b"\x11" * 31])
def test_what_is_no_private_key_is_refused_without_being_told(key: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"^not a private key$"):
        address_of(key)


def test_new_keys_are_keys_and_differ() -> None:
    assert address_of(new_private_key()) != address_of(new_private_key())
