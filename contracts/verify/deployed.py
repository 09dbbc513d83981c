"""Checks that the addresses hold the committed contracts, and that these belong together.

The bytes on the chain are compared with the committed artifacts, all of them but two kinds, which the
compiler leaves open: addresses of linked libraries, and the values that a constructor fixes. Each of these
must be the same in all its places, so that what a getter shows is also what the code works with, and the
constructor's values must be the ones that this deployment has. The token is anybody's ERC-20: its code is
not known here.
"""

from collections.abc import Iterable, Iterator

from eth_abi.abi import encode
from eth_utils.crypto import keccak

from contracts import abi
from contracts.deployment import Deployment
from contracts.digests import sha256_digest
from contracts.verify.comparison import Comparison, disagreement
from contracts.verify.facts import DeployedCode, Wiring

_ADDRESS_BYTES = 20
_WORD_BYTES = 32
_DOMAIN_TYPE = "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
_DOMAIN_NAME, _DOMAIN_VERSION = "Collegium", "1"


def check_codes(codes: Iterable[DeployedCode], compare: Comparison) -> None:
    """Compare code with the committed artifacts.

    Raises:
        Disagreement: the first contract whose code is not the committed one.
    """
    for deployed in codes:
        committed = _committed(abi.load(deployed.contract).runtime)
        _, rest = _taken_apart(deployed)
        compare.same(
            f"the code of {deployed.contract}", expected=sha256_digest(committed), found=sha256_digest(rest)
        )


def check_wiring(
    codes: Iterable[DeployedCode], deployment: Deployment, wiring: Wiring, compare: Comparison
) -> None:
    """Compare what the contracts say of each other, and what their constructors fixed, with the deployment.

    Raises:
        Disagreement: the first wrong wire, or the first contract with other values.
    """
    for wire in wiring.wires:
        compare.same(f"{wire.contract}.{wire.getter}()", expected=wire.expected, found=wire.found)
    for deployed in codes:
        fixed, _ = _taken_apart(deployed)
        compare.same(
            f"the values that {deployed.contract}'s constructor fixed",
            expected=_texts(_fixed_values(deployed, deployment, wiring)),
            found=_texts(fixed),
        )


def linked_library(code: bytes, contract: abi.ContractName, library: abi.ContractName) -> str | None:
    """The address of ``library`` that ``contract``'s code calls, as far as the code is long enough."""
    for reference in abi.load(contract).runtime.link_references:
        if reference.library == library:
            start = reference.offsets_bytes[0]
            address = code[start : start + _ADDRESS_BYTES]
            return "0x" + address.hex() if len(address) == _ADDRESS_BYTES else None
    return None


def _taken_apart(deployed: DeployedCode) -> tuple[list[bytes], bytes]:
    """The values that a constructor fixed, and the code with zeros in all places that are open."""
    fact = f"the code of {deployed.contract}"
    runtime = abi.load(deployed.contract).runtime
    length_bytes = len(_committed(runtime))
    if len(deployed.code) != length_bytes:
        raise disagreement(
            fact, expected=f"{length_bytes} bytes", found=f"{len(deployed.code)} bytes at {deployed.address}"
        )
    rest = bytearray(deployed.code)
    for reference in runtime.link_references:
        _take(rest, reference.offsets_bytes, _ADDRESS_BYTES, fact)
    fixed = [_take(rest, offsets_bytes, _WORD_BYTES, fact) for offsets_bytes in runtime.immutables_bytes]
    return fixed, bytes(rest)


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


def _texts(words: Iterable[bytes]) -> tuple[str, ...]:
    """Words as text, ascending: which of them is which is the compiler's secret."""
    return tuple("0x" + word.hex() for word in sorted(words))


def _fixed_values(deployed: DeployedCode, deployment: Deployment, wiring: Wiring) -> Iterator[bytes]:
    """The words that the constructor of this contract has to have written into its code."""
    terms = wiring.terms
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
            yield from map(_address, (deployment.registry, deployment.tasks, wiring.randomness))
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
