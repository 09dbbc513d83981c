"""``collegium verify``: what it prints, how it exits, and what it needs."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from typer.testing import CliRunner

from contracts.verify import checks
from contracts.verify.cli import app
from tests.chain.story import Story
from tests.chain.tampering import tampering_proxy
from tests.chain.test_verify import changed, flip_one_byte
from tests.chain.test_verify_endpoint import endpoint

ROOT = Path(__file__).parents[2]
FORBIDDEN_MODULES = (
    "torch",
    "sqlalchemy",
    "flwr",
    "nvflare",
    "web3",
    "fastapi",
    "orchestrator",
    "tier_global",
)


@pytest.fixture
def options(story: Story, tmp_path: Path) -> Callable[..., list[str]]:
    deployment = tmp_path / "deployment.json"
    deployment.write_bytes(story.stage.deployment.to_json())

    def make(*more: str, **changes: object) -> list[str]:
        values = {
            "task": story.task,
            "rpc-url": story.stage.anvil.rpc_url,
            "deployment": deployment,
            "artifacts": story.stage.artifacts,
        } | {name.replace("_", "-"): value for name, value in changes.items()}
        return [part for name, value in values.items() for part in (f"--{name}", str(value))] + list(more)

    return make


@pytest.fixture
def command(options: Callable[..., list[str]]) -> Callable[..., Any]:
    return lambda *more, **changes: CliRunner().invoke(app, options(*more, **changes))


def test_it_says_ok(story: Story, command: Callable[..., Any]) -> None:
    result = command()
    assert result.exit_code == 0, result.output
    assert "facts agree" in result.stdout
    assert "could not be checked" not in result.stdout
    envelope = json.loads(command("--json").stdout)
    assert envelope["ok"] is True
    assert envelope["data"]["facts_unchecked"] == 0
    paused = envelope["data"]["rounds"][story.paused - 1]
    assert (paused["phase"], paused["was_paused"]) == ("aborted", True)


def test_it_counts_what_could_not_be_checked(story: Story, command: Callable[..., Any]) -> None:
    def forget(request: dict[str, Any], result: Any) -> Any:
        block = hex(story.stage.view(story.task, story.final).seed_block)
        is_asked = request["method"] == "eth_getBlockByNumber" and request["params"][0] == block
        return None if is_asked else result

    with tampering_proxy(story.stage.anvil.rpc_url, forget) as url:
        result = command(rpc_url=url)
    assert result.exit_code == 0
    assert "facts agree, 1 could not be checked" in result.stdout
    assert "not checked: round 1: the endpoint no longer serves block" in result.stdout


def test_it_names_the_wrong_fact(story: Story, command: Callable[..., Any]) -> None:
    proposal = story.stage.view(story.task, story.final).proposals[0]
    path = story.stage.path(proposal.adapter_digest)
    with changed(path, flip_one_byte(path)):
        words, result = command(), command("--json")
    assert (words.exit_code, result.exit_code) == (1, 1)
    assert f"WRONG: round 1: the digest of the accepted adapter of {proposal.node}" in words.stdout
    envelope = json.loads(result.stdout)
    assert envelope["ok"] is False
    assert envelope["data"]["wrong"]["node"] == proposal.node
    assert envelope["error"]["code"] == "wrong_fact"


def test_bad_input_is_no_verdict(command: Callable[..., Any], tmp_path: Path) -> None:
    not_text, empty, lines = tmp_path / "latin", tmp_path / "empty", tmp_path / "lines"
    not_text.write_bytes(b"\xff\xfe token")
    empty.write_bytes(b"\n")
    lines.write_bytes(b"token\nX-Other: header")
    for result in (
        command(task=9),
        command(artifacts=tmp_path / "nothing"),
        command(artifacts="http://["),
        command(artifacts="http://127.0.0.1:1"),
        command(rpc_url="http://["),
        command(rpc_url="http://127.0.0.1:1"),
        command(deployment=tmp_path / "nothing"),
        command(deployment=tmp_path),
        command(deployment=not_text),
        command(deployment="/dev/zero"),
        command(token_file=not_text),
        command(token_file=empty),
        command(token_file=lines),
        command(token_file=tmp_path / "nothing"),
    ):
        assert result.exit_code == 2, result.output
        assert "no verdict: " in result.stderr
        assert "Traceback" not in result.output
    assert json.loads(command("--json", task=9).stdout)["error"]["code"] == "no_verdict"
    for usage in (command(task=0), command(task="x"), command(timeout_s=0), command("--nonsense")):
        assert usage.exit_code == 2


def test_an_endpoint_that_answers_null_is_no_verdict(story: Story, command: Callable[..., Any]) -> None:
    for method in ("eth_call", "eth_getLogs", "eth_chainId", "eth_getCode"):

        def nothing(request: dict[str, Any], result: Any, method: str = method) -> Any:
            return None if request["method"] == method else result

        with tampering_proxy(story.stage.anvil.rpc_url, nothing) as url:
            result = command(rpc_url=url)
        assert result.exit_code == 2, result.output
        assert "no verdict: the RPC endpoint gave no usable" in result.stderr


def test_a_verification_that_takes_too_long_exits_with_4(command: Callable[..., Any]) -> None:
    hanging: list[bool] = []
    release = Event()

    def never(body: bytes) -> tuple[int, bytes]:
        hanging.append(True)
        release.wait(30)
        return 200, b"{}"

    with endpoint(never) as url:
        result = command("--json", rpc_url=url, timeout_s=1)
        release.set()
    assert hanging
    assert result.exit_code == 4, result.output
    assert json.loads(result.stdout)["error"]["code"] == "timed_out"
    assert "more than 1 s" in result.stderr


@pytest.mark.parametrize(
    "crash", [RuntimeError("a defect"), KeyboardInterrupt(), RecursionError(), MemoryError()]
)
def test_a_crash_does_not_accuse_anybody(
    crash: BaseException, command: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise crash

    monkeypatch.setattr(checks, "verify_task", fail)
    result = command("--json")
    assert result.exit_code == 2
    assert json.loads(result.stdout)["error"]["code"] == "no_verdict"


# As a process


def run(program: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


LOADED = f"""
import runpy, sys
try:
    runpy.run_module("contracts.verify", run_name="__main__", alter_sys=True)
finally:
    loaded = sorted(m for m in {FORBIDDEN_MODULES!r} if m in sys.modules)
    print("loaded:", loaded, file=sys.stderr)
"""


def test_it_needs_no_part_of_the_hub_or_the_tiers(options: Callable[..., list[str]]) -> None:
    for arguments, sentence in ((["--help"], "Usage"), (options(), "facts agree")):
        done = run(LOADED, *arguments)
        assert done.returncode == 0, done.stderr
        assert sentence in done.stdout
        assert "loaded: []" in done.stderr


def test_deeply_nested_answers_do_not_end_the_process(options: Callable[..., list[str]]) -> None:
    """Libraries raise Python's recursion limit so far that such an answer used to overflow the stack."""
    with endpoint(lambda body: (200, b'{"id": 1, "result": ' + b"[" * 200_000)) as url:
        program = "import sys; sys.setrecursionlimit(10**6); from contracts.verify.cli import app; app()"
        done = run(program, *options(rpc_url=url))
    assert done.returncode == 2, (done.returncode, done.stderr)
    assert "no verdict" in done.stderr


def test_its_table_fits_a_terminal(story: Story, command: Callable[..., Any]) -> None:
    rows = command().stdout.splitlines()
    assert max(map(len, rows)) <= 80
    headings = ["round", "phase", "parent", "accepted", "votes", "faults", "aggregate", "paid"]
    assert headings in [row.split() for row in rows]
    (paused,) = [row for row in rows if "paused" in row]
    assert paused.split()[0] == str(story.paused)
