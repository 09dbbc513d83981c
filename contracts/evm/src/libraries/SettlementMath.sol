// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Attendance, BASIS_POINTS, Fault, INVALID_SCORE, Standing, TaskConfig, UNAVAILABLE_SCORE} from "../Types.sol";
import {Sorting} from "./Sorting.sol";

/// The arithmetic of a round: draw, tally, attestation, rewards and faults. Pure; every division rounds down. The Python
/// reference (`contracts/settlement.py`) gives the same results.
library SettlementMath {
    struct Candidate {
        uint64 group;
        bytes32 adapterDigest;
    }

    /// `scores` follow the candidates, and are empty for a voter that has not revealed; only those who revealed can
    /// earn.
    struct Voter {
        uint64 group;
        uint256 stake;
        int32[] scores;
        bool earns;
    }

    struct Verdict {
        Standing standing;
        /// 0 where there is none.
        int32 medianMicronats;
        /// Two thirds of the stake that may score it call it INVALID.
        bool provenInvalid;
    }

    /// What a drawn node owed by the end of its round, and what it gave.
    struct Duties {
        bool owesProposal;
        bool owesCommit;
        bool owesReveal;
        bool proposed;
        bool committed;
        bool revealed;
        bool provenInvalid;
    }

    /// `aggregateDigest` is 0 for a voter that has not attested.
    struct Statement {
        uint256 stake;
        bytes32 aggregateDigest;
        int32 scoreMicronats;
    }

    /// Draws `count` of the indices 0 … `size` − 1, without repetition: for i < count, swap i with
    /// i + keccak256(abi.encode(seed, role, i)) mod (size − i), and take the first `count`. `size` ≤ 256.
    function draw(bytes32 seed, uint256 role, uint256 size, uint256 count)
        internal
        pure
        returns (uint8[] memory drawn)
    {
        uint8[] memory indices = new uint8[](size);
        for (uint256 i; i < size; ++i) {
            // forge-lint: disable-next-line(unsafe-typecast) size ≤ 256
            indices[i] = uint8(i);
        }
        drawn = new uint8[](count);
        for (uint256 i; i < count; ++i) {
            uint256 j = i + uint256(keccak256(abi.encode(seed, role, i))) % (size - i);
            drawn[i] = indices[j];
            indices[j] = indices[i];
        }
    }

    /// The first score, ascending, whose cumulated stake doubled reaches the total stake. At least one score, at most
    /// 256, stakes below 2^96.
    function weightedMedian(int32[] memory scores, uint256[] memory stakes) internal pure returns (int32) {
        uint256 total;
        uint256[] memory keys = new uint256[](scores.length);
        for (uint256 i; i < scores.length; ++i) {
            keys[i] = (_ascendingKey(scores[i]) << 8) | i;
            total += stakes[i];
        }
        keys = Sorting.ascending(keys);
        uint256 middle;
        uint256 cumulated = stakes[keys[0] & 0xff];
        while (2 * cumulated < total) {
            ++middle;
            cumulated += stakes[keys[middle] & 0xff];
        }
        return scores[keys[middle] & 0xff];
    }

    /// Judges every candidate by the scores of the voters of other groups.
    ///
    /// A candidate has a median when at least `minScorers` gave it a number; it is accepted when that median is above
    /// the threshold and the sentinels' stake is less than a third of the stake that may score it (revealed or not).
    function tally(Candidate[] memory candidates, Voter[] memory voters, TaskConfig memory config)
        internal
        pure
        returns (Verdict[] memory verdicts)
    {
        verdicts = new Verdict[](candidates.length);
        for (uint256 c; c < candidates.length; ++c) {
            verdicts[c] = _judge(candidates[c].group, c, voters, config);
        }
    }

    /// The digest on which more than `quorumBps` of the stake agrees, and the weighted median of the scores stated with
    /// it; 0 and 0 when there is none. `quorumBps` ≥ 5000, so at most one digest can win.
    function attested(Statement[] memory statements, uint256 quorumBps)
        internal
        pure
        returns (bytes32 digest, int32 medianMicronats)
    {
        bytes32 candidate = _majorityCandidate(statements);
        if (candidate == 0) return (0, 0);
        uint256 total;
        for (uint256 i; i < statements.length; ++i) {
            total += statements[i].stake;
        }
        (int32[] memory scores, uint256[] memory stakes, uint256 agreeing) = _statementsOn(candidate, statements);
        if (agreeing * BASIS_POINTS > quorumBps * total) return (candidate, weightedMedian(scores, stakes));
    }

    /// What each candidate earns of the proposers' `share`.
    ///
    /// Accepted candidates with equal digests are copies and count once, by the least of their medians. With a positive
    /// median somewhere, half of `share` is split equally and the rest in proportion to positive medians; otherwise all
    /// is split equally. Copies split their one share equally.
    function proposerRewards(uint256 share, Candidate[] memory candidates, Verdict[] memory verdicts)
        internal
        pure
        returns (uint256[] memory amounts)
    {
        uint256 size = candidates.length;
        amounts = new uint256[](size);
        uint256[] memory copies = new uint256[](size);
        uint256[] memory merits = new uint256[](size);
        uint256 groups;
        uint256 totalMerit;
        for (uint256 c; c < size; ++c) {
            if (verdicts[c].standing != Standing.Accepted) continue;
            bool first;
            (copies[c], merits[c], first) = _copiesOf(c, candidates, verdicts);
            if (first) {
                ++groups;
                totalMerit += merits[c];
            }
        }
        uint256 equalShare = totalMerit == 0 ? share : share / 2;
        for (uint256 c; c < size; ++c) {
            if (copies[c] == 0) continue;
            uint256 amount = equalShare / groups;
            if (totalMerit != 0) amount += (share - equalShare) * merits[c] / totalMerit;
            amounts[c] = amount / copies[c];
        }
    }

    /// What each voter earns of the voters' `share`: half by stake, the rest by stake × closeness; see `closeness`.
    function voterRewards(
        uint256 share,
        uint256 rangeMicronats,
        Candidate[] memory candidates,
        Voter[] memory voters,
        Verdict[] memory verdicts
    ) internal pure returns (uint256[] memory amounts) {
        amounts = stakeRewards(share / 2, voters);
        uint256[] memory weights = new uint256[](voters.length);
        for (uint256 v; v < voters.length; ++v) {
            if (!voters[v].earns) continue;
            weights[v] = voters[v].stake * closeness(voters[v], rangeMicronats, candidates, verdicts);
        }
        uint256[] memory byCloseness = _splitDown(share - share / 2, weights);
        for (uint256 v; v < voters.length; ++v) {
            amounts[v] += byCloseness[v];
        }
    }

    /// Splits `share` among those who earn, by stake.
    function stakeRewards(uint256 share, Voter[] memory voters) internal pure returns (uint256[] memory) {
        uint256[] memory weights = new uint256[](voters.length);
        for (uint256 v; v < voters.length; ++v) {
            if (voters[v].earns) weights[v] = voters[v].stake;
        }
        return _splitDown(share, weights);
    }

    /// How close a voter's scores came to the medians, 0 … `rangeMicronats`: the mean of max(0, range − |score − median|)
    /// over the candidates of other groups that have a median, 0 if there are none. INVALID counts as the range where two
    /// thirds agree, else as 0; UNAVAILABLE as 0.
    function closeness(
        Voter memory voter,
        uint256 rangeMicronats,
        Candidate[] memory candidates,
        Verdict[] memory verdicts
    ) internal pure returns (uint256) {
        uint256 sum;
        uint256 count;
        for (uint256 c; c < candidates.length; ++c) {
            if (candidates[c].group == voter.group || !_hasMedian(verdicts[c])) continue;
            ++count;
            sum += _closenessToOne(voter.scores[c], verdicts[c], rangeMicronats);
        }
        return count == 0 ? 0 : sum / count;
    }

    /// What a node's conduct comes to: whether it attended, and the gravest of its faults.
    function judge(Duties memory duties) internal pure returns (Attendance attendance, Fault fault) {
        bool absent = (duties.owesProposal && !duties.proposed) || (duties.owesCommit && !duties.committed);
        if (absent) attendance = Attendance.Absent;
        else if (duties.owesProposal || duties.owesCommit) attendance = Attendance.Attended;

        if (duties.provenInvalid) fault = Fault.Invalid;
        else if (duties.owesReveal && !duties.revealed) fault = Fault.Unrevealed;
        else if (absent) fault = Fault.Absent;
    }

    /// What a fault costs of the stake that was frozen for the round.
    function slashOf(Fault fault, uint96 stake, TaskConfig memory config) internal pure returns (uint96) {
        uint256 bps;
        if (fault == Fault.Absent) bps = config.absentBps;
        else if (fault == Fault.Unrevealed) bps = config.unrevealedBps;
        else if (fault == Fault.Invalid) bps = config.invalidBps;
        // forge-lint: disable-next-line(unsafe-typecast) at most the stake
        return uint96(uint256(stake) * bps / BASIS_POINTS);
    }

    function _judge(uint64 group, uint256 c, Voter[] memory voters, TaskConfig memory config)
        private
        pure
        returns (Verdict memory verdict)
    {
        int32[] memory scores = new int32[](voters.length);
        uint256[] memory stakes = new uint256[](voters.length);
        uint256 scorers;
        uint256 allowedStake;
        uint256 invalidStake;
        uint256 unavailableStake;
        for (uint256 v; v < voters.length; ++v) {
            Voter memory voter = voters[v];
            if (voter.group == group) continue;
            allowedStake += voter.stake;
            if (voter.scores.length == 0) continue;
            int32 score = voter.scores[c];
            if (score == INVALID_SCORE) {
                invalidStake += voter.stake;
            } else if (score == UNAVAILABLE_SCORE) {
                unavailableStake += voter.stake;
            } else {
                (scores[scorers], stakes[scorers]) = (score, voter.stake);
                ++scorers;
            }
        }
        verdict.provenInvalid = invalidStake != 0 && 3 * invalidStake >= 2 * allowedStake;
        verdict.standing = Standing.Unscored;
        if (scorers < config.minScorers) return verdict;
        _truncate(scores, stakes, scorers);
        verdict.medianMicronats = weightedMedian(scores, stakes);
        bool accepted = verdict.medianMicronats > config.acceptanceThresholdMicronats
            && 3 * (invalidStake + unavailableStake) < allowedStake;
        verdict.standing = accepted ? Standing.Accepted : Standing.Refused;
    }

    function _hasMedian(Verdict memory verdict) private pure returns (bool) {
        return verdict.standing >= Standing.Refused;
    }

    /// The only digest that can have more than half of the stake, if any has (Boyer and Moore): what others say takes
    /// away from its lead, and what has more than half keeps one.
    function _majorityCandidate(Statement[] memory statements) private pure returns (bytes32 candidate) {
        uint256 lead;
        for (uint256 i; i < statements.length; ++i) {
            bytes32 digest = statements[i].aggregateDigest;
            uint256 stake = statements[i].stake;
            if (digest == 0) continue;
            if (digest == candidate) lead += stake;
            else if (stake <= lead) lead -= stake;
            else (candidate, lead) = (digest, stake - lead);
        }
    }

    function _statementsOn(bytes32 digest, Statement[] memory statements)
        private
        pure
        returns (int32[] memory scores, uint256[] memory stakes, uint256 agreeing)
    {
        scores = new int32[](statements.length);
        stakes = new uint256[](statements.length);
        uint256 count;
        for (uint256 i; i < statements.length; ++i) {
            if (statements[i].aggregateDigest != digest) continue;
            (scores[count], stakes[count]) = (statements[i].scoreMicronats, statements[i].stake);
            agreeing += statements[i].stake;
            ++count;
        }
        _truncate(scores, stakes, count);
    }

    /// Among accepted candidates with the digest of `c`: how many, the least positive part of their medians, and whether
    /// `c` is the first of them.
    function _copiesOf(uint256 c, Candidate[] memory candidates, Verdict[] memory verdicts)
        private
        pure
        returns (uint256 count, uint256 merit, bool first)
    {
        first = true;
        merit = type(uint256).max;
        for (uint256 other; other < candidates.length; ++other) {
            if (verdicts[other].standing != Standing.Accepted) continue;
            if (candidates[other].adapterDigest != candidates[c].adapterDigest) continue;
            ++count;
            if (other < c) first = false;
            uint256 positive = _positivePart(verdicts[other].medianMicronats);
            if (positive < merit) merit = positive;
        }
    }

    function _closenessToOne(int32 score, Verdict memory verdict, uint256 rangeMicronats)
        private
        pure
        returns (uint256)
    {
        if (score == INVALID_SCORE) return verdict.provenInvalid ? rangeMicronats : 0;
        if (score == UNAVAILABLE_SCORE) return 0;
        int256 difference = int256(score) - verdict.medianMicronats;
        uint256 distance = uint256(difference < 0 ? -difference : difference);
        return distance < rangeMicronats ? rangeMicronats - distance : 0;
    }

    function _splitDown(uint256 share, uint256[] memory weights) private pure returns (uint256[] memory amounts) {
        uint256 total;
        for (uint256 i; i < weights.length; ++i) {
            total += weights[i];
        }
        amounts = new uint256[](weights.length);
        if (total == 0) return amounts;
        for (uint256 i; i < weights.length; ++i) {
            amounts[i] = share * weights[i] / total;
        }
    }

    function _truncate(int32[] memory scores, uint256[] memory stakes, uint256 length) private pure {
        assembly ("memory-safe") {
            mstore(scores, length)
            mstore(stakes, length)
        }
    }

    function _positivePart(int32 value) private pure returns (uint256) {
        return value > 0 ? uint256(int256(value)) : 0;
    }

    /// Orders like `score`: flips the sign bit of two's complement.
    function _ascendingKey(int32 score) private pure returns (uint256) {
        return uint256(int256(score) - type(int32).min);
    }
}
