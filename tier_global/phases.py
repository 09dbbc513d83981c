"""The states of a round as the chain numbers them, and the stages of the work that nodes do in them."""

from enum import IntEnum, StrEnum


class Phase(IntEnum):
    """The states of a round, numbered as in Solidity."""

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
        """The phase's name in the REST API and in logs: lower case."""
        return self.name.lower()

    @property
    def closed(self) -> bool:
        """Whether the round is over."""
        return self >= Phase.FINAL


class Stage(StrEnum):
    """What a node can be asked for in a round."""

    IDENTIFY = "identify"
    TRAIN = "train"
    COMMIT = "commit"
    REVEAL = "reveal"
    ATTEST = "attest"


PHASE_OF: dict[Stage, Phase] = {
    Stage.TRAIN: Phase.TRAINING,
    Stage.COMMIT: Phase.COMMITTING,
    Stage.REVEAL: Phase.REVEALING,
    Stage.ATTEST: Phase.ATTESTING,
}
"""The phase in which a stage's message is accepted on chain."""
