"""Ethereum's bloom filter over the logs of a block: what a header says about them."""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from eth_utils.crypto import keccak

_BITS = 2048
_PAIRS = (0, 2, 4)
"""Where in an item's hash its three bits are named."""


def bloom_of(logs: Iterable[Mapping[str, Any]]) -> int:
    """The filter that a block with exactly these logs (as JSON-RPC gives them) has in its header."""
    bloom = 0
    for log in logs:
        for item in (log["address"], *log["topics"]):
            bloom |= _bits_of(item)
    return bloom


def may_have_logs_of(bloom: int, address: str) -> bool:
    """Whether a block with this filter may have logs of a contract; False is certain."""
    bits = _bits_of(address)
    return bloom & bits == bits


@lru_cache(maxsize=4096)
def _bits_of(item: str) -> int:
    digest = keccak(hexstr=item)
    bits = 0
    for at in _PAIRS:
        bits |= 1 << (int.from_bytes(digest[at : at + 2], "big") % _BITS)
    return bits
