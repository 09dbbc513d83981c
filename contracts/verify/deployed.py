"""Checks that the addresses hold the committed contracts, and that these belong together.

The bytes on the chain are compared with the committed artifacts, all of them but two kinds, which the
compiler leaves open: addresses of linked libraries, and the values that a constructor fixes. Each of these
must be the same in all its places, so that what a getter shows is also what the code works with, and the
constructor's values must be the ones that this deployment has. The token is anybody's ERC-20: its code is
not known here.
"""

from collections.abc import Iterator

from eth_abi.abi import encode
from eth_utils.crypto import keccak

from contracts import abi
from contracts.deployment import Deployment
from contracts.digests import sha256_digest
from contracts.verify.comparison import Comparison, disagreement
from contracts.verify.facts import DeployedCode, DeploymentFacts

_ADDRESS_BYTES = 20
_WORD_BYTES = 32
_DOMAIN_TYPE = "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
_DOMAIN_NAME, _DOMAIN_VERSION = "Collegium", "1"


def check_deployment(facts: DeploymentFacts, compare: Comparison) -> None:
    """Compare code and wiring.

    Raises:
        Disagreement: the first contract whose code is not the committed one, or the first wrong wire.
    """
    for deployed in facts.codes:
        _check_code(deployed, facts, compare)
    for wire in facts.wires:
        compare.same(f"{wire.contract}.{wire.getter}()", expected=wire.expected, found=wire.found)


def linked_library(code: bytes, contract: abi.ContractName, library: abi.ContractName) -> str | None:
    """The address of ``library`` that ``contract``'s code calls, as far as the code is long enough."""
    for reference in abi.load(contract).runtime.link_references:
        if reference.library == library:
            start = reference.offsets_bytes[0]
            address = code[start : start + _ADDRESS_BYTES]
            return "0x" + address.hex() if len(address) == _ADDRESS_BYTES else None
    return None


def _check_code(deployed: DeployedCode, facts: DeploymentFacts, compare: Comparison) -> None:
    fact = f"the code of {deployed.contract}"
    runtime = abi.load(deployed.contract).runtime
    committed = _committed(runtime)
    if len(deployed.code) != len(committed):
        raise disagreement(
            fact,
            expected=f"{len(committed)} bytes",
            found=f"{len(deployed.code)} bytes at {deployed.address}",
        )
    rest = bytearray(deployed.code)
    for reference in runtime.link_references:
        _take(rest, reference.offsets_bytes, _ADDRESS_BYTES, fact)
    fixed = sorted(
        _take(rest, offsets_bytes, _WORD_BYTES, fact) for offsets_bytes in runtime.immutables_bytes
    )
    compare.same(fact, expected=sha256_digest(committed), found=sha256_digest(bytes(rest)))
    compare.same(
        f"the values that {deployed.contract}'s constructor fixed",
        expected=tuple("0x" + value.hex() for value in sorted(_fixed_values(deployed, facts))),
        found=tuple("0x" + value.hex() for value in fixed),
    )


def _take(code: bytearray, offsets_bytes: tuple[int, ...], length_bytes: int, fact: str) -> bytes:
    """The one value at all of these places, which are zero afterwards."""
    values = {bytes(code[start : start + length_bytes]) for start in offsets_bytes}
    if len(values) != 1:
        raise disagreement(
            fact, expected="one value in all places of each", found=f"{len(values)} at {offsets_bytes}"
        )
    for start in offsets_bytes:
        code[start : start + length_bytes] = bytes(length_bytes)
    return values.pop()


def _committed(runtime: abi.RuntimeCode) -> bytes:
    """The committed code with zeros in the places that are open."""
    digits = runtime.bytecode.removeprefix("0x")
    for reference in runtime.link_references:
        for start in reference.offsets_bytes:
            end = start + _ADDRESS_BYTES
            digits = digits[: 2 * start] + "00" * _ADDRESS_BYTES + digits[2 * end :]
    return bytes.fromhex(digits)


def _fixed_values(deployed: DeployedCode, facts: DeploymentFacts) -> Iterator[bytes]:
    """The words that the constructor of this contract has to have written into its code."""
    deployment, terms = facts.deployment, facts.terms
    match deployed.contract:
        case "Registry":
            yield from _domain_values(deployment, deployed.address)
            yield from (_address(deployment.token), _address(deployment.rounds))
            yield from map(_number, (terms.unbonding_s, terms.appeal_s, terms.most_absences))
        case "Tasks":
            yield from _domain_values(deployment, deployed.address)
            yield from (_address(deployment.token), _address(deployment.rounds))
        case "Rounds":
            yield from _domain_values(deployment, deployed.address)
            yield from map(_address, (deployment.registry, deployment.tasks, facts.randomness))
        case "Lens":
            yield _address(deployment.rounds)
        case "Settlement":
            # A library knows its address, by which it tells a delegated call from a direct one.
            yield _address(deployed.address)


def _domain_values(deployment: Deployment, address: str) -> Iterator[bytes]:
    """What OpenZeppelin's EIP712 keeps: the domain's parts, hashed and as text, and its separator."""
    name, version = keccak(text=_DOMAIN_NAME), keccak(text=_DOMAIN_VERSION)
    yield from (name, version, _short_string(_DOMAIN_NAME), _short_string(_DOMAIN_VERSION))
    yield from (_number(deployment.chain_id), _address(address))
    yield keccak(
        encode(
            ["bytes32", "bytes32", "bytes32", "uint256", "address"],
            [keccak(text=_DOMAIN_TYPE), name, version, deployment.chain_id, address],
        )
    )


def _short_string(text: str) -> bytes:
    return text.encode().ljust(_WORD_BYTES - 1, b"\0") + bytes([len(text)])


def _number(value: int) -> bytes:
    return value.to_bytes(_WORD_BYTES, "big")


def _address(text: str) -> bytes:
    return bytes.fromhex(text[2:]).rjust(_WORD_BYTES, b"\0")
