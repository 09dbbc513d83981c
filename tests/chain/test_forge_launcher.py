"""Our launcher of forge ends as forge ends: the package's own says that all is well, whatever forge finds."""

import subprocess
from pathlib import Path

import pytest

EVM = Path(__file__).parents[2] / "contracts" / "evm"


@pytest.mark.parametrize(("source", "is_well"), [("contract A {}\n", True), ("contract  A{ }", False)])
def test_what_forge_refuses_fails(tmp_path: Path, source: str, is_well: bool) -> None:
    file = tmp_path / "A.sol"
    file.write_text(source)
    command = ["node", "script/forge.mjs", "fmt", "--check", str(file)]
    ended = subprocess.run(command, cwd=EVM, capture_output=True, timeout=60, check=False)
    assert (ended.returncode == 0) is is_well


def test_what_forge_does_not_know_fails() -> None:
    command = ["node", "script/forge.mjs", "no-such-command"]
    assert subprocess.run(command, cwd=EVM, capture_output=True, timeout=60, check=False).returncode != 0
