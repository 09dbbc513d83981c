"""The audit log's format: hashes that can be made by hand, and Merkle trees as OpenZeppelin reads them."""

import hashlib
import json

import pytest
from eth_utils.crypto import keccak

from contracts.audit import AuditEntry, AuditRow, InvalidAuditRow, epoch_root
from contracts.digests import ZERO_DIGEST
from contracts.merkle import merkle_proof, merkle_root, proves

ENTRY = AuditEntry(
    time_unix_s=1_700_000_000,
    principal="Ana Müller",
    role="admin",
    operation="pause_task",
    task=1,
    outcome="done",
    correlation_id="5e1f",
)


def rows(count: int) -> list[AuditRow]:
    """A log of so many rows."""
    log: list[AuditRow] = []
    for number in range(count):
        entry = ENTRY.model_copy(update={"time_unix_s": ENTRY.time_unix_s + number})
        log.append(AuditRow.after(log[-1] if log else None, entry))
    return log


def test_a_rows_hash_is_that_of_its_sorted_json() -> None:
    first, second = rows(2)
    fields = {name: value for name, value in second.model_dump().items() if name != "hash"}
    # For strings, integers and null, RFC 8785 is JSON without spaces, keys sorted, in UTF-8.
    canonical = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    assert second.hash == "0x" + hashlib.sha256(canonical).hexdigest()
    assert (first.number, first.previous_hash, second.previous_hash) == (1, ZERO_DIGEST, first.hash)
    assert AuditRow.parse(second.line()) == second


@pytest.mark.parametrize(
    "line",
    ["", "null", "[]", "{}", "{", "[" * 100_000, '{"number": 1}', b"\xff"],
)
def test_a_line_that_is_no_row_is_refused(line: str | bytes) -> None:
    with pytest.raises(InvalidAuditRow):
        AuditRow.parse(line)


@pytest.mark.parametrize(
    "change",
    [{"number": 0}, {"number": True}, {"number": 1 << 53}, {"task": "1"}, {"hash": "0x"}, {"more": 1}],
)
def test_fields_out_of_range_are_refused(change: dict[str, object]) -> None:
    fields = json.loads(rows(1)[0].line())
    with pytest.raises(InvalidAuditRow):
        AuditRow.parse(json.dumps(fields | change))


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 8, 13])
def test_every_leaf_is_proven_and_nothing_else(count: int) -> None:
    leaves = [keccak(keccak(bytes([number]))) for number in range(count)]
    root = merkle_root(leaves)
    for index, leaf in enumerate(leaves):
        proof = merkle_proof(leaves, index)
        assert proves(proof, root, leaf)
        assert not proves(proof, root, keccak(leaf))
    assert merkle_root([*leaves[:-1], keccak(b"")]) != root


def test_an_inner_node_is_no_leaf_of_a_row() -> None:
    log = rows(4)
    inner = keccak(min(log[0].leaf(), log[1].leaf()) + max(log[0].leaf(), log[1].leaf()))
    upper = merkle_proof([row.leaf() for row in log], 0)[1:]
    assert proves(upper, bytes.fromhex(epoch_root(log)[2:]), inner)
    assert all(inner != row.leaf() for row in log)
    # To be taken for a row, the pair would have to be a row's preimage, which is 32 bytes long and not 64.
    assert log[0].leaf() == keccak(keccak((1).to_bytes(32, "big") + bytes.fromhex(log[0].hash[2:])))


def test_the_contracts_tests_know_the_same_root() -> None:
    """As in ``contracts/evm/test/Anchor.t.sol``, where OpenZeppelin checks the proofs."""
    log = [AuditRow.model_construct(number=n, hash=f"0x{n:02x}" + "00" * 31) for n in (1, 2, 3)]
    assert epoch_root(log) == "0x9544b10ea0a481893975a1ebea3bc89ba48dfed4cd8dd5bd11bb4602f5aeda2f"


def test_order_and_numbers_are_part_of_the_root() -> None:
    log = rows(3)
    assert epoch_root(log[:2]) != epoch_root(log[1:])
    renumbered = [row.model_copy(update={"number": row.number + 1}) for row in log]
    assert epoch_root(renumbered) != epoch_root(log)
