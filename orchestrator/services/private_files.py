"""Files that only their owner can read, replaced whole or not at all."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

_MOST_BYTES = 1 << 16


class PrivateFileError(Exception):
    """A file with a secret is missing, or others than its owner can read it."""


def read_private(path: Path) -> str:
    """The one line in a file that only its owner can read.

    Raises:
        PrivateFileError: it cannot be read, others can read it too, it is empty or no text.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(_MOST_BYTES).decode("utf-8").strip()
    except OSError as error:
        raise PrivateFileError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise PrivateFileError(f"{path} is no text") from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise PrivateFileError(f"{path} can be read by others: run chmod 600 on it")
    if not text:
        raise PrivateFileError(f"{path} is empty")
    return text


@contextmanager
def private_file(path: Path) -> Iterator[TextIO]:
    """A new file that takes the place of ``path`` when the block ends without an error. Raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
