"""Calls of view functions by the committed ABI, and their answers as typed facts.

A struct becomes the dataclass that has its fields in the same order. Addresses become checksummed text,
bytes 0x text.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from enum import IntEnum
from functools import cache
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from contracts import abi
from contracts.events import abi_type
from contracts.verify.errors import ChainUnavailable

_T = TypeVar("_T")
MOST_ANSWER_BYTES = 128 << 10
"""A round of 16 proposers, 64 voters and 256 eligible nodes takes about 80 KiB. Not more: a lying answer may
point to the same array many times, so that what it decodes to grows with the square of its length."""


@dataclass(frozen=True)
class ViewCall:
    """One call of a view: where it goes, what it carries, and how its answer is read."""

    contract: abi.ContractName
    function: str
    address: str
    data: bytes
    outputs: tuple[Mapping[str, Any], ...]

    def read(self, kind: type[_T], answer: bytes) -> _T:
        """The answer as ``kind``: a dataclass, a number, an address's text, or a tuple of them.

        Raises:
            ChainUnavailable: it is not an answer to this call.
        """
        what = f"{self.contract}.{self.function}"
        if len(answer) > MOST_ANSWER_BYTES:
            raise ChainUnavailable(f"the answer of {what} has more than {MOST_ANSWER_BYTES} bytes")
        try:
            values = decode([abi_type(output) for output in self.outputs], answer)
            value = values[0] if len(self.outputs) == 1 else values
            parameter = self.outputs[0] if len(self.outputs) == 1 else {"components": self.outputs}
            result: _T = _typed(kind, value, parameter)
        except (DecodingError, OverflowError, ValueError, TypeError) as error:
            raise ChainUnavailable(f"the answer of {what} cannot be read: {error}") from error
        return result


def view_call(contract: abi.ContractName, address: str, function: str, *arguments: object) -> ViewCall:
    """The call of ``function`` of ``contract``, which lies at ``address``."""
    entry = _functions(contract)[function]
    input_types = [abi_type(each) for each in entry["inputs"]]
    selector = keccak(text=f"{function}({','.join(input_types)})")[:4]
    return ViewCall(
        contract=contract,
        function=function,
        address=address,
        data=selector + encode(input_types, arguments),
        outputs=tuple(entry["outputs"]),
    )


@cache
def _functions(contract: abi.ContractName) -> Mapping[str, Mapping[str, Any]]:
    return {entry["name"]: entry for entry in abi.load(contract).abi if entry["type"] == "function"}


def _typed(kind: Any, value: Any, parameter: Mapping[str, Any]) -> Any:
    if isinstance(kind, type) and is_dataclass(kind):
        make: Callable[..., Any] = kind
        hints = get_type_hints(kind)
        names = [field.name for field in fields(kind)]
        parts = zip(names, value, parameter["components"], strict=True)
        return make(*[_typed(hints[name], part, component) for name, part, component in parts])
    if get_origin(kind) is tuple:
        (of_one, _) = get_args(kind)
        one = {**parameter, "type": parameter["type"].removesuffix("[]")}
        return tuple(_typed(of_one, part, one) for part in value)
    if isinstance(kind, type) and issubclass(kind, IntEnum):
        return kind(value)
    if isinstance(value, bytes):
        return "0x" + value.hex()
    return to_checksum_address(value) if parameter["type"] == "address" else value
