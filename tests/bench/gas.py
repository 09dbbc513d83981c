"""What the protocol's transactions cost, measured as real transactions on Anvil.

Eight nodes, four proposers, eight voters, four scores in a reveal, the task's first round (every slot is
written for the first time), one message in a transaction, ECDSA signatures, relayed by an account that is
not the signer. The figures are ``gasUsed`` of the receipts: the 21,000 of a transaction and its calldata are
in them. A message's figure is the dearest of its kind in the round; the round's figure is the sum of every
transaction from the request to the last of eight claims.
"""

import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eth_abi.abi import decode, encode
from eth_utils.abi import function_abi_to_4byte_selector, get_abi_input_types, get_abi_output_types
from eth_utils.crypto import keccak
from web3.types import Nonce
from web3.utils.address import get_create_address

from contracts.accounts import Account
from tests.bench._rows import Row
from tests.chain.anvil import Anvil, running_anvil

EVM = Path(__file__).parents[2] / "contracts" / "evm"
SNAPSHOT = EVM / "gas.json"
TARGETS = {
    "proposal": 130_000,
    "commit": 70_000,
    "reveal4": 110_000,
    "attestation": 90_000,
    "round8": 4_500_000,
}
NODES = 8
PROPOSERS = 4
TOKEN = 10**18
# Accounts that Anvil holds the keys of.
DEPLOYER, COUNCIL, RELAYER = range(3)
RECEIPT_TIMEOUT_S = 30.0
DAY_S = 86_400
FOREVER_S = 2**63
SPEC_DIGEST = keccak(b"spec")
GENESIS_DIGEST = keccak(b"genesis")
TASK = 1
ROUNDS = 3
# As in Types.sol and RoundState.sol.
FINAL = 6
CONTEXT_FIELD = 8


class Chain:
    """Contracts on a fresh Anvil, called by unlocked accounts; keeps what each labelled transaction cost."""

    def __init__(self, anvil: Anvil) -> None:
        self.anvil = anvil
        self.accounts: list[Any] = anvil.ask("eth_accounts")
        self.abis: dict[str, dict[str, Any]] = {}
        self.addresses: dict[str, str] = {}
        self.costs: dict[str, list[int]] = defaultdict(list)

    def deploy(self, name: str, types: tuple[str, ...] = (), arguments: tuple[object, ...] = ()) -> str:
        """Create a contract from its committed artifact; a library that it links to is there already."""
        artifact = json.loads((EVM / "artifacts" / f"{name}.json").read_text())
        code = artifact["bytecode"]
        for library, offsets_bytes in artifact["linkReferences"].items():
            address = self.addresses[library][2:].lower()
            for offset_bytes in offsets_bytes:
                start = 2 + 2 * offset_bytes
                code = code[:start] + address + code[start + 40 :]
        receipt = self._transact(DEPLOYER, None, code + encode(types, arguments).hex())
        self.abis[name] = {entry["name"]: entry for entry in artifact["abi"] if entry["type"] == "function"}
        self.addresses[name] = receipt["contractAddress"]
        return self.addresses[name]

    def send(self, sender: int, contract: str, function: str, *arguments: object, label: str = "") -> None:
        """One transaction that must succeed."""
        receipt = self._transact(sender, self.addresses[contract], self._data(contract, function, arguments))
        if label:
            self.costs[label].append(int(receipt["gasUsed"], 16))

    def read(self, contract: str, function: str, *arguments: object) -> Any:
        """Call a view; one value comes as such, more as a tuple."""
        call = {"to": self.addresses[contract], "data": self._data(contract, function, arguments)}
        types = get_abi_output_types(self.abis[contract][function])
        values = decode(types, bytes.fromhex(self.anvil.ask("eth_call", call, "latest")[2:]))
        return values[0] if len(values) == 1 else values

    def say(self, contract: str, function: str, key: str, *fields: object, label: str = "") -> None:
        """Sign the function's message with a key, and relay it."""
        struct = self.abis[contract][function]["inputs"][0]
        signed = Account.unsafe_sign_hash(self._digest(contract, struct, fields), key)
        self.send(RELAYER, contract, function, fields, bytes(signed.signature), label=label)

    def _digest(self, contract: str, struct: Mapping[str, Any], fields: tuple[object, ...]) -> bytes:
        types = [component["type"] for component in struct["components"]]
        named = ",".join(f"{component['type']} {component['name']}" for component in struct["components"])
        name = struct["internalType"].removeprefix("struct ")
        message = keccak(keccak(text=f"{name}({named})") + encode(types, fields))
        kind = "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
        domain = (keccak(text=kind), keccak(text="Collegium"), keccak(text="1"))
        chain_id = int(self.anvil.ask("eth_chainId"), 16)
        where = encode(
            ["bytes32", "bytes32", "bytes32", "uint256", "address"],
            [*domain, chain_id, self.addresses[contract]],
        )
        return keccak(b"\x19\x01" + keccak(where) + message)

    def _data(self, contract: str, function: str, arguments: tuple[object, ...]) -> str:
        entry = self.abis[contract][function]
        data = function_abi_to_4byte_selector(entry) + encode(get_abi_input_types(entry), arguments)
        return "0x" + data.hex()

    def _transact(self, sender: int, to: str | None, data: str) -> dict[str, Any]:
        transaction = {"from": self.accounts[sender], "data": data, "gas": hex(20_000_000)}
        if to is not None:
            transaction["to"] = to
        receipt = self._receipt(self.anvil.ask("eth_sendTransaction", transaction))
        if int(receipt["status"], 16) != 1:
            raise RuntimeError(f"a transaction of the benchmark reverted: {receipt['transactionHash']}")
        return receipt

    def _receipt(self, transaction_hash: str) -> dict[str, Any]:
        give_up = time.monotonic() + RECEIPT_TIMEOUT_S
        while time.monotonic() < give_up:
            receipt: dict[str, Any] | None = self.anvil.ask("eth_getTransactionReceipt", transaction_hash)
            if receipt is not None:
                return receipt
            time.sleep(0.01)
        raise RuntimeError(f"no receipt of {transaction_hash} in {RECEIPT_TIMEOUT_S} s")


def run() -> list[Row]:
    """The rows of ``make bench``."""
    costs = measure()
    how = dict.fromkeys(TARGETS, "the dearest of its kind in the round")
    how["round8"] = ", ".join(f"{label} {sum(spent)} in {len(spent)}" for label, spent in costs.items())
    return [
        Row.at_most(
            f"gas.{name}",
            value,
            "gas",
            TARGETS[name],
            f"gasUsed of transactions on Anvil, 21,000 and calldata included: {how[name]}",
        )
        for name, value in _figures(costs).items()
    ]


def _figures(costs: Mapping[str, list[int]]) -> dict[str, int]:
    figures = {name: max(costs[name]) for name in ("proposal", "commit", "reveal4", "attestation")}
    return figures | {"round8": sum(sum(label) for label in costs.values())}


def measure() -> Mapping[str, list[int]]:
    """Gas of every transaction of one whole round, by kind."""
    with tempfile.TemporaryDirectory() as folder, running_anvil(Path(folder) / "anvil.log") as anvil:
        chain = Chain(anvil)
        _deploy(chain)
        keys = _admit(chain)
        _round(chain, keys)
        return chain.costs


def _deploy(chain: Chain) -> None:
    council = chain.accounts[COUNCIL]
    token = chain.deploy("TestToken", ("address",), (council,))
    randomness = chain.deploy("BlockhashRandomness")
    chain.deploy("Settlement")
    sent = int(chain.anvil.ask("eth_getTransactionCount", chain.accounts[DEPLOYER], "latest"), 16)
    future_rounds = get_create_address(chain.accounts[DEPLOYER], Nonce(sent + 2))
    registry = chain.deploy(
        "Registry",
        ("address", "address", "address", "uint32", "uint32", "uint8"),
        (token, council, future_rounds, 14 * DAY_S, 3 * DAY_S, 3),
    )
    tasks = chain.deploy("Tasks", ("address", "address", "address"), (token, council, future_rounds))
    chain.deploy("Rounds", ("address", "address", "address"), (registry, tasks, randomness))


def _admit(chain: Chain) -> dict[str, str]:
    """Nodes with stake that approve a funded task; the signing key of each, by node."""
    keys: dict[str, str] = {}
    chain.send(COUNCIL, "TestToken", "mint", chain.accounts[COUNCIL], 10_000 * TOKEN)
    for spender in ("Registry", "Tasks"):
        chain.send(COUNCIL, "TestToken", "approve", chain.addresses[spender], 10_000 * TOKEN)
    config = (
        SPEC_DIGEST, GENESIS_DIGEST, ROUNDS, PROPOSERS, NODES, 2, 3, 2, 5000, 6000, 100, 500, 2000,
        -250_000, 1_000_000, 400, 300, 100, 200, 1000 * TOKEN,
    )  # fmt: skip
    chain.send(COUNCIL, "Tasks", "createTask", config)
    chain.send(COUNCIL, "Tasks", "fund", TASK, 3000 * TOKEN)
    for number in range(1, NODES + 1):
        signer = Account.from_key(number.to_bytes(32, "big"))
        node = Account.from_key((number + 10**9).to_bytes(32, "big")).address.lower()
        keys[node] = signer.key.hex()
        chain.send(COUNCIL, "Registry", "admit", node, signer.address, number)
        chain.send(COUNCIL, "Registry", "deposit", node, number * 100 * TOKEN)
        chain.say("Tasks", "approve", keys[node], node, TASK, SPEC_DIGEST, bytes(32), 0, FOREVER_S)
    return keys


def _round(chain: Chain, keys: Mapping[str, str]) -> None:
    chain.send(RELAYER, "Rounds", "requestRound", TASK, label="request")
    chain.anvil.mine(2)
    _advance(chain, "draw")
    members = [member[0] for member in chain.read("Rounds", "membersOf", TASK, 1)]
    proposers, voters = ([members[i] for i in role] for role in chain.read("Rounds", "rolesOf", TASK, 1))
    context = _context(chain)
    for node in proposers:
        adapter_digest = keccak(text=node)
        chain.say(
            "Rounds", "propose", keys[node],
            node, TASK, 1, context, GENESIS_DIGEST, adapter_digest, keccak(b"report"),
            label="proposal",
        )  # fmt: skip
    _advance(chain, "to_committing")
    context = _context(chain)
    reveals = {}
    for voter, node in enumerate(voters):
        scores = [50_000 + 1000 * voter - 70_000 * proposal for proposal in range(PROPOSERS)]
        salt = keccak(text=f"salt of {node}")
        reveals[node] = (node, TASK, 1, context, scores, salt)
        scores_hash = keccak(b"".join(encode(["int32"], [score]) for score in scores))
        commitment = keccak(
            encode(
                ["uint64", "uint32", "bytes16", "address", "bytes32", "bytes32"],
                [TASK, 1, context, node, scores_hash, salt],
            )
        )
        chain.say("Rounds", "commit", keys[node], node, TASK, 1, context, commitment, label="commit")
    _advance(chain, "to_revealing")
    for reveal in reveals.values():
        chain.send(RELAYER, "Rounds", "reveal", reveal, label="reveal4")
    _advance(chain, "tally")
    context = _context(chain)
    for score, node in enumerate(voters):
        fields = (node, TASK, 1, context, keccak(b"aggregate"), 1000 * score)
        chain.say("Rounds", "attest", keys[node], *fields, label="attestation")
    _advance(chain, "finalisation")
    if chain.read("Rounds", "headerOf", TASK, 1)[0] != FINAL:
        raise RuntimeError("the benchmark's round did not become final")
    for node in members:
        chain.send(RELAYER, "Tasks", "claim", node, label="claim")


def _advance(chain: Chain, label: str) -> None:
    chain.send(RELAYER, "Rounds", "advance", TASK, label=label)


def _context(chain: Chain) -> bytes:
    context: bytes = chain.read("Rounds", "headerOf", TASK, 1)[CONTEXT_FIELD]
    return context


def write_snapshot() -> None:
    """Note the figures in contracts/evm/gas.json, which a Forge test holds the contracts to."""
    SNAPSHOT.write_text(f"{json.dumps(_figures(measure()), indent=2)}\n")


if __name__ == "__main__":
    write_snapshot()
