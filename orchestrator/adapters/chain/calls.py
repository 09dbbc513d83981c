"""The domain's calls as functions of the contracts."""

from dataclasses import astuple

from eth_abi.abi import encode
from web3.contract.contract import ContractFunction

from contracts.events import abi_type
from contracts.messages import (
    Approval,
    Attestation,
    Commit,
    Exit,
    Migration,
    Proposal,
    Return,
    Reveal,
    Revocation,
    Rotation,
)
from contracts.task_config import TaskConfig
from orchestrator.adapters.chain.connection import Connection
from orchestrator.domain.chain import (
    AdmitNode,
    Advance,
    AnchorEpoch,
    Call,
    CancelTask,
    Claim,
    CreateTask,
    ExecuteSlash,
    FundTask,
    PauseTask,
    Refund,
    RelayApproval,
    RelayAttestation,
    RelayCommit,
    RelayExit,
    RelayMigration,
    RelayProposal,
    RelayReturn,
    RelayReveal,
    RelayRevocation,
    RelayRotation,
    RequestRound,
    UnpauseTask,
    WaiveSlash,
    Withdraw,
)

_SignedMessage = (
    Approval | Revocation | Rotation | Exit | Migration | Return | Proposal | Commit | Attestation
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
        case WaiveSlash(slash):
            return registry.waive(slash)
        case AnchorEpoch(root, first, last):
            return connection.anchors.functions.anchor(_bytes(root), first, last)
        case CreateTask(config):
            return tasks.createTask(_config_tuple(config))
        case FundTask(task, amount):
            return tasks.fund(task, amount)
        case PauseTask(task):
            return tasks.pause(task)
        case UnpauseTask(task):
            return tasks.unpause(task)
        case CancelTask(task):
            return tasks.cancel(task)
        case Claim(node):
            return tasks.claim(node)
        case Withdraw(node):
            return registry.withdraw(node)
        case ExecuteSlash(slash):
            return registry.execute(slash)
        case Refund(task, funder):
            return tasks.refund(task, funder)
        case RequestRound(task):
            return rounds.requestRound(task)
        case Advance(task):
            return rounds.advance(task)
        case RelayApproval(message, signature):
            return tasks.approve(_message_tuple(message), _bytes(signature))
        case RelayRevocation(message, signature):
            return tasks.revoke(_message_tuple(message), _bytes(signature))
        case RelayReturn(message, signature):
            return registry.comeBack(_message_tuple(message), _bytes(signature))
        case RelayRotation(message, signature):
            return registry.rotate(_message_tuple(message), _bytes(signature))
        case RelayExit(message, signature):
            return registry.exit(_message_tuple(message), _bytes(signature))
        case RelayMigration(message, signature):
            return registry.migrate(_message_tuple(message), _bytes(signature))
        case RelayProposal(message, signature):
            return rounds.propose(_message_tuple(message), _bytes(signature))
        case RelayCommit(message, signature):
            return rounds.commit(_message_tuple(message), _bytes(signature))
        case RelayReveal(message):
            return rounds.reveal(_reveal_tuple(message))
        case RelayAttestation(message, signature):
            return rounds.attest(_message_tuple(message), _bytes(signature))


def encoded(function: ContractFunction) -> str:
    """A contract function with its arguments as call data, 0x text.

    web3's own way builds a whole transaction for it, which takes several times as long.
    """
    types = [abi_type(parameter) for parameter in function.abi["inputs"]]
    return str(function.selector) + encode(types, function.arguments).hex()


def _message_tuple(message: _SignedMessage) -> tuple[object, ...]:
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
