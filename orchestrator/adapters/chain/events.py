"""Logs of the contracts as the domain's typed events."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from eth_typing import ABIEvent
from eth_utils.abi import event_abi_to_log_topic
from web3 import Web3
from web3.contract.contract import Contract, ContractEvent
from web3.types import LogReceipt

from contracts import abi
from contracts.phase import Phase
from orchestrator.adapters.chain.connection import Connection
from orchestrator.domain import chain

_Arguments = Mapping[str, Any]


def _hex(value: bytes) -> str:
    return "0x" + bytes(value).hex()


def _task_config(value: Any) -> chain.TaskConfig:
    spec_digest, genesis_digest, *rest = value.values() if isinstance(value, Mapping) else value
    return chain.TaskConfig(_hex(spec_digest), _hex(genesis_digest), *rest)


def _stake_changed(a: _Arguments) -> chain.StakeChanged:
    return chain.StakeChanged(node=a["node"], stake=a["stake"])


_TRANSLATIONS: dict[abi.ContractName, dict[str, Callable[[_Arguments], chain.ChainEvent]]] = {
    "Registry": {
        "NodeAdmitted": lambda a: chain.NodeAdmitted(node=a["node"], signer=a["signer"], group=a["group"]),
        "SignerRotated": lambda a: chain.SignerRotated(node=a["node"], signer=a["signer"]),
        "StakeDeposited": _stake_changed,
        "StakeWithdrawn": _stake_changed,
    },
    "Tasks": {
        "TaskCreated": lambda a: chain.TaskCreated(task=a["task"], config=_task_config(a["config"])),
        "TaskFunded": lambda a: chain.TaskFunded(task=a["task"], amount=a["amount"], pool=a["pool"]),
        "Rewarded": lambda a: chain.Rewarded(
            task=a["task"],
            round=a["round"],
            nodes=tuple(a["nodes"]),
            amounts=tuple(a["amounts"]),
            returned=a["returned"],
        ),
        "Claimed": lambda a: chain.Claimed(node=a["node"], to=a["to"], amount=a["amount"]),
    },
    "Rounds": {
        "Approved": lambda a: chain.Approved(
            task=a["task"], node=a["node"], policy_digest=_hex(a["policyDigest"])
        ),
        "RoundRequested": lambda a: chain.RoundRequested(
            task=a["task"],
            round=a["round"],
            parent_digest=_hex(a["parentDigest"]),
            seed_block=a["seedBlock"],
            reward=a["reward"],
            eligible=tuple(a["eligible"]),
            stakes=tuple(a["stakes"]),
        ),
        "Drawn": lambda a: chain.Drawn(
            task=a["task"],
            round=a["round"],
            seed=_hex(a["seed"]),
            proposers=tuple(a["proposers"]),
            voters=tuple(a["voters"]),
        ),
        "PhaseChanged": lambda a: chain.PhaseChanged(
            task=a["task"],
            round=a["round"],
            phase=Phase(a["phase"]),
            context=_hex(a["context"]),
            deadline_unix_s=a["deadline"],
        ),
        "Proposed": lambda a: chain.Proposed(
            task=a["task"],
            round=a["round"],
            node=a["node"],
            adapter_digest=_hex(a["adapterDigest"]),
            report_digest=_hex(a["reportDigest"]),
        ),
        "Committed": lambda a: chain.Committed(
            task=a["task"], round=a["round"], node=a["node"], commitment=_hex(a["commitment"])
        ),
        "Revealed": lambda a: chain.Revealed(
            task=a["task"],
            round=a["round"],
            node=a["node"],
            scores_micronats=tuple(a["scores"]),
            salt=_hex(a["salt"]),
        ),
        "Tallied": lambda a: chain.Tallied(
            task=a["task"],
            round=a["round"],
            nodes=tuple(a["nodes"]),
            accepted=tuple(a["accepted"]),
            has_median=tuple(a["hasMedian"]),
            medians_micronats=tuple(a["mediansMicronats"]),
        ),
        "Attested": lambda a: chain.Attested(
            task=a["task"],
            round=a["round"],
            node=a["node"],
            aggregate_digest=_hex(a["aggregateDigest"]),
            score_micronats=a["score"],
        ),
        "RoundClosed": lambda a: chain.RoundClosed(
            task=a["task"],
            round=a["round"],
            phase=Phase(a["phase"]),
            parent_digest=_hex(a["parentDigest"]),
        ),
    },
}


@dataclass(frozen=True)
class _Decoder:
    event: ContractEvent
    translate: Callable[[_Arguments], chain.ChainEvent]


class EventDecoder:
    """Translates logs; an event that no translation names (ownership, say) is not the domain's business."""

    def __init__(self, connection: Connection) -> None:
        contracts: dict[abi.ContractName, Contract] = {
            "Registry": connection.registry,
            "Tasks": connection.tasks,
            "Rounds": connection.rounds,
        }
        self._decoders: dict[tuple[str, bytes], _Decoder] = {}
        for contract_name, translations in _TRANSLATIONS.items():
            contract = contracts[contract_name]
            for entry in abi.load(contract_name).abi:
                if entry["type"] == "event" and entry["name"] in translations:
                    self._decoders[contract.address, event_abi_to_log_topic(cast(ABIEvent, entry))] = (
                        _Decoder(contract.events[entry["name"]](), translations[entry["name"]])
                    )

    def decode(self, log: LogReceipt) -> chain.IndexedEvent | None:
        """The event in ``log`` and where it lies, or None if it is not one of the domain's.

        Raises:
            ValueError, Web3Exception: the log does not have the event's shape.
        """
        key = (Web3.to_checksum_address(log["address"]), bytes(log["topics"][0])) if log["topics"] else None
        decoder = self._decoders.get(key) if key else None
        if decoder is None:
            return None
        return chain.IndexedEvent(
            event=decoder.translate(decoder.event.process_log(log)["args"]),
            block_number=log["blockNumber"],
            block_hash=_hex(log["blockHash"]),
            transaction_hash=_hex(log["transactionHash"]),
            log_index=log["logIndex"],
        )
