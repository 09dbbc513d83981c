"""The compiled contracts: loads ``evm/artifacts/*.json``, which ``npm run artifacts`` writes.

Covers finding, parsing and linking; deploying and calling belong to whoever holds an RPC connection.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import Any, Literal, Self

from contracts.errors import ContractViolation

ContractName = Literal[
    "Anchors", "BlockhashRandomness", "Lens", "Registry", "Rounds", "Settlement", "Tasks", "TestToken"
]

_ADDRESS_HEX_DIGITS = 40
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")


class ArtifactMissing(ContractViolation):
    """There is no compiled contract of that name."""

    code = "artifact_missing"


class WrongLibraries(ContractViolation):
    """Other libraries were given than the contract links to, or no address for one."""

    code = "wrong_libraries"


@dataclass(frozen=True)
class LinkReference:
    """A library that creation code calls, and the byte offsets at which its address goes."""

    library: str
    offsets_bytes: tuple[int, ...]


@dataclass(frozen=True)
class RuntimeCode:
    """The code that lies on the chain once a contract is created.

    ``bytecode`` is 0x text with placeholders at ``link_references``. What the constructor fills in is zero
    here: each entry of ``immutables_bytes`` has the offsets of one value's copies, 32 bytes each.
    """

    bytecode: str
    link_references: tuple[LinkReference, ...]
    immutables_bytes: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class ContractArtifact:
    """A compiled contract.

    ``abi`` is the JSON ABI, custom errors included. ``bytecode`` is creation code as 0x text; while
    ``link_references`` is not empty it holds placeholders that are no hex digits: ``link`` it first.
    ``runtime`` is never linked.
    """

    name: str
    abi: tuple[dict[str, Any], ...]
    bytecode: str
    runtime: RuntimeCode
    link_references: tuple[LinkReference, ...] = ()

    def link(self, libraries: Mapping[str, str]) -> Self:
        """The same contract, calling the libraries at these addresses (0x text).

        Raises:
            WrongLibraries: not exactly the libraries that the contract links to, or no address.
        """
        needed = {reference.library for reference in self.link_references}
        if needed != libraries.keys():
            raise WrongLibraries(f"{self.name} links to {sorted(needed)}, given were {sorted(libraries)}")
        for library, address in libraries.items():
            if _ADDRESS.fullmatch(address) is None:
                raise WrongLibraries(f"{address!r} is no address for {library}")
        bytecode = self.bytecode
        for reference in self.link_references:
            digits = libraries[reference.library].removeprefix("0x").lower()
            for offset_bytes in reference.offsets_bytes:
                start = len("0x") + 2 * offset_bytes
                bytecode = bytecode[:start] + digits + bytecode[start + _ADDRESS_HEX_DIGITS :]
        return replace(self, bytecode=bytecode, link_references=())


@cache
def load(name: ContractName) -> ContractArtifact:
    """The compiled contract ``name``.

    Raises:
        ArtifactMissing: no such contract.
    """
    file = resources.files("contracts").joinpath("evm", "artifacts", f"{name}.json")
    try:
        parsed = json.loads(file.read_bytes())
    except FileNotFoundError as error:
        raise ArtifactMissing(f"there is no compiled contract {name!r}") from error
    return ContractArtifact(
        name=parsed["contractName"],
        abi=tuple(parsed["abi"]),
        bytecode=parsed["bytecode"],
        runtime=RuntimeCode(
            bytecode=parsed["runtime"]["bytecode"],
            link_references=_link_references(parsed["runtime"]),
            immutables_bytes=tuple(tuple(offsets) for offsets in parsed["runtime"]["immutables"]),
        ),
        link_references=_link_references(parsed),
    )


def _link_references(parsed: Mapping[str, Any]) -> tuple[LinkReference, ...]:
    return tuple(
        LinkReference(library=library, offsets_bytes=tuple(offsets))
        for library, offsets in sorted(parsed["linkReferences"].items())
    )
