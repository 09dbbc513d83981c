"""A lying or broken endpoint: it can be named, or there is no verdict; nothing else can happen."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from eth_abi.abi import decode, encode
from eth_utils.crypto import keccak

from contracts import abi
from contracts.deployment import Deployment
from contracts.events import abi_type
from contracts.verify import Verdict, verify_task
from contracts.verify.artifact_source import FolderSource
from contracts.verify.errors import CannotVerify, ChainUnavailable, TaskUnknown
from contracts.verify.rpc import JsonRpc, RpcRefused, RpcRequest
from tests.chain.stage import Stage
from tests.chain.story import Story
from tests.chain.tampering import AnswerWithError, tampering_proxy

OTHER_HASH = "0x" + "77" * 32


def verify(
    story: Story, *, task: int | None = None, rpc_url: str | None = None, deployment: Deployment | None = None
) -> Verdict:
    stage = story.stage
    source = FolderSource(stage.artifacts)
    return verify_task(
        rpc_url if rpc_url is not None else stage.anvil.rpc_url,
        source,
        deployment or stage.deployment,
        task or story.task,
    )


def lied_to(story: Story, alter: Callable[[dict[str, Any], Any], Any]) -> Verdict:
    """The verdict through an endpoint that alters its answers."""
    with tampering_proxy(story.stage.anvil.rpc_url, alter) as url:
        return verify(story, rpc_url=url)


@contextmanager
def endpoint(respond: Callable[[bytes], tuple[int, bytes]]) -> Iterator[str]:
    """An HTTP server that answers a POST's body with status and bytes of its own."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            status, body = respond(self.rfile.read(int(self.headers["Content-Length"])))
            # Who is answered may have hung up.
            with suppress(OSError):
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


# The contracts' code and wiring


def code_changed(address: str, change: Callable[[bytearray], object]) -> Callable[[dict[str, Any], Any], Any]:
    """An alteration of the code at one address."""

    def alter(request: dict[str, Any], result: Any) -> Any:
        if request["method"] != "eth_getCode" or request["params"][0].lower() != address.lower():
            return result
        code = bytearray(bytes.fromhex(result[2:]))
        change(code)
        return "0x" + code.hex()

    return alter


def flip(at: int) -> Callable[[bytearray], object]:
    def change(code: bytearray) -> None:
        code[at] ^= 1

    return change


@pytest.mark.parametrize("contract", ["Registry", "Tasks", "Rounds", "Lens"])
def test_other_code_is_named(story: Story, contract: abi.ContractName) -> None:
    address: str = getattr(story.stage.deployment, contract.lower())
    for change in (flip(40), flip(-1), bytearray.clear, lambda code: code.append(0)):
        wrong = lied_to(story, code_changed(address, change)).wrong
        assert wrong is not None
        assert wrong.fact == f"the code of {contract}"


def test_another_library_or_source_of_seeds_is_named(story: Story) -> None:
    (reference,) = abi.load("Rounds").runtime.link_references
    rounds = story.stage.deployment.rounds

    def relink(code: bytearray) -> None:
        for start in reference.offsets_bytes:
            code[start : start + 20] = bytes.fromhex(story.stage.deployment.token[2:])

    wrong = lied_to(story, code_changed(rounds, relink)).wrong
    assert wrong is not None
    assert wrong.fact == "the code of Settlement"
    wrong = lied_to(story, code_changed(rounds, flip(reference.offsets_bytes[0]))).wrong
    assert wrong is not None
    assert (wrong.fact, wrong.expected) == ("the code of Rounds", "one value in all places of each")
    randomness = story.stage.ask(str, "Rounds", "randomness")
    wrong = lied_to(story, code_changed(randomness, flip(20))).wrong
    assert wrong is not None
    assert wrong.fact == "the code of BlockhashRandomness"


def test_a_value_that_the_constructor_fixed_is_named(story: Story) -> None:
    for contract in ("Registry", "Tasks", "Rounds", "Lens"):
        address: str = getattr(story.stage.deployment, contract.lower())
        for offsets_bytes in abi.load(contract).runtime.immutables_bytes:

            def everywhere(code: bytearray, offsets_bytes: tuple[int, ...] = offsets_bytes) -> None:
                for start in offsets_bytes:
                    code[start + 31] ^= 1

            wrong = lied_to(story, code_changed(address, everywhere)).wrong
            assert wrong is not None
            assert wrong.fact == f"the values that {contract}'s constructor fixed"
            if len(offsets_bytes) > 1:
                wrong = lied_to(story, code_changed(address, flip(offsets_bytes[1]))).wrong
                assert wrong is not None
                assert (wrong.fact, wrong.found[:4]) == (f"the code of {contract}", "2 at")


def test_contracts_of_different_deployments_are_named(story: Story, make_stage: Callable[[], Stage]) -> None:
    deployment = story.stage.deployment
    with tampering_proxy(story.stage.anvil.rpc_url, lambda request, result: result) as url:
        for name in ("registry", "tasks", "rounds", "lens"):
            # An address without a contract of that kind.
            elsewhere = deployment.model_copy(update={name: deployment.token})
            wrong = verify(story, rpc_url=url, deployment=elsewhere).wrong
            assert wrong is not None
            assert wrong.fact == f"the code of {name.capitalize()}"
    one, other = make_stage(), make_stage()
    for name, fact in (
        ("lens", "Lens.rounds()"),
        ("registry", "Rounds.registry()"),
        ("tasks", "Rounds.tasks()"),
        ("rounds", "Rounds.registry()"),
    ):
        mixed = one.deployment.model_copy(update={name: getattr(other.deployment, name)})
        wrong = verify_task(one.anvil.rpc_url, FolderSource(one.artifacts), mixed, 1).wrong
        assert wrong is not None
        assert wrong.fact == fact


def selector(function: str) -> str:
    return "0x" + keccak(text=f"{function}()")[:4].hex()


@pytest.mark.parametrize("getter", ["registry", "tasks", "rounds", "token"])
def test_a_wrong_wire_is_named(story: Story, getter: str) -> None:
    def alter(request: dict[str, Any], result: Any) -> Any:
        is_asked = request["method"] == "eth_call" and request["params"][0]["data"] == selector(getter)
        return "0x" + "00" * 31 + "07" if is_asked else result

    wrong = lied_to(story, alter).wrong
    assert wrong is not None
    assert wrong.fact.endswith(f".{getter}()")
    assert wrong.found == "0x0000000000000000000000000000000000000007"


# Lies that have to be consistent to be believed


def log_changed(event: str, contract: abi.ContractName, change: Callable[[list[Any]], Any]) -> Any:
    """An alteration of the data of the first log of one event."""
    entry = next(e for e in abi.load(contract).abi if e["type"] == "event" and e["name"] == event)
    signature = f"{event}({','.join(abi_type(each) for each in entry['inputs'])})"
    types = [abi_type(each) for each in entry["inputs"] if not each["indexed"]]

    def alter(request: dict[str, Any], result: Any) -> Any:
        if request["method"] == "eth_getLogs":
            for log in result:
                if log["topics"][0] == "0x" + keccak(text=signature).hex():
                    values = list(decode(types, bytes.fromhex(log["data"][2:])))
                    change(values)
                    log["data"] = "0x" + encode(types, values).hex()
                    break
        return result

    return alter


def test_a_changed_score_in_the_logs_is_named(story: Story) -> None:
    def change(values: list[Any]) -> None:
        values[0] = (values[0][0] + 1, *values[0][1:])

    wrong = lied_to(story, log_changed("Revealed", "Rounds", change)).wrong
    assert wrong is not None
    assert (wrong.round, wrong.fact) == (story.final, "the revealed scores' commitment")


def test_another_seed_block_is_named_and_an_unserved_one_counted(story: Story) -> None:
    seed_block = hex(story.stage.view(story.task, story.final).seed_block)

    def another(request: dict[str, Any], result: Any) -> Any:
        if request["method"] == "eth_getBlockByNumber" and request["params"][0] == seed_block:
            result["hash"] = OTHER_HASH
        return result

    def forgotten(request: dict[str, Any], result: Any) -> Any:
        is_asked = request["method"] == "eth_getBlockByNumber" and request["params"][0] == seed_block
        return None if is_asked else result

    wrong = lied_to(story, another).wrong
    assert wrong is not None
    assert (wrong.round, wrong.fact, wrong.expected) == (story.final, "the seed", OTHER_HASH)
    verdict = lied_to(story, forgotten)
    assert verdict.ok
    assert verdict.facts_unchecked == 1
    assert str(int(seed_block, 16)) in verdict.notes[0]


def test_an_endpoint_without_batches_will_do(story: Story) -> None:
    asked: list[str] = []

    def respond(body: bytes) -> tuple[int, bytes]:
        request = json.loads(body)
        if isinstance(request, list):
            asked.append("batch")
            error = {"code": -32600, "message": "no batches"}
            return 400, json.dumps({"jsonrpc": "2.0", "id": None, "error": error}).encode()
        asked.append("single")
        return 200, json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": "0x1"}).encode()

    with endpoint(respond) as url:
        rpc = JsonRpc(url)
        assert rpc.ask_all([RpcRequest("eth_chainId", ())] * 3) == ["0x1"] * 3
        assert rpc.ask_all([RpcRequest("eth_chainId", ())]) == ["0x1"]
    assert asked == ["batch", *["single"] * 4]


# No verdict


def test_an_unknown_task_a_wrong_chain_and_a_dead_endpoint_are_no_verdict(story: Story) -> None:
    with pytest.raises(TaskUnknown, match="no task 9"):
        verify(story, task=9)
    with pytest.raises(TaskUnknown, match=str(1 << 64)):
        verify(story, task=1 << 64)
    elsewhere = story.stage.deployment.model_copy(update={"chain_id": 5})
    with pytest.raises(ChainUnavailable, match="chain 31337"):
        verify(story, deployment=elsewhere)
    for url in ("http://127.0.0.1:1", "http://[", "ftp://127.0.0.1", "nonsense", ""):
        with pytest.raises(ChainUnavailable):
            verify(story, rpc_url=url)


def is_not_ok(story: Story, alter: Callable[[dict[str, Any], Any], Any]) -> bool:
    """Whether there is no verdict, with a sentence that a terminal can show, or a wrong fact."""
    try:
        return not lied_to(story, alter).ok
    except CannotVerify as error:
        return str(error).isprintable()


METHODS = ("eth_chainId", "eth_blockNumber", "eth_getBlockByNumber", "eth_getCode", "eth_call", "eth_getLogs")
HOSTILE_RESULTS: tuple[Any, ...] = (
    *(None, 7, -1.5, True, "", "0x", "0xzz", "0x1", "words \x1b[31m", "0x" + "ff" * 64, "0x" + "00" * 640),
    *([], {}, [None], [[]], [{}], {"number": None}, [{"topics": 7}], [{"address": "0xzz", "topics": []}]),
)


@pytest.mark.parametrize("method", METHODS)
def test_hostile_answers_are_no_verdict_or_a_wrong_fact(story: Story, method: str) -> None:
    for hostile in HOSTILE_RESULTS:

        def alter(request: dict[str, Any], result: Any, hostile: Any = hostile) -> Any:
            return hostile if request["method"] == method else result

        assert is_not_ok(story, alter), hostile


@pytest.mark.parametrize("function", ["taskOf", "roundOf", "nodeOf", "unbondingOf", "slashOf", "totalOwed"])
def test_hostile_views_are_no_verdict_or_a_wrong_fact(story: Story, function: str) -> None:
    contracts: tuple[abi.ContractName, ...] = ("Lens", "Registry", "Tasks")
    entries = [e for name in contracts for e in abi.load(name).abi if e.get("name") == function]
    signature = f"{function}({','.join(abi_type(each) for each in entries[0]['inputs'])})"
    prefix = "0x" + keccak(text=signature)[:4].hex()
    for change in (
        lambda data: "0x",
        lambda data: data[:-64],
        lambda data: "0x" + "ff" * 32 + data[66:],
        lambda data: "0x" + "ff" * (len(data) // 2 - 1),
        lambda data: "0x" + "00" * (300 << 10),
        lambda data: None,
    ):

        def alter(request: dict[str, Any], result: Any, change: Any = change) -> Any:
            is_asked = request["method"] == "eth_call" and request["params"][0]["data"].startswith(prefix)
            return change(result) if is_asked else result

        assert is_not_ok(story, alter)


def test_doubled_foreign_and_removed_logs_are_no_verdict(story: Story) -> None:
    def doubled(logs: list[Any]) -> list[Any]:
        return [*logs, logs[-1]]

    def foreign(logs: list[Any]) -> list[Any]:
        return [*logs, {**logs[-1], "blockNumber": hex(1 << 40)}]

    def removed(logs: list[Any]) -> list[Any]:
        return [{**logs[0], "removed": True}, *logs[1:]]

    def fat(logs: list[Any]) -> list[Any]:
        return [{**logs[0], "data": "0x" + "00" * (65 << 10)}, *logs[1:]]

    def without_topics(logs: list[Any]) -> list[Any]:
        return [*logs[:-1], {**logs[-1], "topics": logs[-1]["topics"][:1]}]

    for change in (doubled, foreign, removed, fat, without_topics):

        def alter(request: dict[str, Any], result: Any, change: Any = change) -> Any:
            return change(result) if request["method"] == "eth_getLogs" and result else result

        with pytest.raises(ChainUnavailable, match="log"):
            lied_to(story, alter)


def test_stated_counts_are_not_followed(story: Story) -> None:
    """Rounds, slashes and blocks are asked for by what was logged, not by what a view states."""
    asked = 0

    def many_blocks(request: dict[str, Any], result: Any) -> Any:
        return hex(1 << 62) if request["method"] == "eth_blockNumber" else result

    with pytest.raises(ChainUnavailable, match="which no chain has"):
        lied_to(story, many_blocks)

    count = next(e for e in abi.load("Registry").abi if e.get("name") == "slashCount")
    assert not count["inputs"]
    task_of = "0x" + keccak(text="taskOf(uint64)")[:4].hex()

    def many(request: dict[str, Any], result: Any) -> Any:
        nonlocal asked
        asked += 1
        if request["method"] == "eth_call":
            data = request["params"][0]["data"]
            if data == selector("slashCount"):
                return "0x" + "ff" * 32
            if data.startswith(task_of):
                # roundsRequested follows the 20 words of the configuration and the head's offset.
                return result[: 2 + 64 * 21] + "00" * 28 + "ffffffff" + result[2 + 64 * 22 :]
        return result

    wrong = lied_to(story, many).wrong
    assert wrong is not None
    assert (wrong.fact, wrong.expected) == ("the number of requested rounds", str(story.last))
    assert asked < 500


def test_a_chain_that_is_replaced_while_it_is_read_is_no_verdict(story: Story) -> None:
    head = hex(story.stage.block())
    times = 0

    def alter(request: dict[str, Any], result: Any) -> Any:
        nonlocal times
        if request["method"] == "eth_getBlockByNumber" and request["params"][0] == head:
            times += 1
            if times > 1:
                result["hash"] = OTHER_HASH
        return result

    with pytest.raises(ChainUnavailable, match="was replaced while it was read"):
        lied_to(story, alter)


def test_refusals_are_no_verdict(story: Story) -> None:
    def alter(request: dict[str, Any], result: Any) -> Any:
        if request["method"] == "eth_getLogs":
            raise AnswerWithError("query returned more than 10000 results\x1b[2J")
        return result

    with pytest.raises(RpcRefused, match="more than 10000 results·"):
        lied_to(story, alter)


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"null", b"[]", b"7", b"{}", b"<html>", b"\xff\xfe", b'{"result": 1}', b'{"id": 1}'),
        *(b'{"id": 1, "error": {}}', b'{"id": 1, "error": 5}', b'{"id": true, "result": "0x1"}'),
        b"[" * 200_000,
        b'{"id": 1, "result": ' + b"[" * 200_000 + b"]" * 200_000 + b"}",
        b'{"id": 1, "result": ' + b"9" * 100_000 + b"}",
    ],
    ids=lambda body: str(body[:24]),
)
def test_what_is_no_answer_is_no_verdict(body: bytes) -> None:
    with endpoint(lambda request: (200, body)) as url:
        rpc = JsonRpc(url)
        with pytest.raises(ChainUnavailable) as refusal:
            rpc.ask("eth_chainId")
        assert str(refusal.value).isprintable()
        with pytest.raises(ChainUnavailable):
            rpc.ask_all([RpcRequest("eth_chainId", ())] * 2)


def test_an_answer_has_bounds_of_size_and_time() -> None:
    with endpoint(lambda request: (200, b" " * 5_000 + b"{}")) as url:
        with pytest.raises(ChainUnavailable, match="more than 4999 bytes"):
            JsonRpc(url, most_bytes=4_999).ask("eth_chainId")
        with pytest.raises(ChainUnavailable, match=r"took more than|timed out"):
            JsonRpc(url, timeout_s=1e-9).ask("eth_chainId")
