"""Accounts and their signatures: the only door to ``eth_account``.

Importing ``eth_account`` imports ``py_ecc``, which raises the interpreter's recursion limit to 100,000. With
that limit some kilobytes of nested JSON overflow the C stack and kill the process, where Python would have
raised RecursionError. So this module puts the limit back, and a rule of import-linter sends everybody here.
(web3 imports ``eth_account`` too; whatever uses web3 here imports the messages, and so this module.)
"""

import sys

from eth_account import Account
from eth_account.messages import SignableMessage, encode_defunct, encode_typed_data
from eth_keys.exceptions import BadSignature
from eth_utils.exceptions import ValidationError

from contracts.errors import InvalidMessage

__all__ = ["Account", "SignableMessage", "encode_defunct", "encode_typed_data", "recover_signer"]

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
