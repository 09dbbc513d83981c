"""One sending account: estimates, prices, signs, broadcasts and follows its transactions (EIP-1559)."""

from collections.abc import Sequence
from typing import Any

from web3.types import RPCEndpoint

from contracts.accounts import Account, unsigned_transaction
from contracts.events import EventDecoder, RelaySkipped
from orchestrator.adapters.chain.calls import CallData, call_data, relay_data
from orchestrator.adapters.chain.connection import Connection, error_name, translated_errors
from orchestrator.adapters.chain.lanes import LaneTerms
from orchestrator.domain.chain import (
    Call,
    CallRefused,
    ChainError,
    FeeMarket,
    Fees,
    NonceUsed,
    Receipt,
    RoundMessageCall,
    SignedBatch,
    SignedTransaction,
)

_GAS_MARGIN_PERCENT = 150
"""Gas limit in percent of the estimate: other transactions may come first and change the work."""
_BASE_FEE_MULTIPLE = 2
"""The base fee may double before the transaction is out-priced."""


class Web3TransactionLane:
    """The ``TransactionLane`` port over JSON-RPC; the key stays inside."""

    def __init__(self, connection: Connection, private_key: str, terms: LaneTerms) -> None:
        self._connection = connection
        self._terms = terms
        self._decoder = EventDecoder(connection.deployment)
        self._account = Account.from_key(private_key)

    @property
    def sender(self) -> str:
        """The account's address."""
        return str(self._account.address)

    def next_nonce(self) -> int:
        """The account's nonce counting transactions that are mined."""
        self._connection.require_chain()
        return self._connection.ask_number("eth_getTransactionCount", self.sender, "latest")

    def nonce_at(self, block_number: int) -> int:
        """The account's next nonce as of the end of a block."""
        self._connection.require_chain()
        return self._connection.ask_number("eth_getTransactionCount", self.sender, hex(block_number))

    def sign(self, call: Call, nonce: int) -> SignedTransaction:
        """Estimate, price and sign a call.

        The estimate is made on the pending block: its time and height are what ``advance`` will see.

        Raises:
            CallRefused: the contract would revert, or the arguments do not fit its types.
        """
        self._connection.require_chain()
        data = call_data(self._connection.deployment, call)
        (estimate,) = self._connection.estimates(self.sender, [data])
        if isinstance(estimate, CallRefused):
            raise estimate
        return self._signed(data, estimate, nonce)

    def sign_batch(self, calls: Sequence[RoundMessageCall], nonce: int) -> SignedBatch:
        """Estimate, price and sign one transaction that carries as many of the calls as may share one.

        Each call is estimated by itself, which also says which the contract refuses. The sum has every
        call's own base cost in it, so it is more than the batch takes.
        """
        self._connection.require_chain()
        deployment = self._connection.deployment
        messages: dict[int, CallData] = {}
        refused: dict[int, str] = {}
        for place, call in enumerate(calls):
            try:
                messages[place] = call_data(deployment, call)
            except CallRefused as error:
                refused[place] = error.reason
        estimates = self._connection.estimates(self.sender, list(messages.values()))
        taken: list[int] = []
        gas = 0
        for place, estimate in zip(messages, estimates, strict=True):
            if isinstance(estimate, CallRefused):
                refused[place] = estimate.reason
            elif not taken or gas + estimate <= self._terms.most_batch_gas:
                taken.append(place)
                gas += estimate
        if not taken:
            return SignedBatch(None, (), refused)
        data = messages[taken[0]]
        if len(taken) > 1:
            data = relay_data(deployment, [messages[place] for place in taken])
        return SignedBatch(self._signed(data, gas, nonce), tuple(taken), refused)

    def market(self) -> FeeMarket:
        """What the next block asks for a unit of gas."""
        self._connection.require_chain()
        return self._market_and_gas_limit()[0]

    def replacement(self, transaction: SignedTransaction, fees: Fees) -> SignedTransaction:
        """The same transaction at the same nonce, signed for other fees."""
        prices = {"maxFeePerGas": fees.most_wei, "maxPriorityFeePerGas": fees.tip_wei}
        return self._with_signature(unsigned_transaction(transaction.raw) | prices, fees)

    def _market_and_gas_limit(self) -> tuple[FeeMarket, int]:
        tip, head = self._connection.batch(
            [
                (RPCEndpoint("eth_maxPriorityFeePerGas"), []),
                (RPCEndpoint("eth_getBlockByNumber"), ["latest", False]),
            ]
        )
        header: dict[str, Any] = head["result"]
        if "baseFeePerGas" not in header:
            raise ChainError("the chain has no base fee: it must follow EIP-1559")
        with translated_errors():
            market = FeeMarket(int(header["baseFeePerGas"], 16), int(tip["result"], 16))
            return market, int(header["gasLimit"], 16)

    def _signed(self, data: CallData, gas: int, nonce: int) -> SignedTransaction:
        market, gas_limit = self._market_and_gas_limit()
        most_wei = min(_BASE_FEE_MULTIPLE * market.base_fee_wei + market.tip_wei, self._terms.most_fee_wei)
        if most_wei < market.base_fee_wei:
            limit = self._terms.most_fee_wei
            raise ChainError(f"the base fee of {market.base_fee_wei} wei is above the limit of {limit}")
        fees = Fees(most_wei, min(market.tip_wei, most_wei))
        fields = {
            "type": 2,
            "chainId": self._connection.deployment.chain_id,
            "nonce": nonce,
            "to": data.to,
            "data": data.data,
            "value": 0,
            "gas": min(gas * _GAS_MARGIN_PERCENT // 100, gas_limit),
            "maxFeePerGas": fees.most_wei,
            "maxPriorityFeePerGas": fees.tip_wei,
        }
        return self._with_signature(fields, fees)

    def _with_signature(self, fields: dict[str, Any], fees: Fees) -> SignedTransaction:
        signed = self._account.sign_transaction(fields)
        return SignedTransaction(
            hash="0x" + bytes(signed.hash).hex(),
            raw=bytes(signed.raw_transaction),
            nonce=fields["nonce"],
            fees=fees,
        )

    def broadcast(self, transaction: SignedTransaction) -> None:
        """Hand a signed transaction to the chain; handing it twice is harmless.

        Nodes word "I have it already" in many ways, so a refusal is judged by what the chain then knows.

        Raises:
            NonceUsed: it can never be mined, because another transaction took its nonce.
        """
        self._connection.require_chain()
        try:
            self._connection.ask("eth_sendRawTransaction", "0x" + transaction.raw.hex())
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
        return self._connection.ask("eth_getTransactionByHash", transaction_hash) is not None

    def receipt(self, transaction_hash: str) -> Receipt | None:
        """The receipt, or None while the transaction is not mined."""
        self._connection.require_chain()
        found = self._connection.ask("eth_getTransactionReceipt", transaction_hash)
        if found is None:
            return None
        with translated_errors():
            return Receipt(
                transaction_hash=transaction_hash,
                block_number=int(found["blockNumber"], 16),
                block_hash=found["blockHash"],
                succeeded=int(found["status"], 16) == 1,
                gas_used=int(found["gasUsed"], 16),
                skipped=self._skipped(found["logs"]),
            )

    def _skipped(self, logs: Sequence[dict[str, Any]]) -> dict[int, str]:
        rounds = self._connection.deployment.rounds.lower()
        decoded = [
            self._decoder.decode(
                log["address"],
                [bytes.fromhex(topic[2:]) for topic in log["topics"]],
                bytes.fromhex(log["data"][2:]),
                # A batch has a log for every message, and reading them all takes its time.
                only=RelaySkipped,
            )
            for log in logs
            if log["address"].lower() == rounds
        ]
        skips = [event for event in decoded if isinstance(event, RelaySkipped)]
        return {skip.index: error_name(skip.reason) for skip in skips}
