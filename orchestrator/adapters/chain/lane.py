"""One sending account: estimates, prices, signs, broadcasts and follows its transactions (EIP-1559)."""

from eth_typing import HexStr
from web3.exceptions import TransactionNotFound, Web3Exception
from web3.types import Nonce, TxParams, Wei

from contracts.accounts import Account
from orchestrator.adapters.chain.calls import contract_function
from orchestrator.adapters.chain.connection import Connection, translated_errors
from orchestrator.domain.chain import (
    Call,
    CallRefused,
    ChainError,
    Fees,
    NonceUsed,
    Receipt,
    SignedTransaction,
)

_GAS_MARGIN_PERCENT = 150
"""Gas limit in percent of the estimate: other transactions may come first and change the work."""
_BASE_FEE_MULTIPLE = 2
"""The base fee may double before the transaction is out-priced."""


class Web3TransactionLane:
    """The ``TransactionLane`` port over JSON-RPC; the key stays inside."""

    def __init__(self, connection: Connection, private_key: str) -> None:
        self._connection = connection
        self._web3 = connection.web3
        self._account = Account.from_key(private_key)

    @property
    def sender(self) -> str:
        """The account's address."""
        return str(self._account.address)

    def next_nonce(self) -> int:
        """The account's nonce counting transactions that are mined."""
        self._connection.require_chain()
        with translated_errors():
            return int(self._web3.eth.get_transaction_count(self._account.address, "latest"))

    def nonce_at(self, block_number: int) -> int:
        """The account's next nonce as of the end of a block."""
        self._connection.require_chain()
        with translated_errors():
            return int(self._web3.eth.get_transaction_count(self._account.address, block_number))

    def sign(self, call: Call, nonce: int) -> SignedTransaction:
        """Estimate, price and sign a call.

        The estimate is made on the pending block: its time and height are what ``advance`` will see.

        Raises:
            CallRefused: the contract would revert, or the arguments do not fit its types.
        """
        self._connection.require_chain()
        try:
            function = contract_function(self._connection, call)
        except (Web3Exception, ValueError) as error:
            # No contract was asked, but trying again cannot help either.
            raise CallRefused(f"the arguments do not fit: {error}") from error
        with translated_errors():
            gas = function.estimate_gas({"from": self._account.address}, block_identifier="pending")
            tip_wei = self._web3.eth.max_priority_fee
            head = self._web3.eth.get_block("latest")
        if "baseFeePerGas" not in head:
            raise ChainError("the chain has no base fee: it must follow EIP-1559")
        fees = Fees(most_wei=_BASE_FEE_MULTIPLE * head["baseFeePerGas"] + tip_wei, tip_wei=tip_wei)
        fields: TxParams = {
            "type": 2,
            "chainId": self._connection.deployment.chain_id,
            "nonce": Nonce(nonce),
            "value": Wei(0),
            "gas": min(gas * _GAS_MARGIN_PERCENT // 100, head["gasLimit"]),
            "maxFeePerGas": Wei(fees.most_wei),
            "maxPriorityFeePerGas": Wei(fees.tip_wei),
        }
        transaction = function.build_transaction(fields)  # asks nothing: every field is given
        signed = self._account.sign_transaction(transaction)
        return SignedTransaction(
            hash="0x" + bytes(signed.hash).hex(), raw=bytes(signed.raw_transaction), nonce=nonce, fees=fees
        )

    def broadcast(self, transaction: SignedTransaction) -> None:
        """Hand a signed transaction to the chain; handing it twice is harmless.

        Nodes word "I have it already" in many ways, so a refusal is judged by what the chain then knows.

        Raises:
            NonceUsed: it can never be mined, because another transaction took its nonce.
        """
        self._connection.require_chain()
        try:
            with translated_errors():
                self._web3.eth.send_raw_transaction(transaction.raw)
        except ChainError as refusal:
            if isinstance(refusal, CallRefused):
                return  # a node that executes on arrival: the transaction is in, its receipt says it failed
            if self.knows(transaction.hash):
                return
            if self.next_nonce() > transaction.nonce:
                taken = f"another transaction took nonce {transaction.nonce} of {self.sender}"
                raise NonceUsed(taken) from refusal
            raise

    def knows(self, transaction_hash: str) -> bool:
        """Whether the chain has the transaction, mined or waiting."""
        try:
            with translated_errors():
                self._web3.eth.get_transaction(HexStr(transaction_hash))
        except ChainError as error:
            if isinstance(error.__cause__, TransactionNotFound):
                return False
            raise
        return True

    def receipt(self, transaction_hash: str) -> Receipt | None:
        """The receipt, or None while the transaction is not mined."""
        self._connection.require_chain()
        try:
            with translated_errors():
                found = self._web3.eth.get_transaction_receipt(HexStr(transaction_hash))
        except ChainError as error:
            if isinstance(error.__cause__, TransactionNotFound):
                return None
            raise
        return Receipt(
            transaction_hash=transaction_hash,
            block_number=found["blockNumber"],
            block_hash="0x" + bytes(found["blockHash"]).hex(),
            succeeded=found["status"] == 1,
            gas_used=found["gasUsed"],
        )
