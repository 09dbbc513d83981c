"""What the council fixes for a task at its creation, as the chain holds it."""

from dataclasses import dataclass, fields

from contracts.settlement import Rules


@dataclass(frozen=True)
class TaskConfig:
    """The fields of ``TaskConfig`` in ``evm/src/Types.sol``, in its order; what they mean is said there."""

    spec_digest: str
    genesis_digest: str
    rounds: int
    proposers: int
    voters: int
    min_proposals: int
    min_reveals: int
    min_scorers: int
    attestation_quorum_bps: int
    proposer_share_bps: int
    absent_bps: int
    unrevealed_bps: int
    invalid_bps: int
    acceptance_threshold_micronats: int
    closeness_range_micronats: int
    training_s: int
    committing_s: int
    revealing_s: int
    attesting_s: int
    stake_cap: int

    @property
    def rules(self) -> Rules:
        """The part of it that settles rounds."""
        return Rules(**{field.name: getattr(self, field.name) for field in fields(Rules)})

    @property
    def longest_round_s(self) -> int:
        """How long its phases last together when every one runs to its deadline.

        A request waits for its draw as long as Training lasts at most.
        """
        return 2 * self.training_s + self.committing_s + self.revealing_s + self.attesting_s
