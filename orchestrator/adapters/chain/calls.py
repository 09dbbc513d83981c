"""The domain's calls as functions of the contracts."""

from dataclasses import astuple

from web3.contract.contract import ContractFunction

from contracts.messages import Approval, Attestation, Commit, Proposal, Reveal
from orchestrator.adapters.chain.connection import Connection
from orchestrator.domain.chain import (
    AdmitNode,
    Advance,
    Call,
    Claim,
    CreateTask,
    FundTask,
    RelayApproval,
    RelayAttestation,
    RelayCommit,
    RelayProposal,
    RelayReveal,
    RequestRound,
    TaskConfig,
)


def contract_function(connection: Connection, call: Call) -> ContractFunction:
    """The contract function, with its arguments, that ``call`` stands for."""
    registry, tasks, rounds = (
        connection.registry.functions,
        connection.tasks.functions,
        connection.rounds.functions,
    )
    match call:
        case AdmitNode(node, signer, group):
            return registry.admit(node, signer, group)
        case CreateTask(config):
            return tasks.createTask(_config_tuple(config))
        case FundTask(task, amount):
            return tasks.fund(task, amount)
        case Claim(node):
            return tasks.claim(node)
        case RequestRound(task):
            return rounds.requestRound(task)
        case Advance(task):
            return rounds.advance(task)
        case RelayApproval(message, signature):
            return rounds.approve(_message_tuple(message), _bytes(signature))
        case RelayProposal(message, signature):
            return rounds.propose(_message_tuple(message), _bytes(signature))
        case RelayCommit(message, signature):
            return rounds.commit(_message_tuple(message), _bytes(signature))
        case RelayReveal(message):
            return rounds.reveal(_reveal_tuple(message))
        case RelayAttestation(message, signature):
            return rounds.attest(_message_tuple(message), _bytes(signature))


def _message_tuple(message: Approval | Proposal | Commit | Attestation) -> tuple[object, ...]:
    values: list[object] = []
    for name, solidity_type, _ in message.FIELDS:
        value = getattr(message, name)
        values.append(_bytes(value) if solidity_type.startswith("bytes") else value)
    return tuple(values)


def _reveal_tuple(message: Reveal) -> tuple[object, ...]:
    return (
        message.node,
        message.task,
        message.round,
        _bytes(message.context),
        list(message.scores_micronats),
        _bytes(message.salt),
    )


def _config_tuple(config: TaskConfig) -> tuple[object, ...]:
    spec_digest, genesis_digest, *rest = astuple(config)
    return (_bytes(spec_digest), _bytes(genesis_digest), *rest)


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text[2:])
