"""Importing what sends transactions: the recursion limit stays as Python has it."""

import subprocess
import sys

import pytest

PROCESSES = (
    "orchestrator.app",
    "orchestrator.worker",
    "orchestrator.adapters.chain.reader",
    "orchestrator.adapters.chain.witness",
    "tier_global.client_app",
    "tier_global.server_app",
    "contracts.verify.cli",
)


@pytest.mark.parametrize("module", PROCESSES)
def test_no_process_has_a_raised_recursion_limit(module: str) -> None:
    script = f"import {module}, sys; print(sys.getrecursionlimit())"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert int(done.stdout) == 1000
