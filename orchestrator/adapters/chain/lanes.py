"""Which account sends which call: the council's where the contracts ask for it, a relayer's for the rest."""

from dataclasses import dataclass
from typing import Literal

from orchestrator.domain.chain import Call, CouncilCall, TransactionLane

LaneName = Literal["council", "relayer"]


@dataclass(frozen=True)
class LaneTerms:
    """What an account's transactions may cost."""

    most_fee_wei: int = 500 * 10**9
    """The most that one offers for a unit of gas."""
    most_batch_gas: int = 8_000_000
    """The gas by estimate that the messages in one batch may use."""


USUAL_TERMS = LaneTerms()


def lane_name(call: Call) -> LaneName:
    """The lane that sends ``call``."""
    return "council" if isinstance(call, CouncilCall) else "relayer"


@dataclass(frozen=True)
class TransactionLanes:
    """The control plane's sending accounts."""

    council: TransactionLane
    relayer: TransactionLane

    def named(self, name: LaneName) -> TransactionLane:
        """The lane of that name."""
        return self.council if name == "council" else self.relayer

    def for_call(self, call: Call) -> TransactionLane:
        """The lane that sends ``call``."""
        return self.named(lane_name(call))
