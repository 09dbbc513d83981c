"""The policy that a node approved a task with, as it is read from the chain's events."""

import json
from typing import Any

import httpx
import pytest
from eth_abi.abi import encode
from eth_utils.crypto import keccak

from contracts.abi import load
from contracts.deployment import Deployment
from tier_global.chain_view import JsonRpcChainView
from tier_global.errors import ChainUnavailable, NodeRefusal

ADDRESS = "0x5FbDB2315678afecb367f032d93F642f64180aa3"
DEPLOYMENT = Deployment(
    chain_id=1,
    registry=ADDRESS,
    tasks=ADDRESS,
    rounds=ADDRESS,
    lens=ADDRESS,
    anchors=ADDRESS,
    token=ADDRESS,
    block=7,
)
OLD, NEW = "0x" + "aa" * 32, "0x" + "bb" * 32


def log(block: int, index: int, data: str) -> dict[str, str]:
    return {"blockNumber": hex(block), "logIndex": hex(index), "data": data}


def approved(result: object, asked: list[dict[str, Any]] | None = None) -> str:
    """What the view reads from an endpoint that answers with ``result``."""

    def answer(request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        if asked is not None:
            asked.append(body)
        return httpx.Response(200, json={"jsonrpc": "2.0", "id": body["id"], "result": result})

    view = JsonRpcChainView("http://chain", DEPLOYMENT)
    view._client = httpx.Client(base_url="http://chain", transport=httpx.MockTransport(answer))
    return view.approved_policy_digest(3, ADDRESS)


def test_the_newest_approval_counts_in_whatever_order_they_come() -> None:
    logs = [log(9, 2, NEW), log(9, 1, OLD), log(8, 5, OLD)]
    assert approved(logs) == approved(list(reversed(logs))) == NEW


def test_the_event_is_asked_for_by_its_topics() -> None:
    asked: list[dict[str, Any]] = []
    approved([log(9, 0, NEW)], asked)
    (event,) = (
        entry for entry in load("Tasks").abi if entry["type"] == "event" and entry["name"] == "Approved"
    )
    types = ",".join(parameter["type"] for parameter in event["inputs"])
    assert [parameter["indexed"] for parameter in event["inputs"]] == [True, True, False]
    assert asked[0]["method"] == "eth_getLogs"
    assert asked[0]["params"] == [
        {
            "address": ADDRESS,
            "fromBlock": "0x7",
            "toBlock": "latest",
            "topics": [
                "0x" + keccak(text=f"Approved({types})").hex(),
                "0x" + encode(["uint64"], [3]).hex(),
                "0x" + encode(["address"], [ADDRESS]).hex(),
            ],
        }
    ]


def test_without_an_approval_there_is_no_policy() -> None:
    with pytest.raises(NodeRefusal):
        approved([])


@pytest.mark.parametrize(
    "result", [None, {}, "0x", [{}], [log(9, 0, "0x")], [log(9, 0, NEW) | {"blockNumber": "nine"}], [3]]
)
def test_an_answer_that_is_none_is_said_so(result: object) -> None:
    with pytest.raises((ChainUnavailable, NodeRefusal)):
        approved(result)
