"""The contracts' events, typed: one dataclass for each, decoded by their ABI.

Fields stand in the order of the event's parameters, which is how they are filled; a test holds their names to
Solidity's. Addresses are checksummed, digests and contexts 0x text, amounts base units of the token, times
unix seconds, scores micronats. Events that OpenZeppelin's parts emit (ownership, say) are not among them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, get_args

from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from contracts import abi
from contracts.deployment import Deployment
from contracts.errors import ContractViolation
from contracts.phase import Phase
from contracts.settlement import Fault, Standing
from contracts.task_config import TaskConfig

# Of the registry.


@dataclass(frozen=True)
class NodeAdmitted:
    """Also when a dismissed node is admitted again, with its stake and absences as they are."""

    node: str
    signer: str
    group: int


@dataclass(frozen=True)
class NodeLeft:
    node: str


@dataclass(frozen=True)
class NodeReturned:
    node: str


@dataclass(frozen=True)
class SignerRotated:
    node: str
    signer: str


@dataclass(frozen=True)
class StakeDeposited:
    """``stake`` is what the node holds afterwards, here and below."""

    node: str
    amount: int
    stake: int


@dataclass(frozen=True)
class ExitRequested:
    node: str
    amount: int
    matures_unix_s: int
    stake: int


@dataclass(frozen=True)
class Withdrawn:
    node: str
    amount: int


@dataclass(frozen=True)
class SuccessorNamed:
    """The zero address: none."""

    successor: str


@dataclass(frozen=True)
class Migrated:
    node: str
    successor: str
    amount: int


@dataclass(frozen=True)
class FaultRecorded:
    """``amount`` was set aside, out of the stake and then out of what is leaving."""

    task: int
    round: int
    node: str
    fault: Fault
    slash: int
    amount: int
    executable_unix_s: int
    stake: int


@dataclass(frozen=True)
class SlashWaived:
    """The amount is part of the stake again."""

    slash: int
    node: str
    stake: int


@dataclass(frozen=True)
class SlashExecuted:
    """The amount went to the task's pool."""

    slash: int
    node: str
    task: int
    amount: int


# Of the tasks.


@dataclass(frozen=True)
class TaskCreated:
    task: int
    spec_digest: str
    config: TaskConfig


@dataclass(frozen=True)
class Approved:
    task: int
    node: str
    policy_digest: str


@dataclass(frozen=True)
class Revoked:
    task: int
    node: str


@dataclass(frozen=True)
class TaskFunded:
    """``pool`` is what the task's pool holds afterwards, here and below."""

    task: int
    funder: str
    amount: int
    pool: int


@dataclass(frozen=True)
class TaskToppedUp:
    """The pool grew by a slash or a gift, which nobody gets back as its own."""

    task: int
    giver: str
    amount: int
    pool: int


@dataclass(frozen=True)
class TaskPauseChanged:
    task: int
    is_paused: bool


@dataclass(frozen=True)
class TaskCancelled:
    task: int


@dataclass(frozen=True)
class TaskEnded:
    """No round will be opened any more; ``pool`` can be refunded."""

    task: int
    pool: int


@dataclass(frozen=True)
class Rewarded:
    """A round was closed: ``nodes`` ascend, with amounts above 0; ``returned`` went back to the pool."""

    task: int
    round: int
    nodes: tuple[str, ...]
    amounts: tuple[int, ...]
    returned: int


@dataclass(frozen=True)
class Claimed:
    node: str
    amount: int


@dataclass(frozen=True)
class Refunded:
    task: int
    funder: str
    amount: int


# Of the rounds.


@dataclass(frozen=True)
class RoundRequested:
    """The stakes are already capped; ``eligible`` ascends."""

    task: int
    round: int
    parent_digest: str
    seed_block: int
    reward: int
    eligible: tuple[str, ...]
    stakes: tuple[int, ...]


@dataclass(frozen=True)
class Drawn:
    """In the order of the draw; the groups are those that count in this round."""

    task: int
    round: int
    seed: str
    proposers: tuple[str, ...]
    voters: tuple[str, ...]
    proposer_groups: tuple[int, ...]
    voter_groups: tuple[int, ...]


@dataclass(frozen=True)
class PhaseChanged:
    """At every change after Requested, closing ones included; the deadline is 0 where there is none."""

    task: int
    round: int
    phase: Phase
    context: str
    deadline_unix_s: int


@dataclass(frozen=True)
class Proposed:
    task: int
    round: int
    node: str
    adapter_digest: str
    report_digest: str


@dataclass(frozen=True)
class Committed:
    task: int
    round: int
    node: str
    commitment: str


@dataclass(frozen=True)
class Revealed:
    task: int
    round: int
    node: str
    scores_micronats: tuple[int, ...]
    salt: str


@dataclass(frozen=True)
class Tallied:
    """Arrays follow the round's proposals, ascending by node; a median is 0 where there is none."""

    task: int
    round: int
    nodes: tuple[str, ...]
    standings: tuple[Standing, ...]
    medians_micronats: tuple[int, ...]
    proven_invalid: tuple[bool, ...]


@dataclass(frozen=True)
class Attested:
    task: int
    round: int
    node: str
    aggregate_digest: str
    score_micronats: int


@dataclass(frozen=True)
class RoundClosed:
    """``parent_digest`` is what the next round starts from."""

    task: int
    round: int
    phase: Phase
    parent_digest: str


@dataclass(frozen=True)
class RelaySkipped:
    """An item of a batch was refused; ``reason`` is the selector of its error."""

    index: int
    message_hash: str
    reason: str


RegistryEvent = (
    NodeAdmitted
    | NodeLeft
    | NodeReturned
    | SignerRotated
    | StakeDeposited
    | ExitRequested
    | Withdrawn
    | SuccessorNamed
    | Migrated
    | FaultRecorded
    | SlashWaived
    | SlashExecuted
)
TasksEvent = (
    TaskCreated
    | Approved
    | Revoked
    | TaskFunded
    | TaskToppedUp
    | TaskPauseChanged
    | TaskCancelled
    | TaskEnded
    | Rewarded
    | Claimed
    | Refunded
)
RoundsEvent = (
    RoundRequested
    | Drawn
    | PhaseChanged
    | Proposed
    | Committed
    | Revealed
    | Tallied
    | Attested
    | RoundClosed
    | RelaySkipped
)
Event = RegistryEvent | TasksEvent | RoundsEvent

EVENTS: Mapping[abi.ContractName, tuple[type[Event], ...]] = {
    "Registry": get_args(RegistryEvent),
    "Tasks": get_args(TasksEvent),
    "Rounds": get_args(RoundsEvent),
}
"""The events of each contract."""


class InvalidLog(ContractViolation):
    """A log does not have the shape of the event that its topic names."""

    code = "invalid_log"


class EventDecoder:
    """Decodes the logs of one deployment's contracts."""

    def __init__(self, deployment: Deployment) -> None:
        addresses: dict[abi.ContractName, str] = {
            "Registry": deployment.registry,
            "Tasks": deployment.tasks,
            "Rounds": deployment.rounds,
        }
        self._shapes = {
            (address.lower(), topic): shape
            for contract, address in addresses.items()
            for topic, shape in _shapes_of(contract).items()
        }

    def decode(
        self, address: str, topics: Sequence[bytes], data: bytes, only: type[Event] | None = None
    ) -> Event | None:
        """The event in a log, or None if it is not one of this module's, or not the ``only`` one wanted.

        Raises:
            InvalidLog: it does not have the event's shape.
        """
        if not topics:
            return None
        shape = self._shapes.get((address.lower(), bytes(topics[0])))
        if shape is None or (only is not None and shape.event is not only):
            return None
        return shape.decode(topics[1:], data)


@dataclass(frozen=True)
class _Parameter:
    """One parameter of an event: its ABI type, and how its value becomes a field's."""

    type: str
    is_indexed: bool
    convert: Callable[[Any], Any]


@dataclass(frozen=True)
class _Shape:
    """One event: its dataclass and its parameters, in the order of the fields."""

    event: type[Event]
    parameters: tuple[_Parameter, ...]

    def decode(self, topics: Sequence[bytes], data: bytes) -> Event:
        indexed = [parameter for parameter in self.parameters if parameter.is_indexed]
        plain = [parameter for parameter in self.parameters if not parameter.is_indexed]
        try:
            if len(topics) != len(indexed):
                raise InvalidLog(f"{self.event.__name__} has {len(indexed)} topics, the log {len(topics)}")
            of_topics = iter(
                decode([parameter.type], bytes(topic))[0]
                for parameter, topic in zip(indexed, topics, strict=True)
            )
            of_data = iter(decode([parameter.type for parameter in plain], bytes(data)))
            values = [
                parameter.convert(next(of_topics if parameter.is_indexed else of_data))
                for parameter in self.parameters
            ]
        except (DecodingError, OverflowError, ValueError) as error:
            raise InvalidLog(f"a log is no {self.event.__name__}: {error}") from error
        return self.event(*values)


@cache
def _shapes_of(contract: abi.ContractName) -> Mapping[bytes, _Shape]:
    """Shape by first topic, of a contract's events."""
    entries = {entry["name"]: entry for entry in abi.load(contract).abi if entry["type"] == "event"}
    shapes: dict[bytes, _Shape] = {}
    for event in EVENTS[contract]:
        inputs = entries[event.__name__]["inputs"]
        parameters = tuple(
            _Parameter(abi_type(each), each["indexed"], _converter(each["internalType"])) for each in inputs
        )
        signature = f"{event.__name__}({','.join(parameter.type for parameter in parameters)})"
        shapes[keccak(text=signature)] = _Shape(event, parameters)
    return shapes


def abi_type(parameter: Mapping[str, Any]) -> str:
    """A parameter's type as eth-abi and signatures write it: structs as tuples."""
    kind: str = parameter["type"]
    if not kind.startswith("tuple"):
        return kind
    return f"({','.join(abi_type(part) for part in parameter['components'])}){kind.removeprefix('tuple')}"


_ENUMS: Mapping[str, type[Phase] | type[Standing] | type[Fault]] = {
    "enum Phase": Phase,
    "enum Standing": Standing,
    "enum Fault": Fault,
}


def _converter(internal_type: str) -> Callable[[Any], Any]:
    if internal_type.endswith("[]"):
        of_one = _converter(internal_type.removesuffix("[]"))
        return lambda values: tuple(of_one(value) for value in values)
    if internal_type in _ENUMS:
        return _ENUMS[internal_type]
    if internal_type == "address":
        return to_checksum_address
    if internal_type.startswith("bytes"):
        return lambda value: "0x" + bytes(value).hex()
    if internal_type == "struct TaskConfig":
        return _task_config
    return lambda value: value


def _task_config(fields: Sequence[Any]) -> TaskConfig:
    spec_digest, genesis_digest, *rest = fields
    return TaskConfig("0x" + spec_digest.hex(), "0x" + genesis_digest.hex(), *rest)
