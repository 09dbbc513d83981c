"""Deployment files."""

import json

import pytest

from contracts.deployment import Deployment, InvalidDeployment

FIELDS = {
    "chain_id": 31337,
    "registry": "0xCf7Ed3AccA5a467e9e704C703E8D87F634fB0Fc9",
    "tasks": "0xDc64a140Aa3E981100a9becA4E685f962f0cF6C9",
    "rounds": "0x5fc8d32690cc91d4c39d9d3abcbd16989f875707",
    "lens": "0x0165878A594ca255338adfa4d48449f69242Eb8F",
    "anchors": "0xa513E6E4b8f2a923D98304ec87F64353C4D5C853",
    "token": "0x5FbDB2315678afecb367f032d93F642f64180aa3",
    "block": 7,
}


def test_a_file_read_back_is_the_same_and_addresses_are_checksummed() -> None:
    deployment = Deployment.parse(json.dumps(FIELDS).encode())
    assert deployment.rounds == "0x5FC8d32690cc91D4c39d9d3abcBD16989F875707"
    assert deployment.rounds_domain.verifying_contract == deployment.rounds
    assert deployment.tasks_domain.verifying_contract == deployment.tasks
    assert deployment.registry_domain.verifying_contract == deployment.registry
    assert Deployment.parse(deployment.to_json()) == deployment


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"rounds": "0x12"}, "rounds"),
        ({"chain_id": 0}, "chain_id"),
        ({"block": -1}, "block"),
        ({"extra": 1}, "extra"),
        ({"token": None}, "token"),
    ],
)
def test_a_wrong_field_is_named(change: dict[str, object], where: str) -> None:
    with pytest.raises(InvalidDeployment, match=f"deployment {where}: "):
        Deployment.parse(json.dumps(FIELDS | change).encode())


def test_what_is_no_json_is_refused() -> None:
    with pytest.raises(InvalidDeployment, match="the file"):
        Deployment.parse(b"{")
