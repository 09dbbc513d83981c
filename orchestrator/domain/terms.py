"""The bounds of a task's terms, as the contract sets them: a wrong order is refused before it costs gas."""

from contracts.digests import ZERO_DIGEST
from contracts.messages import MAX_PROPOSERS, SCORE_LIMIT_MICRONATS
from contracts.task_config import TaskConfig
from orchestrator.domain.chain import StakeTerms
from orchestrator.domain.errors import WrongTerms

MAX_VOTERS = 64
_BASIS_POINTS = 10_000
_HALF_BASIS_POINTS = 5_000


def check_terms(config: TaskConfig) -> None:
    """Refuse terms that ``createTask`` would refuse. Raises WrongTerms; the message names the rule."""
    rules = (
        (ZERO_DIGEST not in (config.spec_digest, config.genesis_digest), "digests are not zero"),
        (1 <= config.rounds < 1 << 32, "a task has at least one round"),
        (1 <= config.proposers <= MAX_PROPOSERS, f"1 to {MAX_PROPOSERS} proposers"),
        (1 <= config.voters <= MAX_VOTERS, f"1 to {MAX_VOTERS} voters"),
        (1 <= config.min_proposals <= config.proposers, "1 ≤ min_proposals ≤ proposers"),
        (
            1 <= config.min_scorers <= config.min_reveals <= config.voters,
            "1 ≤ min_scorers ≤ min_reveals ≤ voters",
        ),
        (
            _HALF_BASIS_POINTS <= config.attestation_quorum_bps < _BASIS_POINTS,
            "5000 ≤ attestation_quorum_bps < 10000",
        ),
        (0 <= config.proposer_share_bps <= _BASIS_POINTS, "0 ≤ proposer_share_bps ≤ 10000"),
        (
            0 <= config.absent_bps <= config.unrevealed_bps <= config.invalid_bps <= _BASIS_POINTS,
            "0 ≤ absent_bps ≤ unrevealed_bps ≤ invalid_bps ≤ 10000",
        ),
        (
            abs(config.acceptance_threshold_micronats) <= SCORE_LIMIT_MICRONATS,
            f"acceptance_threshold_micronats within ±{SCORE_LIMIT_MICRONATS}",
        ),
        (0 <= config.closeness_range_micronats < 1 << 32, "closeness_range_micronats is a uint32"),
        (
            all(
                1 <= duration_s < 1 << 32
                for duration_s in (
                    config.training_s,
                    config.committing_s,
                    config.revealing_s,
                    config.attesting_s,
                )
            ),
            "every phase lasts at least a second",
        ),
        (1 <= config.stake_cap < 1 << 96, "the stake cap is positive and below 2^96"),
    )
    for holds, rule in rules:
        if not holds:
            raise WrongTerms(f"the task's terms break a rule: {rule}")


def check_durations(config: TaskConfig, terms: StakeTerms) -> None:
    """Refuse rounds that outlast an exit: a stake that leaves as one begins must still bear its slashes.

    Raises:
        WrongTerms: the message gives the sums.
    """
    needed_s = config.longest_round_s + terms.appeal_s
    if needed_s > terms.unbonding_s:
        raise WrongTerms(
            f"the wait for the draw, the phases and the appeal window last {needed_s} s together, "
            f"and stakes leave within {terms.unbonding_s} s"
        )
