"""The states of a round."""

from enum import IntEnum


class Phase(IntEnum):
    """The states of a round, numbered as in Solidity (``evm/src/Types.sol``)."""

    NONE = 0
    REQUESTED = 1
    TRAINING = 2
    COMMITTING = 3
    REVEALING = 4
    ATTESTING = 5
    FINAL = 6
    REJECTED = 7
    ABORTED = 8

    @property
    def label(self) -> str:
        """The phase's name in APIs, logs and reports: lower case."""
        return self.name.lower()

    @property
    def closed(self) -> bool:
        """Whether the round is over."""
        return self >= Phase.FINAL
