"""The committed artifacts are what the sources compile to, and load as promised."""

import re
import subprocess
from pathlib import Path
from typing import get_args

import pytest

from contracts import abi

PROJECT = Path(abi.__file__).parent / "evm"
ARTIFACTS = PROJECT / "artifacts"
LIBRARY = "0x" + "ab" * 20
RUNTIME_LIMIT_BYTES = 24_576
"""EIP-170; creation code, which is measured here, is a little longer than what it deploys."""


def test_committed_artifacts_are_what_the_sources_compile_to(tmp_path: Path) -> None:
    done = subprocess.run(
        ["node", "script/artifacts.mjs", "--out", str(tmp_path)],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    compiled = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    committed = {file.name: file.read_bytes() for file in ARTIFACTS.glob("*.json")}
    stale = sorted(name for name in compiled | committed if compiled.get(name) != committed.get(name))
    assert stale == [], "run `npm run artifacts` in contracts/evm and commit what it writes"


@pytest.mark.parametrize("name", get_args(abi.ContractName))
def test_every_contract_loads(name: abi.ContractName) -> None:
    artifact = abi.load(name)
    assert artifact.name == name
    linked = artifact.link({reference.library: LIBRARY for reference in artifact.link_references})
    assert linked.link_references == ()
    code = bytes.fromhex(linked.bytecode.removeprefix("0x"))
    assert 0 < len(code) < RUNTIME_LIMIT_BYTES


def test_linking_replaces_placeholders_by_the_address_and_nothing_else() -> None:
    rounds = abi.load("Rounds")
    (reference,) = rounds.link_references
    assert reference.library == "Settlement"
    linked = rounds.link({"Settlement": LIBRARY.upper().replace("0X", "0x")})
    assert re.sub(r"__\$[0-9a-f]{34}\$__", LIBRARY[2:], rounds.bytecode) == linked.bytecode
    assert linked.bytecode.count(LIBRARY[2:]) == len(reference.offsets_bytes)


@pytest.mark.parametrize("libraries", [{}, {"Other": LIBRARY}, {"Settlement": LIBRARY, "Other": LIBRARY}])
def test_linking_wants_exactly_the_libraries(libraries: dict[str, str]) -> None:
    with pytest.raises(abi.WrongLibraries, match="Settlement"):
        abi.load("Rounds").link(libraries)


@pytest.mark.parametrize("address", ["", "0x", "0x" + "ab" * 19, "0x" + "zz" * 20])
def test_linking_refuses_what_is_no_address(address: str) -> None:
    with pytest.raises(abi.WrongLibraries, match="address"):
        abi.load("Rounds").link({"Settlement": address})


def test_an_unknown_contract_is_missing() -> None:
    with pytest.raises(abi.ArtifactMissing, match="Nothing"):
        abi.load("Nothing")


def test_the_rounds_contract_names_every_refusal() -> None:
    errors = {entry["name"] for entry in abi.load("Rounds").abi if entry["type"] == "error"}
    assert {
        "WrongPhase",
        "WrongContext",
        "WrongParent",
        "NotDrawn",
        "AlreadySent",
        "WrongSignature",
    } <= errors
