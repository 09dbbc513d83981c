"""The domain's calls as call data for the contracts.

Encoded here by the ABI: web3 looks for a function that fits the arguments and then builds a transaction,
which takes many times as long.
"""

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from functools import cache
from typing import Literal

from eth_abi.abi import encode
from eth_abi.exceptions import EncodingError
from eth_utils.crypto import keccak

from contracts import abi
from contracts.deployment import Deployment
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
from orchestrator.domain.chain import (
    AdmitNode,
    Advance,
    AnchorEpoch,
    Call,
    CallRefused,
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


@dataclass(frozen=True)
class CallData:
    """What a transaction carries: the contract's address, and data as 0x text."""

    to: str
    data: str


def call_data(deployment: Deployment, call: Call) -> CallData:
    """What a transaction carries that makes a call.

    Raises:
        CallRefused: the arguments do not fit the contract's types; trying again cannot help.
    """
    return _encoded(deployment, _function(call))


def relay_data(deployment: Deployment, messages: Sequence[CallData]) -> CallData:
    """What a transaction carries that makes several calls of the rounds contract."""
    together = [_bytes(message.data) for message in messages]
    return _encoded(deployment, _Function("Rounds", "relay", (together,)))


def is_due_data(deployment: Deployment, task: int) -> CallData:
    """The question whether ``advance`` would move a task's open round."""
    return _encoded(deployment, _Function("Rounds", "isDue", (task,)))


@dataclass(frozen=True)
class _Function:
    contract: Literal["Registry", "Tasks", "Rounds", "Anchors"]
    name: str
    arguments: tuple[object, ...]


def _encoded(deployment: Deployment, function: _Function) -> CallData:
    to = {
        "Registry": deployment.registry,
        "Tasks": deployment.tasks,
        "Rounds": deployment.rounds,
        "Anchors": deployment.anchors,
    }[function.contract]
    selector, types = _shape_of(function.contract, function.name)
    try:
        return CallData(to, "0x" + (selector + encode(types, function.arguments)).hex())
    except (EncodingError, ValueError) as error:
        raise CallRefused(f"the arguments do not fit: {error}") from error


@cache
def _shape_of(contract: abi.ContractName, name: str) -> tuple[bytes, list[str]]:
    """Selector and types of a function; our contracts overload none."""
    (entry,) = (
        entry for entry in abi.load(contract).abi if entry["type"] == "function" and entry["name"] == name
    )
    types = [abi_type(parameter) for parameter in entry["inputs"]]
    return keccak(text=f"{name}({','.join(types)})")[:4], types


def _function(call: Call) -> _Function:
    """The contract's function that a call stands for."""
    match call:
        case AdmitNode(node, signer, group):
            return _Function("Registry", "admit", (node, signer, group))
        case WaiveSlash(slash):
            return _Function("Registry", "waive", (slash,))
        case AnchorEpoch(root, first, last):
            return _Function("Anchors", "anchor", (_bytes(root), first, last))
        case CreateTask(config):
            return _Function("Tasks", "createTask", (_config_tuple(config),))
        case FundTask(task, amount):
            return _Function("Tasks", "fund", (task, amount))
        case PauseTask(task):
            return _Function("Tasks", "pause", (task,))
        case UnpauseTask(task):
            return _Function("Tasks", "unpause", (task,))
        case CancelTask(task):
            return _Function("Tasks", "cancel", (task,))
        case Claim(node):
            return _Function("Tasks", "claim", (node,))
        case Withdraw(node):
            return _Function("Registry", "withdraw", (node,))
        case ExecuteSlash(slash):
            return _Function("Registry", "execute", (slash,))
        case Refund(task, funder):
            return _Function("Tasks", "refund", (task, funder))
        case RequestRound(task):
            return _Function("Rounds", "requestRound", (task,))
        case Advance(task):
            return _Function("Rounds", "advance", (task,))
        case RelayApproval(message, signature):
            return _Function("Tasks", "approve", (_message_tuple(message), _bytes(signature)))
        case RelayRevocation(message, signature):
            return _Function("Tasks", "revoke", (_message_tuple(message), _bytes(signature)))
        case RelayReturn(message, signature):
            return _Function("Registry", "comeBack", (_message_tuple(message), _bytes(signature)))
        case RelayRotation(message, signature):
            return _Function("Registry", "rotate", (_message_tuple(message), _bytes(signature)))
        case RelayExit(message, signature):
            return _Function("Registry", "exit", (_message_tuple(message), _bytes(signature)))
        case RelayMigration(message, signature):
            return _Function("Registry", "migrate", (_message_tuple(message), _bytes(signature)))
        case RelayProposal(message, signature):
            return _Function("Rounds", "propose", (_message_tuple(message), _bytes(signature)))
        case RelayCommit(message, signature):
            return _Function("Rounds", "commit", (_message_tuple(message), _bytes(signature)))
        case RelayReveal(message):
            return _Function("Rounds", "reveal", (_reveal_tuple(message),))
        case RelayAttestation(message, signature):
            return _Function("Rounds", "attest", (_message_tuple(message), _bytes(signature)))


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
