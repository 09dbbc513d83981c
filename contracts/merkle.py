"""Merkle trees whose proofs OpenZeppelin's ``MerkleProof`` takes: keccak256 over pairs in ascending order.

Leaves stand in the caller's order; a last one without a partner moves up as it is. Leaves must be hashes of
something that is not 64 bytes long, or hashes of hashes, so that an inner node cannot pass for a leaf.
"""

from collections.abc import Sequence

from eth_utils.crypto import keccak


def merkle_root(leaves: Sequence[bytes]) -> bytes:
    """The root over at least one leaf."""
    layer = list(leaves)
    while len(layer) > 1:
        layer = _layer_above(layer)
    return layer[0]


def merkle_proof(leaves: Sequence[bytes], index: int) -> tuple[bytes, ...]:
    """The hashes that lead from the leaf at ``index`` to the root, from below."""
    layer, proof = list(leaves), []
    while len(layer) > 1:
        partner = index ^ 1
        if partner < len(layer):
            proof.append(layer[partner])
        layer, index = _layer_above(layer), index // 2
    return tuple(proof)


def proves(proof: Sequence[bytes], root: bytes, leaf: bytes) -> bool:
    """Whether ``proof`` leads from ``leaf`` to ``root``, as ``MerkleProof.verify`` says."""
    for partner in proof:
        leaf = _pair(leaf, partner)
    return leaf == root


def _layer_above(layer: list[bytes]) -> list[bytes]:
    above = [_pair(layer[at], layer[at + 1]) for at in range(0, len(layer) - 1, 2)]
    return above + layer[2 * len(above) :]


def _pair(one: bytes, other: bytes) -> bytes:
    return keccak(min(one, other) + max(one, other))
