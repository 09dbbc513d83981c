"""Files that are whole or not there: write beside, then rename; read with a clear error."""

import os
import secrets
from pathlib import Path

from tier_local.errors import BadInput


def write_whole(path: Path, data: bytes) -> None:
    """Put ``data`` at ``path`` in one step: readers see the old content or the new, never a part.

    The data reach the disk before the name does.
    """
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with beside.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def replace_quickly(path: Path, data: bytes) -> None:
    """As ``write_whole`` but without waiting for the disk: for progress that is rewritten all the time."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        beside.write_bytes(data)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def read_input(path: Path, what: str) -> bytes:
    """The bytes of an input file; ``what`` names it in the error.

    Raises:
        BadInput: the file cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInput(f"cannot read {what} {path}: {error.strerror}") from error


def make_output_folder(path: Path) -> None:
    """Create ``path`` if need be.

    Raises:
        BadInput: it cannot be created or is no folder.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"cannot create the output folder {path}: {error.strerror}") from error
