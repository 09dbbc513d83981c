"""Digests: 32 bytes, written ``0x`` and 64 lower-case hex digits wherever they are text."""

import hashlib
import re
from typing import Annotated

from pydantic import StringConstraints

_DIGEST = re.compile(r"0x[0-9a-f]{64}")

Digest = Annotated[str, StringConstraints(pattern=r"^0x[0-9a-f]{64}$")]

ZERO_DIGEST = "0x" + "00" * 32


def digest_text(digest: bytes) -> str:
    """32 bytes as digest text."""
    return "0x" + digest.hex()


def sha256_digest(data: bytes | memoryview) -> str:
    """SHA-256 of ``data`` (FIPS 180-4) as digest text."""
    return "0x" + hashlib.sha256(data).hexdigest()


def is_digest(text: str) -> bool:
    """Whether ``text`` is digest text."""
    return _DIGEST.fullmatch(text) is not None
