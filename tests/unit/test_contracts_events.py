"""The typed events agree with the contracts' ABI, and logs that do not fit are refused."""

import re
from dataclasses import fields
from typing import Any, get_args

import pytest
from eth_abi.abi import encode
from eth_utils.crypto import keccak

from contracts import abi
from contracts.deployment import Deployment
from contracts.events import (
    EVENTS,
    Drawn,
    Event,
    EventDecoder,
    InvalidLog,
    PhaseChanged,
    TaskCreated,
    abi_type,
)
from contracts.phase import Phase
from contracts.task_config import TaskConfig

DEPLOYMENT = Deployment(
    chain_id=1,
    registry="0x" + "01" * 20,
    tasks="0x" + "02" * 20,
    rounds="0x" + "03" * 20,
    lens="0x" + "04" * 20,
    anchors="0x" + "06" * 20,
    token="0x" + "05" * 20,
    block=0,
)
# Units that Python's names have and Solidity's lack.
RENAMED = {
    "deadline": "deadline_unix_s",
    "matures_at": "matures_unix_s",
    "executable_at": "executable_unix_s",
    "score": "score_micronats",
    "scores": "scores_micronats",
    "training_seconds": "training_s",
    "committing_seconds": "committing_s",
    "revealing_seconds": "revealing_s",
    "attesting_seconds": "attesting_s",
}
FROM_OPENZEPPELIN = {"EIP712DomainChanged", "OwnershipTransferStarted", "OwnershipTransferred"}


def snake(name: str) -> str:
    plain = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
    return RENAMED.get(plain, plain)


def entries(contract: abi.ContractName) -> dict[str, Any]:
    found = {entry["name"]: entry for entry in abi.load(contract).abi if entry["type"] == "event"}
    return {name: entry for name, entry in found.items() if name not in FROM_OPENZEPPELIN}


@pytest.mark.parametrize("contract", EVENTS)
def test_every_event_of_a_contract_is_here_with_its_fields(contract: abi.ContractName) -> None:
    here = {event.__name__: [field.name for field in fields(event)] for event in EVENTS[contract]}
    there = {
        name: [snake(each["name"]) for each in entry["inputs"]] for name, entry in entries(contract).items()
    }
    assert here == there


def test_no_event_is_missing_from_the_union() -> None:
    assert {event for events in EVENTS.values() for event in events} == set(get_args(Event))


def test_the_task_config_has_the_fields_of_the_struct() -> None:
    (config,) = (each for each in entries("Tasks")["TaskCreated"]["inputs"] if each["name"] == "config")
    assert [field.name for field in fields(TaskConfig)] == [
        snake(part["name"]) for part in config["components"]
    ]


def log_of(contract: abi.ContractName, name: str, values: dict[str, Any]) -> tuple[list[bytes], bytes]:
    """A log as the contract would emit it."""
    inputs = entries(contract)[name]["inputs"]
    signature = f"{name}({','.join(abi_type(each) for each in inputs)})"
    topics = [encode([each["type"]], [values[each["name"]]]) for each in inputs if each["indexed"]]
    plain = [each for each in inputs if not each["indexed"]]
    data = encode([abi_type(each) for each in plain], [values[each["name"]] for each in plain])
    return [keccak(text=signature), *topics], data


PHASE_CHANGED = log_of(
    "Rounds",
    "PhaseChanged",
    {"task": 7, "round": 2, "phase": 3, "context": b"\x0c" * 16, "deadline": 1_800_000_000},
)


def test_indexed_and_plain_values_become_fields() -> None:
    decoder = EventDecoder(DEPLOYMENT)
    topics, data = PHASE_CHANGED
    assert decoder.decode(DEPLOYMENT.rounds, topics, data) == PhaseChanged(
        7, 2, Phase.COMMITTING, "0x" + "0c" * 16, 1_800_000_000
    )
    first, second = "0x" + "aB" * 20, "0x" + "11" * 20
    topics, data = log_of(
        "Rounds",
        "Drawn",
        {
            "task": 1,
            "round": 1,
            "seed": b"\x5e" * 32,
            "proposers": [first],
            "voters": [second, first],
            "proposerGroups": [3],
            "voterGroups": [4, 3],
        },
    )
    drawn = decoder.decode(DEPLOYMENT.rounds.lower(), topics, data)
    assert isinstance(drawn, Drawn)
    assert [node.lower() for node in drawn.voters] == [second, first.lower()]
    assert drawn.proposers == (drawn.voters[1],) != (first,), "addresses are checksummed"
    assert (drawn.proposer_groups, drawn.voter_groups) == ((3,), (4, 3))


def test_a_task_config_comes_back_whole() -> None:
    numbers = tuple(range(1, 19))
    config = (b"\x01" * 32, b"\x02" * 32, *numbers)
    topics, data = log_of("Tasks", "TaskCreated", {"task": 9, "specDigest": b"\x01" * 32, "config": config})
    event = EventDecoder(DEPLOYMENT).decode(DEPLOYMENT.tasks, topics, data)
    wanted = TaskConfig("0x" + "01" * 32, "0x" + "02" * 32, *numbers)
    assert event == TaskCreated(9, "0x" + "01" * 32, wanted)
    assert wanted.rules.stake_cap == numbers[-1]
    assert wanted.longest_round_s == numbers[13] + sum(numbers[13:17])


def test_other_logs_are_none_of_ours() -> None:
    decoder = EventDecoder(DEPLOYMENT)
    topics, data = PHASE_CHANGED
    assert decoder.decode(DEPLOYMENT.tasks, topics, data) is None, "of another contract"
    assert decoder.decode(DEPLOYMENT.rounds, [keccak(text="Other()")], b"") is None
    assert decoder.decode(DEPLOYMENT.rounds, [], b"") is None


def test_a_log_that_does_not_fit_is_refused() -> None:
    decoder = EventDecoder(DEPLOYMENT)
    topics, data = PHASE_CHANGED
    unknown_phase = log_of(
        "Rounds", "PhaseChanged", {"task": 7, "round": 2, "phase": 77, "context": b"", "deadline": 1}
    )
    for bad_topics, bad_data in ((topics[:-1], data), (topics, data[:-1]), (topics, b""), unknown_phase):
        with pytest.raises(InvalidLog, match="PhaseChanged"):
            decoder.decode(DEPLOYMENT.rounds, bad_topics, bad_data)
