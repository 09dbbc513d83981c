"""Reads what was anchored of an audit log from an RPC endpoint."""

from collections.abc import Sequence

from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from contracts import abi
from contracts.audit_check import AnchoredEpoch
from contracts.deployment import Deployment
from contracts.verify.errors import ChainUnavailable
from contracts.verify.rpc import JsonRpc, data_bytes, fields, items, quantity
from contracts.verify.views import view_call

_LOG_RANGE_BLOCKS = 2_000
_MOST_ROWS_OF_AN_EPOCH = 1 << 20
_ANCHORED = "0x" + keccak(text="Anchored(address,uint64,bytes32,uint64,uint64)").hex()


def read_anchors(
    rpc_url: str, deployment: Deployment, senders: Sequence[str] = (), *, timeout_s: float = 60.0
) -> tuple[AnchoredEpoch, ...]:
    """The epochs that ``senders`` anchored, else those of the registry's owner, the council.

    Raises:
        ChainUnavailable: the endpoint failed, is another chain, gave an unusable answer, or what lies at the
            deployment's address is not the contract.
    """
    rpc = JsonRpc(rpc_url, timeout_s=timeout_s)
    chain_id = quantity(rpc.ask("eth_chainId"), "chain id")
    if chain_id != deployment.chain_id:
        raise ChainUnavailable(f"the endpoint is chain {chain_id}, the deployment's is {deployment.chain_id}")
    code = data_bytes(rpc.ask("eth_getCode", deployment.anchors, "latest"), "code")
    if "0x" + code.hex() != abi.load("Anchors").runtime.bytecode:
        raise ChainUnavailable(f"what lies at {deployment.anchors} is not the Anchors contract")
    trusted: list[str] = [*map(to_checksum_address, senders)] or [_council(rpc, deployment)]
    head = quantity(rpc.ask("eth_blockNumber"), "block number")
    found: list[AnchoredEpoch] = []
    for start in range(deployment.block, head + 1, _LOG_RANGE_BLOCKS):
        query = {
            "fromBlock": hex(start),
            "toBlock": hex(min(start + _LOG_RANGE_BLOCKS - 1, head)),
            "address": deployment.anchors,
            "topics": [_ANCHORED, ["0x" + sender[2:].lower().rjust(64, "0") for sender in trusted]],
        }
        found += [_epoch(fields(log, "log"), trusted) for log in items(rpc.ask("eth_getLogs", query), "logs")]
    return tuple(found)


def _council(rpc: JsonRpc, deployment: Deployment) -> str:
    call = view_call("Registry", deployment.registry, "owner")
    answer = rpc.ask("eth_call", {"to": call.address, "data": "0x" + call.data.hex()}, "latest")
    return call.read(str, data_bytes(answer, "answer"))


def _epoch(log: dict[str, object], trusted: Sequence[str]) -> AnchoredEpoch:
    topics = [data_bytes(topic, "topic", length=32) for topic in items(log.get("topics"), "topics of a log")]
    data = data_bytes(log.get("data"), "data of a log", length=96)
    if len(topics) != 3 or "0x" + topics[0].hex() != _ANCHORED or log.get("removed"):
        raise ChainUnavailable("the endpoint gave a log that was not asked for")
    try:
        root, first, last = decode(["bytes32", "uint64", "uint64"], data)
        (epoch,) = decode(["uint64"], topics[2])
    except (DecodingError, OverflowError, ValueError) as error:
        raise ChainUnavailable(f"the endpoint gave an unusable log: {error}") from error
    sender = to_checksum_address(topics[1][12:])
    if sender not in trusted or not 0 < first <= last or last - first >= _MOST_ROWS_OF_AN_EPOCH:
        raise ChainUnavailable(
            "the endpoint gave a log that was not asked for, or that nobody can have written"
        )
    return AnchoredEpoch(sender, epoch, "0x" + root.hex(), first, last)
