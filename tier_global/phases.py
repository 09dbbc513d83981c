"""The states of a round as the chain numbers them, and the stages of the work that nodes do in them."""

from enum import StrEnum

from contracts.phase import Phase


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
