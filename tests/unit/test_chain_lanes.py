"""Which lane a call goes by, and that importing the chain adapter costs nothing."""

import subprocess
import sys

import pytest

from contracts.digests import ZERO_DIGEST
from contracts.messages import Reveal
from orchestrator.adapters.chain.lanes import lane_name
from orchestrator.domain.chain import (
    AdmitNode,
    Advance,
    AnchorEpoch,
    Call,
    CancelTask,
    Claim,
    ExecuteSlash,
    FundTask,
    PauseTask,
    Refund,
    RelayReveal,
    RequestRound,
    UnpauseTask,
    WaiveSlash,
    Withdraw,
)

NODE = "0x" + "11" * 20
REVEAL = Reveal(node=NODE, task=1, round=1, context="0x" + "00" * 16, scores_micronats=(0,), salt=ZERO_DIGEST)


@pytest.mark.parametrize(
    "call",
    [
        AdmitNode(NODE, NODE, 1),
        FundTask(1, 1),
        PauseTask(1),
        UnpauseTask(1),
        CancelTask(1),
        WaiveSlash(0),
        AnchorEpoch(ZERO_DIGEST, 1, 2),
    ],
)
def test_the_council_sends_what_only_the_council_may_or_pays(call: Call) -> None:
    assert lane_name(call) == "council"


@pytest.mark.parametrize(
    "call",
    [
        Advance(1),
        RequestRound(1),
        Claim(NODE),
        Withdraw(NODE),
        ExecuteSlash(0),
        Refund(1, NODE),
        RelayReveal(REVEAL),
    ],
)
def test_the_relayer_sends_what_anyone_may(call: Call) -> None:
    assert lane_name(call) == "relayer"


def test_importing_the_adapter_does_not_load_web3() -> None:
    code = "import sys, orchestrator.adapters.chain; sys.exit('web3' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
