"""A validator's machine: a plain install of the verify extra, with versions of pip's own choice."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("contracts", "tier_local", "tier_global", "orchestrator", "deploy")
NOT_NEEDED = ("torch", "web3", "sqlalchemy", "fastapi", "flwr", "nvflare")


def test_the_verifier_runs_after_a_plain_install(tmp_path: Path) -> None:
    source = tmp_path / "source"
    unwanted = shutil.ignore_patterns("node_modules", "__pycache__", "out", "cache")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, source / package, ignore=unwanted)
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, source / file)
    run([sys.executable, "-m", "venv", tmp_path / "venv"])
    bin_folder = tmp_path / "venv" / "bin"
    run([bin_folder / "pip", "install", "--quiet", f"{source}[verify]"])

    said = run([bin_folder / "collegium", "verify", "--help"])
    assert "--rpc-url" in said
    checked = run([bin_folder / "python", "-c", "import contracts.verify.cli, sys; print(*sys.modules)"])
    assert "contracts.verify.rounds" in checked.split()
    installed = {path.name for path in (tmp_path / "venv").glob("lib/python*/site-packages/*")}
    assert installed.isdisjoint(NOT_NEEDED)


def run(command: list[object]) -> str:
    # An import path or a user's pip settings for this environment must not leak into the other.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        env=environment,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
