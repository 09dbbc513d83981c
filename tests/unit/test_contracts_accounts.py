"""Accounts: the recursion limit stays as Python has it, and no signature raises what nobody expects."""

import itertools
import subprocess
import sys
from contextlib import suppress

import pytest
from eth_utils.address import is_address

from contracts.accounts import encode_defunct, recover_signer
from contracts.errors import InvalidMessage

PROCESSES = (
    "orchestrator.app",
    "orchestrator.worker",
    "tier_global.client_app",
    "tier_global.server_app",
    "contracts.verify.cli",
)
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
"""Of the curve's group."""
EDGES = (0, 1, ORDER // 2, ORDER - 1, ORDER, (1 << 256) - 1)


@pytest.mark.parametrize("module", PROCESSES)
def test_no_process_has_a_raised_recursion_limit(module: str) -> None:
    script = f"import {module}, sys; assert 'eth_account' in sys.modules; print(sys.getrecursionlimit())"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert int(done.stdout) == 1000


@pytest.mark.parametrize("v", [0, 1, 2, 26, 27, 28, 29, 35, 255])
def test_a_signature_gives_an_address_or_is_refused(v: int) -> None:
    for r, s in itertools.product(EDGES, EDGES):
        with suppress(InvalidMessage):
            assert is_address(recover_signer(encode_defunct(text="x"), f"0x{r:064x}{s:064x}{v:02x}"))


@pytest.mark.parametrize("signature", ["", "0x", "0x1b", "0x0", "nonsense", "é", "0x" + "11" * 1024])
def test_what_is_no_signature_is_refused(signature: str) -> None:
    with pytest.raises(InvalidMessage, match="cannot be read"):
        recover_signer(encode_defunct(text="x"), signature)
