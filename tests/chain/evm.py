"""The contracts inside this process (pyrevm): no blocks to wait for, so thousands of calls a second.

Nodes sign by ERC-1271 through a stub account that says yes to any signature: signatures have their own
tests, and elliptic curves in Python would take most of the time.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyrevm
from eth_abi.abi import decode, encode
from eth_utils.abi import function_abi_to_4byte_selector, get_abi_input_types, get_abi_output_types
from web3.types import Nonce
from web3.utils.address import get_create_address

from contracts import abi

CHAIN_ID = 1
"""pyrevm's own."""
COUNCIL = "0x00000000000000000000000000000000C0000001"
SECOND_FUNDER = "0x00000000000000000000000000000000C0000004"
YES_SIGNER = "0x00000000000000000000000000000000C0000002"
ANY_SIGNATURE = bytes(65)
UNBONDING_SECONDS = 1_000
APPEAL_SECONDS = 200
MOST_ABSENCES = 2
# Returns the four bytes of isValidSignature, left-aligned in a word.
_YES_CODE = bytes.fromhex("7f1626ba7e" + "00" * 28 + "60005260206000f3")
_GAS = 30_000_000


class Reverted(Exception):
    """A contract refused a call; ``name`` is its custom error's."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


@dataclass(frozen=True)
class Struct:
    """A struct that a contract returned; its fields are attributes."""

    fields: Mapping[str, Any]

    def __getattr__(self, name: str) -> Any:
        try:
            return self.fields[name]
        except KeyError:
            raise AttributeError(name) from None


class EvmContract:
    """One contract of an in-process chain."""

    def __init__(self, chain: "EvmChain", name: abi.ContractName, address: str) -> None:
        self._chain = chain
        self.address = address
        self._functions = {e["name"]: e for e in abi.load(name).abi if e["type"] == "function"}
        self._answers: dict[tuple[str, bytes], Any] = {}

    def call(self, function: str, *arguments: object, caller: str = COUNCIL) -> Any:
        """Call a function; what it changes stays.

        Raises:
            Reverted: the contract refused.
        """
        result = self._chain.message_call(caller, self.address, self.encoded(function, *arguments))
        if not self._functions[function]["outputs"]:
            return None
        return self._decoded(function, result)

    def encoded(self, function: str, *arguments: object) -> bytes:
        """The call data of a function."""
        entry = self._functions[function]
        return bytes(function_abi_to_4byte_selector(entry)) + encode(get_abi_input_types(entry), arguments)

    def _decoded(self, function: str, result: bytes) -> Any:
        # Most views answer the same again and again.
        known = self._answers.get((function, result))
        if known is None:
            entry = self._functions[function]
            values = [
                _named(value, output)
                for value, output in zip(
                    decode(get_abi_output_types(entry), result), entry["outputs"], strict=True
                )
            ]
            known = values[0] if len(values) == 1 else tuple(values)
            self._answers[function, result] = known
        return known


class EvmChain:
    """A deployment at a height of its own choosing, with the test token minted to the council."""

    def __init__(self, first_block: int, *, minted: int) -> None:
        self._evm = pyrevm.EVM()
        self.block = first_block
        self.time_unix_s = 1_800_000_000
        self._set_block()
        self._evm.set_balance(COUNCIL, 10**24)
        self.say_yes(YES_SIGNER)
        self._deployed = 0
        self._selectors = _error_names()
        token = self._deploy(abi.load("TestToken"), COUNCIL)
        randomness = self._deploy(abi.load("BlockhashRandomness"))
        settlement = self._deploy(abi.load("Settlement"))
        rounds_to_be = str(get_create_address(COUNCIL, Nonce(self._deployed + 2)))
        terms = (UNBONDING_SECONDS, APPEAL_SECONDS, MOST_ABSENCES)
        registry = self._deploy(abi.load("Registry"), token, COUNCIL, rounds_to_be, *terms)
        tasks = self._deploy(abi.load("Tasks"), token, COUNCIL, rounds_to_be)
        linked = abi.load("Rounds").link({"Settlement": settlement})
        rounds = self._deploy(linked, registry, tasks, randomness)
        lens = self._deploy(abi.load("Lens"), rounds)
        self.token = EvmContract(self, "TestToken", token)
        self.registry = EvmContract(self, "Registry", registry)
        self.tasks = EvmContract(self, "Tasks", tasks)
        self.rounds = EvmContract(self, "Rounds", rounds)
        self.lens = EvmContract(self, "Lens", lens)
        for payer in (COUNCIL, SECOND_FUNDER):
            self.token.call("mint", payer, minted)
            self.token.call("approve", tasks, minted, caller=payer)
            self.token.call("approve", registry, minted, caller=payer)

    def mine(self, blocks: int = 1, *, seconds: int = 1) -> None:
        """Move on by some blocks, and in time."""
        self.block += blocks
        self.time_unix_s += seconds
        self._set_block()

    def say_yes(self, account: str) -> None:
        """Make an account a contract that accepts any signature."""
        self._evm.insert_account_info(account, pyrevm.AccountInfo(code=_YES_CODE))

    def block_hash(self, number: int) -> str:
        """The hash that this chain gives for a height."""
        return "0x" + bytes(self._evm.block_hash(number)).hex()

    def message_call(self, caller: str, to: str, data: bytes) -> bytes:
        """A transaction of its own, in the current block."""
        try:
            result = self._evm.message_call(caller=caller, to=to, calldata=data, gas=_GAS)
        except RuntimeError as error:
            raise Reverted(self._reason(error)) from error
        finally:
            self._evm.reset_transient_storage()
        return bytes(result)

    def _deploy(self, artifact: abi.ContractArtifact, *arguments: object) -> str:
        constructor = next((e for e in artifact.abi if e["type"] == "constructor"), None)
        data = bytes.fromhex(artifact.bytecode.removeprefix("0x"))
        if constructor is not None:
            data += encode(get_abi_input_types(constructor), arguments)
        address = self._evm.deploy(COUNCIL, data)
        self._deployed += 1
        return str(address)

    def _set_block(self) -> None:
        block = pyrevm.BlockEnv(number=self.block, timestamp=self.time_unix_s)
        self._evm.set_block_env(block)

    def _reason(self, error: RuntimeError) -> str:
        output = re.search(r"output: 0x([0-9a-f]{8})", str(error))
        return self._selectors.get(bytes.fromhex(output[1]), output[0]) if output else str(error)


def _named(value: Any, output: Mapping[str, Any]) -> Any:
    """Give the fields of structs their names back."""
    if output["type"] == "tuple":
        parts = zip(value, output["components"], strict=True)
        return Struct({component["name"]: _named(part, component) for part, component in parts})
    if output["type"] == "tuple[]":
        return [_named(part, {**output, "type": "tuple"}) for part in value]
    return value


def _error_names() -> dict[bytes, str]:
    names: Sequence[abi.ContractName] = ("Registry", "Tasks", "Rounds", "TestToken", "Settlement")
    return {
        bytes(function_abi_to_4byte_selector(entry)): entry["name"]
        for name in names
        for entry in abi.load(name).abi
        if entry["type"] == "error"
    }
