"""Gives a local run's accounts their test tokens: the nodes' stakes, and the pool that the task is paid from.

Only for a chain whose token is the test token: elsewhere, members bring their own.
"""

from collections.abc import Sequence
from typing import cast

import requests
from web3 import HTTPProvider, Web3
from web3.contract.contract import ContractFunction
from web3.exceptions import Web3Exception
from web3.types import Nonce, TxParams, Wei

from contracts import abi
from contracts.accounts import Account
from contracts.deployment import Deployment
from deploy.local.supervisor import LauncherError

REQUEST_TIMEOUT_S = 10.0
MINED_TIMEOUT_S = 60.0


def set_up_demo_accounts(
    rpc_url: str,
    deployment: Deployment,
    *,
    council_key: str,
    nodes: Sequence[str],
    stake: int,
    pool: int,
) -> None:
    """Mint to the council, stake for every node, and let the task contract take the pool.

    The council pays the nodes' stakes, so that the nodes need no gas of their own. The nodes must be
    admitted. The transactions go out together and are then waited for.

    Args:
        rpc_url: the local chain.
        deployment: where the contracts are.
        council_key: private key (0x text) of the council, which owns the test token.
        nodes: the admitted nodes' addresses.
        stake: base units that each node stakes.
        pool: base units that the council can fund a task with afterwards.

    Raises:
        LauncherError: the chain cannot be reached, or a transaction failed.
    """
    web3 = Web3(HTTPProvider(rpc_url, request_kwargs={"timeout": REQUEST_TIMEOUT_S}))
    token = web3.eth.contract(
        address=Web3.to_checksum_address(deployment.token), abi=abi.load("TestToken").abi
    )
    registry = web3.eth.contract(
        address=Web3.to_checksum_address(deployment.registry), abi=abi.load("Registry").abi
    )
    council = str(Account.from_key(council_key).address)
    stakes = stake * len(nodes)
    calls = [
        (token.functions.mint(council, stakes + pool), _TOKEN_GAS),
        (token.functions.approve(deployment.registry, stakes), _TOKEN_GAS),
        (token.functions.approve(deployment.tasks, pool), _TOKEN_GAS),
    ]
    calls += [
        (registry.functions.deposit(Web3.to_checksum_address(node), stake), _DEPOSIT_GAS) for node in nodes
    ]
    try:
        _send_all(web3, deployment.chain_id, council_key, calls)
    except (Web3Exception, requests.RequestException) as error:
        raise LauncherError(f"the accounts on the chain could not be set up: {error}") from error


# Gas limits are given, not estimated: each call depends on those before it, which are not mined yet.
_TOKEN_GAS = 150_000
_DEPOSIT_GAS = 250_000


def _send_all(
    web3: Web3, chain_id: int, private_key: str, calls: Sequence[tuple[ContractFunction, int]]
) -> None:
    account = Account.from_key(private_key)
    first_nonce = web3.eth.get_transaction_count(account.address)
    tip_wei = web3.eth.max_priority_fee
    most_wei = 2 * web3.eth.get_block("latest")["baseFeePerGas"] + tip_wei
    hashes = []
    for index, (function, gas) in enumerate(calls):
        fields: TxParams = {
            "from": account.address,
            "nonce": Nonce(first_nonce + index),
            "chainId": chain_id,
            "gas": gas,
            "maxFeePerGas": Wei(most_wei),
            "maxPriorityFeePerGas": tip_wei,
            "value": Wei(0),
        }
        signed = account.sign_transaction(cast(dict[str, object], function.build_transaction(fields)))
        hashes.append(web3.eth.send_raw_transaction(signed.raw_transaction))
    for transaction_hash, (function, _) in zip(hashes, calls, strict=True):
        receipt = web3.eth.wait_for_transaction_receipt(
            transaction_hash, timeout=MINED_TIMEOUT_S, poll_latency=0.2
        )
        if receipt["status"] != 1:
            raise LauncherError(f"{function.fn_name} failed on the chain: its transaction was reverted")
