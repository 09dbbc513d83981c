"""Which account sends which call: the council's where the contracts ask for it, a relayer's for the rest."""

from dataclasses import dataclass
from typing import Literal

from orchestrator.domain.chain import Call, CouncilCall, TransactionLane

LaneName = Literal["council", "relayer"]


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
