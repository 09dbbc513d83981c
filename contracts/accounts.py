"""Accounts that send transactions: the only door to ``eth_account``.

Importing ``eth_account`` imports ``py_ecc``, which raises the interpreter's recursion limit to 100,000. With
that limit some kilobytes of nested JSON overflow the C stack and kill the process, where Python would have
raised RecursionError. So this module puts the limit back, and a rule of import-linter sends everybody here.
(web3 imports ``eth_account`` too; whoever uses web3 imports this module.)
"""

import sys
from typing import Any

from eth_account import Account
from eth_account.typed_transactions.typed_transaction import TypedTransaction
from hexbytes import HexBytes

__all__ = ["Account", "unsigned_transaction"]

_SIGNATURE_FIELDS = frozenset({"v", "r", "s"})
_INTERPRETERS_LIMIT = 1000
sys.setrecursionlimit(_INTERPRETERS_LIMIT)


def unsigned_transaction(raw: bytes) -> dict[str, Any]:
    """The fields of a signed, typed transaction (EIP-2718) without its signature, to be signed again."""
    fields = TypedTransaction.from_bytes(HexBytes(raw)).as_dict()
    return {name: value for name, value in fields.items() if name not in _SIGNATURE_FIELDS}
