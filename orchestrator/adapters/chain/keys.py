"""Private keys of sending accounts: files only their owner can read, one line of 0x and 64 hex digits."""

import os
import re
import stat
from pathlib import Path

_KEY = re.compile(rb"0x[0-9a-fA-F]{64}")
_MOST_BYTES = 128


class ChainKeyError(ValueError):
    """A key file cannot be used; the message never holds the key."""


class UnsafeKeyFile(ChainKeyError):
    """Others than the owner may read or change the key file, or it is not a regular file."""


class InvalidKeyFile(ChainKeyError):
    """The key file is missing or holds no key."""


def read_key(path: Path) -> str:
    """The private key in ``path`` as 0x text.

    Raises:
        UnsafeKeyFile: not a regular file, not ours, or readable or writable by group or others.
        InvalidKeyFile: missing, unreadable, or not one line of 0x and 64 hex digits.
    """
    try:
        # Opened once and judged by its descriptor, so that nobody can swap the file in between.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise InvalidKeyFile(f"key file {path}: {error.strerror}") from error
    try:
        _require_private(path, os.fstat(descriptor))
        line = os.read(descriptor, _MOST_BYTES).strip()
    finally:
        os.close(descriptor)
    if _KEY.fullmatch(line) is None:
        raise InvalidKeyFile(f"key file {path} does not hold 0x and 64 hex digits")
    return line.decode()


def _require_private(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise UnsafeKeyFile(f"key file {path} is not a regular file")
    if status.st_uid != os.geteuid():
        raise UnsafeKeyFile(f"key file {path} belongs to another user")
    if stat.S_IMODE(status.st_mode) & 0o077:
        raise UnsafeKeyFile(f"key file {path} can be read or changed by others; its mode must be 0600")
