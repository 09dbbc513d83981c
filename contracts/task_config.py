"""What the council fixes for a task at its creation, as the chain holds it."""

from dataclasses import dataclass

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
        return Rules(
            rounds=self.rounds,
            proposers=self.proposers,
            voters=self.voters,
            min_proposals=self.min_proposals,
            min_reveals=self.min_reveals,
            min_scorers=self.min_scorers,
            attestation_quorum_bps=self.attestation_quorum_bps,
            proposer_share_bps=self.proposer_share_bps,
            absent_bps=self.absent_bps,
            unrevealed_bps=self.unrevealed_bps,
            invalid_bps=self.invalid_bps,
            acceptance_threshold_micronats=self.acceptance_threshold_micronats,
            closeness_range_micronats=self.closeness_range_micronats,
            stake_cap=self.stake_cap,
        )

    @property
    def longest_round_s(self) -> int:
        """How long its phases last together when every one runs to its deadline."""
        return self.training_s + self.committing_s + self.revealing_s + self.attesting_s
