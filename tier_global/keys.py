"""A node's signing key: one line of 0x and 64 hex digits in a file that only its owner can read."""

import os
import re
import stat
from pathlib import Path

from contracts.signatures import address_of, new_private_key
from tier_global.errors import UnsafeKeyFile

_KEY = re.compile(r"0x[0-9a-fA-F]{64}")


class SigningKey:
    """A private key that never shows itself in a log or a traceback.

    ``address`` is whom it signs for: its own account, or the contract ``wallet`` that accepts its signatures.
    """

    def __init__(self, private_key: str, wallet: str | None = None) -> None:
        self._private_key = private_key
        self.address: str = wallet or address_of(private_key)

    def __repr__(self) -> str:
        return f"SigningKey({self.address})"

    def reveal(self) -> str:
        """The private key, for a signing call only."""
        return self._private_key


def read_key(path: Path, wallet: str | None = None) -> SigningKey:
    """The key in ``path``, which signs for a contract ``wallet`` if one is named.

    Raises:
        UnsafeKeyFile: missing, readable by others, not the caller's own, or not a key.
    """
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            text = file.read(200).decode("ascii", errors="replace").strip()
    except OSError as error:
        raise UnsafeKeyFile(f"the key file {path} cannot be read: {error.strerror}") from error
    _check_private(path, status)
    if _KEY.fullmatch(text) is None:
        raise UnsafeKeyFile(f"the key file {path} does not hold one 32-byte key in hex")
    try:
        return SigningKey(text, wallet)
    except ValueError:
        raise UnsafeKeyFile(f"the key file {path} holds a number that is no private key") from None


def require_private(path: Path) -> None:
    """Refuse a file with a secret that is missing, not the caller's own, or readable by others.

    Raises:
        UnsafeKeyFile: it is so.
    """
    try:
        _check_private(path, path.stat())
    except OSError as error:
        raise UnsafeKeyFile(f"the key file {path} cannot be read: {error.strerror}") from error


def _check_private(path: Path, status: os.stat_result) -> None:
    if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise UnsafeKeyFile(f"the key file {path} can be read by others: run chmod 600 on it")
    if status.st_uid != os.geteuid():
        raise UnsafeKeyFile(f"the key file {path} belongs to another user")


def create_key(path: Path) -> SigningKey:
    """Make a new key in a new file with mode 0600.

    Raises:
        UnsafeKeyFile: the file exists already.
    """
    key = SigningKey(new_private_key())
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise UnsafeKeyFile(f"{path} exists already; a key is never overwritten") from error
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(key.reveal() + "\n")
        file.flush()
        os.fsync(file.fileno())
    return key


def write_private(path: Path, text: str) -> None:
    """One line in a file that only its owner can read, in place of what was there. Raises OSError."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text + "\n")
    unfinished.replace(path)
