"""Reads the facts of a task from an RPC endpoint, all at one block.

Nothing here judges: the answers are taken apart and typed, and the checks compare them.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import requests
from eth_utils.abi import event_abi_to_log_topic
from web3 import HTTPProvider, Web3
from web3.contract import Contract
from web3.contract.contract import ContractEvent
from web3.exceptions import BlockNotFound, ContractLogicError, Web3Exception

from contracts import abi
from contracts.deployment import Deployment
from contracts.digests import ZERO_DIGEST
from contracts.phase import Phase
from contracts.settlement import AttestedAggregate, Rewards, Rules
from contracts.verify import facts
from contracts.verify.errors import ChainUnavailable, TaskUnknown

_LOG_RANGE_BLOCKS = 2000
"""Blocks asked for in one log query; public endpoints refuse wider ones."""


@contextmanager
def _translated_errors() -> Iterator[None]:
    try:
        yield
    except (Web3Exception, requests.RequestException, ValueError, LookupError) as error:
        raise ChainUnavailable(f"the RPC endpoint failed: {error or type(error).__name__}") from error


class ChainSource:
    """One deployment behind one RPC endpoint, read at the block that is newest when this is made.

    Raises:
        ChainUnavailable: the endpoint does not answer, or is another chain than the deployment's.
    """

    def __init__(self, rpc_url: str, deployment: Deployment, *, timeout_s: float = 20.0) -> None:
        self._deployment = deployment
        self._web3 = Web3(HTTPProvider(rpc_url, request_kwargs={"timeout": timeout_s}))
        self._token = self._contract("TestToken", deployment.token)
        self._registry = self._contract("Registry", deployment.registry)
        self._tasks = self._contract("Tasks", deployment.tasks)
        self._rounds = self._contract("Rounds", deployment.rounds)
        with _translated_errors():
            chain_id = self._web3.eth.chain_id
            self._block = self._web3.eth.block_number
        if chain_id != deployment.chain_id:
            raise ChainUnavailable(
                f"the endpoint is chain {chain_id}, the deployment's is {deployment.chain_id}"
            )

    def task(self, task: int) -> facts.TaskFacts:
        """All facts of a task.

        Raises:
            TaskUnknown: there is no such task.
            ChainUnavailable: the endpoint failed or gave an unusable answer.
        """
        with _translated_errors():
            try:
                view = self._call(self._rounds, "taskOf", task)
            except ContractLogicError as error:
                raise TaskUnknown(f"the chain has no task {task}") from error
            logs = self._logs()
            admitted = {
                log.arguments["node"]: log.arguments["group"] for log in logs if log.name == "NodeAdmitted"
            }
            round_logs = _round_logs(logs, task)
            config = view.config
            return facts.TaskFacts(
                task=task,
                block=self._block,
                chain_id=self._deployment.chain_id,
                rounds_contract=self._deployment.rounds,
                token_decimals=self._call(self._token, "decimals"),
                spec_digest=_hex(config.specDigest),
                genesis_digest=_hex(config.genesisDigest),
                rules=_rules(config),
                rounds_requested=view.roundsRequested,
                rounds_closed=view.roundsClosed,
                pool=view.pool,
                parent_digest=_hex(view.parentDigest),
                groups=admitted,
                claimable={node: self._call(self._tasks, "claimableOf", node) for node in admitted},
                ledger=_ledger(logs, task),
                rounds=tuple(
                    self._round(task, number, round_logs.get(number, facts.RoundLog()))
                    for number in range(1, view.roundsRequested + 1)
                ),
            )

    def _contract(self, name: abi.ContractName, address: str) -> Contract:
        return self._web3.eth.contract(
            address=Web3.to_checksum_address(address), abi=abi.load(name).abi, decode_tuples=True
        )

    def _call(self, contract: Contract, function: str, *arguments: object) -> Any:
        return contract.functions[function](*arguments).call(block_identifier=self._block)

    def _round(self, task: int, number: int, log: facts.RoundLog) -> facts.RoundFacts:
        view = _round_view(self._call(self._rounds, "roundOf", task, number))
        return facts.RoundFacts(
            number=number, view=view, log=log, seed_block_hash=self._block_hash(view.seed_block)
        )

    def _block_hash(self, number: int) -> str | None:
        try:
            return _hex(self._web3.eth.get_block(number)["hash"])
        except BlockNotFound:
            return None

    def _logs(self) -> list["_Log"]:
        decoders = self._decoders()
        found: list[_Log] = []
        addresses = [self._registry.address, self._tasks.address, self._rounds.address]
        for first in range(self._deployment.block, self._block + 1, _LOG_RANGE_BLOCKS):
            last = min(first + _LOG_RANGE_BLOCKS - 1, self._block)
            for log in self._web3.eth.get_logs({"address": addresses, "fromBlock": first, "toBlock": last}):
                event = decoders.get((log["address"], bytes(log["topics"][0]))) if log["topics"] else None
                if event is not None:
                    found.append(
                        _Log(
                            position=(log["blockNumber"], log["logIndex"]),
                            name=event.event_name,
                            arguments=event.process_log(log)["args"],
                        )
                    )
        return sorted(found, key=lambda log: log.position)

    def _decoders(self) -> dict[tuple[str, bytes], ContractEvent]:
        return {
            (contract.address, event_abi_to_log_topic(entry)): contract.events[entry["name"]]()
            for contract in (self._registry, self._tasks, self._rounds)
            for entry in contract.abi
            if entry["type"] == "event"
        }


@dataclass(frozen=True)
class _Log:
    """A decoded log of one of the three contracts."""

    position: tuple[int, int]
    name: str
    arguments: Mapping[str, Any]


# Views


def _rules(config: Any) -> Rules:
    return Rules(
        rounds=config.rounds,
        proposers=config.proposers,
        voters=config.voters,
        min_proposals=config.minProposals,
        min_reveals=config.minReveals,
        min_scorers=config.minScorers,
        attestation_quorum_bps=config.attestationQuorumBps,
        proposer_share_bps=config.proposerShareBps,
        acceptance_threshold_micronats=config.acceptanceThresholdMicronats,
        closeness_range_micronats=config.closenessRangeMicronats,
        stake_cap=config.stakeCap,
    )


def _round_view(view: Any) -> facts.RoundView:
    return facts.RoundView(
        phase=Phase(view.phase),
        parent_digest=_hex(view.parentDigest),
        aggregate_digest=_hex_or_none(view.aggregateDigest),
        request_block=view.requestBlock,
        seed_block=view.seedBlock,
        seed=_hex_or_none(view.seed),
        context=_hex(view.context),
        reward=view.reward,
        eligible=tuple(view.eligible),
        stakes=tuple(view.stakes),
        proposers=tuple(view.proposers),
        voters=tuple(view.voters),
        proposals=tuple(
            facts.ProposalView(
                node=proposal.node,
                adapter_digest=_hex(proposal.adapterDigest),
                accepted=proposal.accepted,
                has_median=proposal.hasMedian,
                median_micronats=proposal.medianMicronats,
            )
            for proposal in view.proposals
        ),
        votes=tuple(
            facts.VoteView(
                node=vote.node,
                commitment=_hex_or_none(vote.commitment),
                scores_micronats=tuple(vote.scores) if vote.revealed else None,
            )
            for vote in view.votes
        ),
        attestations=tuple(
            AttestedAggregate(attestation.node, _hex(attestation.aggregateDigest), attestation.score)
            for attestation in view.attestations
            if attestation.attested
        ),
    )


# Logs of rounds


def _round_logs(logs: list[_Log], task: int) -> dict[int, facts.RoundLog]:
    by_round: dict[int, facts.RoundLog] = defaultdict(facts.RoundLog)
    for log in logs:
        add = _ADD_TO_ROUND.get(log.name)
        if add is not None and log.arguments["task"] == task:
            number = log.arguments["round"]
            by_round[number] = add(by_round[number], log.arguments)
    return dict(by_round)


def _add_requested(log: facts.RoundLog, a: Mapping[str, Any]) -> facts.RoundLog:
    requested = facts.RequestedLog(
        parent_digest=_hex(a["parentDigest"]),
        seed_block=a["seedBlock"],
        reward=a["reward"],
        eligible=tuple(a["eligible"]),
        stakes=tuple(a["stakes"]),
    )
    return replace(log, requested=requested)


def _add_drawn(log: facts.RoundLog, a: Mapping[str, Any]) -> facts.RoundLog:
    drawn = facts.DrawnLog(seed=_hex(a["seed"]), proposers=tuple(a["proposers"]), voters=tuple(a["voters"]))
    return replace(log, drawn=drawn)


def _add_phase(log: facts.RoundLog, a: Mapping[str, Any]) -> facts.RoundLog:
    entered = facts.PhaseLog(phase=Phase(a["phase"]), context=_hex(a["context"]))
    return replace(log, phases=(*log.phases, entered))


def _add_proposed(log: facts.RoundLog, a: Mapping[str, Any]) -> facts.RoundLog:
    proposed = facts.ProposedLog(
        node=a["node"], adapter_digest=_hex(a["adapterDigest"]), report_digest=_hex(a["reportDigest"])
    )
    return replace(log, proposed=(*log.proposed, proposed))


def _add_committed(log: facts.RoundLog, a: Mapping[str, Any]) -> facts.RoundLog:
    committed = facts.CommittedLog(node=a["node"], commitment=_hex(a["commitment"]))
    return replace(log, committed=(*log.committed, committed))


def _add_revealed(log: facts.RoundLog, a: Mapping[str, Any]) -> facts.RoundLog:
    revealed = facts.RevealedLog(node=a["node"], scores_micronats=tuple(a["scores"]), salt=_hex(a["salt"]))
    return replace(log, revealed=(*log.revealed, revealed))


def _add_tallied(log: facts.RoundLog, a: Mapping[str, Any]) -> facts.RoundLog:
    rows = zip(a["nodes"], a["accepted"], a["hasMedian"], a["mediansMicronats"], strict=True)
    return replace(log, tallied=tuple(rows))


def _add_attested(log: facts.RoundLog, a: Mapping[str, Any]) -> facts.RoundLog:
    attested = AttestedAggregate(a["node"], _hex(a["aggregateDigest"]), a["score"])
    return replace(log, attested=(*log.attested, attested))


def _add_closed(log: facts.RoundLog, a: Mapping[str, Any]) -> facts.RoundLog:
    closed = facts.ClosedLog(phase=Phase(a["phase"]), parent_digest=_hex(a["parentDigest"]))
    return replace(log, closed=closed)


def _add_rewarded(log: facts.RoundLog, a: Mapping[str, Any]) -> facts.RoundLog:
    amounts = tuple(zip(a["nodes"], a["amounts"], strict=True))
    return replace(log, rewarded=Rewards(amounts=amounts, returned=a["returned"]))


_ADD_TO_ROUND: dict[str, Callable[[facts.RoundLog, Mapping[str, Any]], facts.RoundLog]] = {
    "RoundRequested": _add_requested,
    "Drawn": _add_drawn,
    "PhaseChanged": _add_phase,
    "Proposed": _add_proposed,
    "Committed": _add_committed,
    "Revealed": _add_revealed,
    "Tallied": _add_tallied,
    "Attested": _add_attested,
    "RoundClosed": _add_closed,
    "Rewarded": _add_rewarded,
}


# The ledger


def _ledger(logs: list[_Log], task: int) -> tuple[facts.LedgerEntry, ...]:
    return tuple(entry for log in logs for entry in _ledger_entries(log, task))


def _ledger_entries(log: _Log, task: int) -> Iterator[facts.LedgerEntry]:
    a = log.arguments
    match log.name:
        case "StakeDeposited" | "StakeWithdrawn":
            yield facts.Staked(node=a["node"], stake=a["stake"])
        case "Claimed":
            yield facts.Claimed(node=a["node"], amount=a["amount"])
        case "Approved" if a["task"] == task:
            yield facts.Approved(node=a["node"])
        case "TaskFunded" if a["task"] == task:
            yield facts.Funded(amount=a["amount"], pool=a["pool"])
        case "RoundRequested" if a["task"] == task:
            yield facts.Requested(round=a["round"], reward=a["reward"])
        case "Rewarded":
            for node, amount in zip(a["nodes"], a["amounts"], strict=True):
                yield facts.Credited(node=node, amount=amount)
            if a["task"] == task:
                yield facts.Returned(amount=a["returned"])


def _hex(value: bytes) -> str:
    return "0x" + bytes(value).hex()


def _hex_or_none(value: bytes) -> str | None:
    text = _hex(value)
    return None if text == ZERO_DIGEST else text
