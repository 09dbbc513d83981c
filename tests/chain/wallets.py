"""Contract wallets (ERC-1271) of the Solidity tests on a real chain: honest ones, and such as misbehave."""

import json
import re
import subprocess
import time
from enum import IntEnum
from functools import cache
from pathlib import Path

from eth_abi.abi import encode
from eth_keys import keys
from eth_keys.exceptions import BadSignature, ValidationError
from eth_utils.address import to_checksum_address

from tests.chain.anvil import Anvil

_EVM = Path(__file__).parents[2] / "contracts" / "evm"
_SOURCE = "test/helpers/OwnedWallet.sol"
_OPENZEPPELIN = "@openzeppelin/"
_IMPORT = re.compile(r'^import (?:\{[^}]*\} from )?"([^"]+)";', re.MULTILINE)
_GAS = 1_000_000
_MINED_TIMEOUT_S = 30.0
_SIGNATURE_BYTES = 65


class Answer(IntEnum):
    """How a wallet answers, as in ``ContractSigner.sol``."""

    HONEST = 0
    BURN = 1
    REVERT = 2
    HUGE = 3
    SHORT = 4
    OTHER_WORD = 5


HOSTILE = (Answer.BURN, Answer.REVERT, Answer.SHORT, Answer.OTHER_WORD)


def deploy_wallet(anvil: Anvil, owner: str, answer: Answer = Answer.HONEST) -> str:
    """The address of a new wallet, for which its owner's key signs. The chain must make blocks by itself."""
    account = anvil.ask("eth_accounts")[0]
    data = "0x" + _creation_code() + encode(["address", "uint8"], [owner, int(answer)]).hex()
    sent = anvil.ask("eth_sendTransaction", {"from": account, "data": data, "gas": hex(_GAS)})
    deadline_s = time.monotonic() + _MINED_TIMEOUT_S
    while (receipt := anvil.ask("eth_getTransactionReceipt", sent)) is None:
        assert time.monotonic() < deadline_s, "the wallet was not deployed in time"
        time.sleep(0.05)
    assert receipt["status"] == "0x1", receipt
    return str(to_checksum_address(receipt["contractAddress"]))


def account_that_signed(digest: str, signature: str) -> str | None:
    """Whose key signed those 32 bytes; None where the signature is no key's."""
    raw = bytes.fromhex(signature[2:])
    if len(raw) != _SIGNATURE_BYTES:
        return None
    try:
        signed = keys.Signature(raw[:-1] + bytes([raw[-1] - 27]))
        return str(signed.recover_public_key_from_msg_hash(bytes.fromhex(digest[2:])).to_checksum_address())
    except (BadSignature, ValidationError, ValueError):
        return None


@cache
def _creation_code() -> str:
    """Compiled with the pinned compiler: test contracts have no committed artifacts."""
    request = {
        "language": "Solidity",
        "sources": {name: {"content": text} for name, text in _sources().items()},
        "settings": {
            "evmVersion": "cancun",
            "outputSelection": {_SOURCE: {"OwnedWallet": ["evm.bytecode.object"]}},
        },
    }
    compiled = subprocess.run(
        ["node", _EVM / "solc.mjs", "--standard-json"],
        input=json.dumps(request).encode(),
        capture_output=True,
        timeout=120,
        check=True,
    )
    answer = json.loads(compiled.stdout)
    assert "contracts" in answer, answer
    return str(answer["contracts"][_SOURCE]["OwnedWallet"]["evm"]["bytecode"]["object"])


def _sources() -> dict[str, str]:
    """The wallet's source and all that it imports, by the compiler's names for them."""
    found: dict[str, str] = {}
    waiting = [_SOURCE]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        folder = _EVM / "node_modules" if name.startswith(_OPENZEPPELIN) else _EVM
        found[name] = (folder / name).read_text()
        for imported in _IMPORT.findall(found[name]):
            is_relative = imported.startswith(".")
            waiting.append(_joined(name, imported) if is_relative else imported)
    return found


def _joined(importer: str, imported: str) -> str:
    parts = importer.split("/")[:-1]
    for part in imported.split("/"):
        if part == "..":
            parts.pop()
        elif part != ".":
            parts.append(part)
    return "/".join(parts)
