"""Digest text."""

import pytest

from contracts.digests import ZERO_DIGEST, is_digest, sha256_digest


def test_sha256_is_the_published_vector() -> None:
    # FIPS 180-4, example "abc".
    expected = "0xba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_digest(b"abc") == sha256_digest(memoryview(b"abc")) == expected


def test_digest_text_is_lower_case_hex_of_32_bytes() -> None:
    assert is_digest(ZERO_DIGEST)
    assert is_digest(sha256_digest(b""))


@pytest.mark.parametrize(
    "text", ["", "0x", "00" * 32, "0X" + "00" * 32, "0x" + "AB" * 32, "0x" + "00" * 31, ZERO_DIGEST + "\n"]
)
def test_anything_else_is_not_digest_text(text: str) -> None:
    assert not is_digest(text)
