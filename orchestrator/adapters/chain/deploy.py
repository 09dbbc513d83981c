"""Deploys a consortium's contracts: a token, unless one is named; registry; tasks; rounds; lens; anchors.

Registry and Tasks name Rounds, and Rounds them, so they get the address that Rounds will have: the one that
follows from the deployer's nonce. The deployer must send nothing else meanwhile; Rounds checks the wiring.
"""

from eth_typing import ChecksumAddress
from web3 import Web3
from web3.types import Nonce
from web3.utils.address import get_create_address

from contracts import abi
from contracts.accounts import Account
from contracts.deployment import Deployment
from orchestrator.adapters.chain.connection import open_web3, translated_errors
from orchestrator.domain.chain import ChainError, StakeTerms

_REQUEST_TIMEOUT_S = 10.0


def deploy(
    rpc_url: str,
    deployer_key: str,
    council: str,
    *,
    token: str | None = None,
    terms: StakeTerms | None = None,
    timeout_s: float = 120.0,
) -> Deployment:
    """Deploy everything and return where it is.

    Args:
        rpc_url: the chain.
        deployer_key: private key (0x text) of the account that pays; it keeps no right over the contracts.
        council: the account that may admit nodes and create tasks.
        token: an ERC-20 already on the chain; None deploys a test token that the council may mint.
        terms: how stakes leave and are slashed; None means ``StakeTerms()``.
        timeout_s: how long one transaction may take to be mined.

    Raises:
        ChainError: the chain could not be asked, or a transaction was not mined in time.
        CallRefused: a constructor reverted.
    """
    terms = terms or StakeTerms()
    deployer = _Deployer(rpc_url, deployer_key, timeout_s)
    council = Web3.to_checksum_address(council)
    first_block = deployer.head() + 1
    if token is None:
        token_address = deployer.create(abi.load("TestToken"), council)
    else:
        token_address = Web3.to_checksum_address(token)
    randomness = deployer.create(abi.load("BlockhashRandomness"))
    settlement = deployer.create(abi.load("Settlement"))
    rounds_to_be = deployer.address_after(created_before=2)
    registry = deployer.create(
        abi.load("Registry"),
        token_address,
        council,
        rounds_to_be,
        terms.unbonding_s,
        terms.appeal_s,
        terms.most_absences,
    )
    tasks = deployer.create(abi.load("Tasks"), token_address, council, rounds_to_be)
    linked_rounds = abi.load("Rounds").link({"Settlement": settlement})
    rounds = deployer.create(linked_rounds, registry, tasks, randomness)
    if rounds != rounds_to_be:
        raise ChainError("the deployer sent another transaction during the deployment: deploy again")
    lens = deployer.create(abi.load("Lens"), rounds)
    anchors = deployer.create(abi.load("Anchors"))
    return Deployment(
        chain_id=deployer.chain_id,
        registry=registry,
        tasks=tasks,
        rounds=rounds,
        lens=lens,
        anchors=anchors,
        token=token_address,
        block=first_block,
    )


class _Deployer:
    """Creates contracts one after the other from one account."""

    def __init__(self, rpc_url: str, private_key: str, timeout_s: float) -> None:
        self._web3 = open_web3(rpc_url, timeout_s=_REQUEST_TIMEOUT_S)
        self._account = Account.from_key(private_key)
        self._timeout_s = timeout_s
        with translated_errors():
            self.chain_id = self._web3.eth.chain_id
            self._nonce = self._web3.eth.get_transaction_count(self._account.address, "latest")

    def head(self) -> int:
        """The newest block's number."""
        with translated_errors():
            return int(self._web3.eth.block_number)

    def address_after(self, *, created_before: int) -> ChecksumAddress:
        """The address of the contract created when ``created_before`` more have been."""
        return get_create_address(self._account.address, Nonce(self._nonce + created_before))

    def create(self, artifact: abi.ContractArtifact, *arguments: object) -> ChecksumAddress:
        """Deploy one contract, wait until it is mined, and return its address."""
        constructor = self._web3.eth.contract(abi=artifact.abi, bytecode=artifact.bytecode).constructor(
            *arguments
        )
        with translated_errors():
            transaction = constructor.build_transaction(
                {"from": self._account.address, "nonce": self._nonce, "chainId": self.chain_id}
            )
            signed = self._account.sign_transaction(transaction)
            transaction_hash = self._web3.eth.send_raw_transaction(signed.raw_transaction)
            receipt = self._web3.eth.wait_for_transaction_receipt(
                transaction_hash, timeout=self._timeout_s, poll_latency=0.1
            )
        address = receipt["contractAddress"]
        if receipt["status"] != 1 or address is None:
            raise ChainError(
                f"deploying {artifact.name} failed: transaction 0x{bytes(transaction_hash).hex()}"
            )
        self._nonce = Nonce(self._nonce + 1)
        return address
