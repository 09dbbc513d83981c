"""Accounts and their signatures: the only door to ``eth_account``.

Importing ``eth_account`` imports ``py_ecc``, which raises the interpreter's recursion limit to 100,000. With
that limit some kilobytes of nested JSON overflow the C stack and kill the process, where Python would have
raised RecursionError. So this module puts the limit back, and a rule of import-linter sends everybody here.
(web3 imports ``eth_account`` too; whatever uses web3 here imports the messages, and so this module.)
"""

import sys
from typing import Any

from eth_account import Account
from eth_account.messages import SignableMessage, encode_defunct, encode_typed_data
from eth_account.typed_transactions.typed_transaction import TypedTransaction
from eth_keys.exceptions import BadSignature
from eth_utils.crypto import keccak
from eth_utils.exceptions import ValidationError
from hexbytes import HexBytes

from contracts.errors import InvalidMessage

__all__ = [
    "Account",
    "SignableMessage",
    "encode_defunct",
    "encode_typed_data",
    "message_digest",
    "recover_signer",
    "unsigned_transaction",
]

_SIGNATURE_FIELDS = frozenset({"v", "r", "s"})
_INTERPRETERS_LIMIT = 1000
sys.setrecursionlimit(_INTERPRETERS_LIMIT)


def recover_signer(message: SignableMessage, signature: str) -> str:
    """The address of the account that signed ``message``.

    Raises:
        InvalidMessage: the signature is not one that any account could have made.
    """
    try:
        recovered: str = Account.recover_message(message, signature=signature)
    except (BadSignature, ValidationError, ValueError, IndexError) as error:  # IndexError: no bytes at all
        raise InvalidMessage(f"the signature cannot be read: {error}") from error
    return recovered


def message_digest(message: SignableMessage) -> str:
    """The 32 bytes, as 0x text, that a key signs, and that a contract (ERC-1271) is asked about."""
    return "0x" + keccak(b"\x19" + message.version + message.header + message.body).hex()


def unsigned_transaction(raw: bytes) -> dict[str, Any]:
    """The fields of a signed, typed transaction (EIP-2718) without its signature, to be signed again."""
    fields = TypedTransaction.from_bytes(HexBytes(raw)).as_dict()
    return {name: value for name, value in fields.items() if name not in _SIGNATURE_FIELDS}
