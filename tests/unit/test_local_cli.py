"""Bad input on the command line: exit code 2 and one clear line, before anything heavy starts."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from contracts.digests import ZERO_DIGEST
from contracts.manifest import Manifest, TensorSpec
from contracts.task import TaskSpec
from tier_local.cli import main


def draft(**changes: Any) -> dict[str, Any]:
    return {
        "schema": "collegium.task/1",
        "name": "tiny",
        "base_model": {"source": "random-llama"},
        "adapter": {"rank": 1, "alpha": 1, "target_modules": ["q_proj"], "blocks": [0]},
        "data": {
            "prompt": "{text}=",
            "labels": ["a", "b"],
            "max_prompt_tokens": 9,
            "least_stratum_records": 1,
        },
        "training": {"steps": 1, "batch_records": 1, "learning_rate": 0.1, "warmup_steps": 0, "seed": 1},
        "aggregation": {"rule": "mean"},
    } | changes


@pytest.fixture
def spec_file(tmp_path: Path) -> Path:
    manifest = Manifest(tensors=(TensorSpec(name="t", dtype="F32", shape=(1,)),))
    spec = draft(
        base_model={"source": "random-llama", "digest": ZERO_DIGEST},
        manifest=manifest.model_dump(mode="json"),
        genesis_digest=ZERO_DIGEST,
    )
    TaskSpec.parse(json.dumps(spec).encode())
    file = tmp_path / "task.json"
    file.write_text(json.dumps(spec))
    return file


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs the command, expects bad input, gives the one line."""

    def run(*arguments: object) -> str:
        assert main([str(argument) for argument in arguments]) == 2
        output = capsys.readouterr()
        assert output.out == ""
        assert output.err.startswith("tier_local: ")
        assert output.err.count("\n") == 1
        return output.err

    return run


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "not JSON"),
        ("[]", "base_model: an object with a source is needed"),
        (json.dumps(draft(genesis_digest=ZERO_DIGEST)), "genesis_digest: genesis finds this out"),
        (
            json.dumps(draft(base_model={"source": "x", "digest": ZERO_DIGEST})),
            "digest: genesis finds this out",
        ),
        (json.dumps(draft(base_model={"source": "elsewhere"})), "'elsewhere' is not known"),
        (json.dumps(draft(aggregation="median")), "aggregation"),
        (json.dumps(draft(more=1)), "more"),
    ],
)
def test_a_wrong_draft(refused: Callable[..., str], tmp_path: Path, content: str, reason: str) -> None:
    file = tmp_path / "draft.json"
    file.write_text(content)
    error = refused("genesis", "--draft", file, "--model-cache", tmp_path / "m", "--out", tmp_path / "out")
    assert reason in error


def test_a_missing_file_is_named(refused: Callable[..., str], spec_file: Path, tmp_path: Path) -> None:
    absent = tmp_path / "absent"
    rest = ("--network", absent, "--parent", absent, "--out", tmp_path / "out")
    assert f"the task spec {absent}" in refused("train", "--spec", absent, *rest)
    assert f"the network file {absent}" in refused("train", "--spec", spec_file, *rest)


@pytest.mark.parametrize(
    "candidates",
    [["all"], ["all="], ["=x"], ["a b=x"], ["parent=x"], ["all=x", "all=y"], ["../all=x"]],
)
def test_wrong_candidate_names(
    refused: Callable[..., str], spec_file: Path, tmp_path: Path, candidates: list[str]
) -> None:
    options = [option for candidate in candidates for option in ("--candidate", candidate)]
    files = ("--spec", spec_file, "--network", tmp_path, "--parent", tmp_path, "--out", tmp_path)
    assert repr(candidates[-1]) in refused("evaluate", *files, *options)


def test_nothing_to_test(refused: Callable[..., str], spec_file: Path, tmp_path: Path) -> None:
    files = ("--spec", spec_file, "--records", tmp_path, "--model-cache", tmp_path, "--out", tmp_path)
    assert "nothing to test" in refused("test", *files)
    assert "'base'" in refused("test", *files, "--base", "base", "--adapter", "base=x")


def test_an_adapter_that_is_no_safetensors_file(
    refused: Callable[..., str], spec_file: Path, tmp_path: Path
) -> None:
    adapter = tmp_path / "adapter"
    adapter.write_bytes(b"\x80\x04pickle")
    files = ("--spec", spec_file, "--adapter", adapter, "--model-cache", tmp_path, "--out", tmp_path / "out")
    assert "not a safetensors file" in refused("export", *files)


def test_the_commands_own_process_loads_no_torch() -> None:
    script = "import sys, tier_local.cli, tier_local.job; print(*{'torch', 'nvflare'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_the_federations_server_loads_no_torch() -> None:
    script = "import sys, tier_local.controller; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
