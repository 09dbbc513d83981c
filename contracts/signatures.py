"""Signatures of accounts, EIP-712 and EIP-191: what is hashed, who signed it.

Private keys are 0x text or bytes, signatures 0x text of r ‖ s ‖ v. ``eth_keys`` does the arithmetic, in C
where ``coincurve`` is installed. The hashing is here, for flat structs only: ``eth_account`` has it too, and
a test holds both to the same, but importing that takes as long as all else that a node imports.
"""

from collections.abc import Sequence
from functools import cache
from secrets import token_bytes

from eth_abi.abi import encode
from eth_keys.datatypes import PrivateKey, Signature
from eth_keys.exceptions import BadSignature
from eth_utils.crypto import keccak
from eth_utils.exceptions import ValidationError

from contracts.errors import InvalidMessage

_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
"""Of the curve's group: private keys lie below."""
_V_OFFSET = 27
_SIGNATURE_BYTES = 65

Member = tuple[str, str, object]
"""Of a struct: Solidity's type and name, and the value; digests and contexts are 0x text."""


@cache
def domain_separator(name: str, version: str, chain_id: int, verifying_contract: str) -> bytes:
    """The hash of an EIP-712 domain."""
    return struct_hash(
        "EIP712Domain",
        [
            ("string", "name", name),
            ("string", "version", version),
            ("uint256", "chainId", chain_id),
            ("address", "verifyingContract", verifying_contract),
        ],
    )


def struct_hash(struct: str, members: Sequence[Member]) -> bytes:
    """EIP-712's ``hashStruct`` of a struct of numbers, addresses, text and bytes of fixed length."""
    types = ["bytes32"]
    values: list[object] = [_type_hash(struct, tuple((kind, name) for kind, name, _ in members))]
    for kind, _, value in members:
        encoded_kind, encoded_value = _encodable(kind, value)
        types.append(encoded_kind)
        values.append(encoded_value)
    return keccak(encode(types, values))


def typed_digest(separator: bytes, hash_of_struct: bytes) -> bytes:
    """What is signed of an EIP-712 message."""
    return keccak(b"\x19\x01" + separator + hash_of_struct)


def personal_digest(text: str) -> bytes:
    """What is signed of a text that a person reads in a wallet (EIP-191, version 0x45)."""
    data = text.encode()
    return keccak(b"\x19Ethereum Signed Message:\n" + str(len(data)).encode() + data)


def new_private_key() -> str:
    """A key that nobody has, 0x text."""
    while not 0 < int.from_bytes(secret := token_bytes(32)) < _ORDER:
        continue
    return "0x" + secret.hex()


def address_of(private_key: str | bytes) -> str:
    """The account of a private key. Raises ValueError: it is none; the message does not tell it."""
    return str(_key(private_key).public_key.to_checksum_address())


def sign(digest: bytes, private_key: str | bytes) -> str:
    """The signature of a digest. Raises ValueError: the key is none."""
    signature: bytes = _key(private_key).sign_msg_hash(digest).to_bytes()
    return "0x" + signature[:-1].hex() + f"{signature[-1] + _V_OFFSET:02x}"


def recover_signer(digest: bytes, signature: str) -> str:
    """The address of the account that signed a digest.

    Raises:
        InvalidMessage: the signature is not one that any account could have made.
    """
    try:
        data = bytes.fromhex(signature.removeprefix("0x"))
        if len(data) != _SIGNATURE_BYTES:
            raise InvalidMessage(f"the signature cannot be read: it has {len(data)} bytes")
        # Some wallets count v from 0.
        v = data[-1] - _V_OFFSET if data[-1] >= _V_OFFSET else data[-1]
        recovered = Signature(data[:-1] + bytes([v])).recover_public_key_from_msg_hash(digest)
    except (BadSignature, ValidationError, ValueError) as error:
        if isinstance(error, InvalidMessage):
            raise
        raise InvalidMessage(f"the signature cannot be read: {error}") from error
    return str(recovered.to_checksum_address())


def _key(private_key: str | bytes) -> PrivateKey:
    data = bytes.fromhex(private_key.removeprefix("0x")) if isinstance(private_key, str) else private_key
    if len(data) != 32 or not 0 < int.from_bytes(data) < _ORDER:
        raise ValueError("not a private key")
    return PrivateKey(data)


@cache
def _type_hash(struct: str, members: tuple[tuple[str, str], ...]) -> bytes:
    fields = ",".join(f"{kind} {name}" for kind, name in members)
    return keccak(text=f"{struct}({fields})")


def _encodable(kind: str, value: object) -> tuple[str, object]:
    """A member as the hash of its struct holds it: text and bytes of any length by their hash."""
    if kind == "string":
        assert isinstance(value, str)
        return "bytes32", keccak(text=value)
    if kind.startswith("bytes"):
        assert isinstance(value, str)
        return kind, bytes.fromhex(value[2:])
    return kind, value
