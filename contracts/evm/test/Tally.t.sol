// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {SettlementMath} from "../src/libraries/SettlementMath.sol";
import {INVALID_SCORE, Standing, TaskConfig, UNAVAILABLE_SCORE} from "../src/Types.sol";
import {bound, vm} from "./helpers/Vm.sol";

contract TallyTest {
    // ---------------------------------------------------------------------------------------------------- median

    /// The least score at or below which half of the stake lies.
    function testFuzz_MedianByItsDefinition(int32[] memory scores, uint96[64] memory stakes) public pure {
        vm.assume(scores.length != 0);
        uint256 count = scores.length < 64 ? scores.length : 64;
        int32[] memory kept = new int32[](count);
        uint256[] memory weights = new uint256[](count);
        uint256 total;
        for (uint256 i; i < count; ++i) {
            // Ties are frequent.
            kept[i] = scores[i] % 20;
            weights[i] = bound(stakes[i], 1, type(uint96).max);
            total += weights[i];
        }
        int32 median = SettlementMath.weightedMedian(kept, weights);

        uint256 atOrBelow;
        uint256 below;
        for (uint256 i; i < count; ++i) {
            if (kept[i] <= median) atOrBelow += weights[i];
            if (kept[i] < median) below += weights[i];
        }
        vm.assertTrue(2 * atOrBelow >= total);
        vm.assertTrue(2 * below < total);
    }

    function testFuzz_MedianOfExtremes(int32 low, int32 high, uint96 lowStake, uint96 highStake) public pure {
        if (low > high) (low, high) = (high, low);
        vm.assume(lowStake != 0 && highStake != 0);
        int32[] memory scores = new int32[](2);
        uint256[] memory stakes = new uint256[](2);
        (scores[0], scores[1]) = (high, low);
        (stakes[0], stakes[1]) = (highStake, lowStake);
        vm.assertEq(SettlementMath.weightedMedian(scores, stakes), lowStake >= highStake ? low : high);
    }

    // --------------------------------------------------------------------------------------------------- verdicts

    function test_OwnGroupAndSentinelsAreDropped() public pure {
        SettlementMath.Voter[] memory voters = new SettlementMath.Voter[](4);
        voters[0] = _voter(1, 900, 8_000_000);
        voters[1] = _voter(2, 10, 5);
        voters[2] = _voter(3, 10, 7);
        voters[3] = _voter(4, 9, UNAVAILABLE_SCORE);
        SettlementMath.Verdict memory verdict = _judge(1, voters);
        vm.assertTrue(_hasMedian(verdict));
        vm.assertEq(verdict.medianMicronats, 5);
        // 9 of 29 is less than a third.
        vm.assertTrue(_accepted(verdict));
    }

    function test_AThirdOfSentinelsBlocks() public pure {
        SettlementMath.Voter[] memory voters = new SettlementMath.Voter[](4);
        voters[0] = _voter(2, 10, 5);
        voters[1] = _voter(3, 10, 5);
        voters[2] = _voter(4, 4, UNAVAILABLE_SCORE);
        voters[3] = _voter(5, 6, INVALID_SCORE);
        SettlementMath.Verdict memory verdict = _judge(1, voters);
        vm.assertTrue(_hasMedian(verdict));
        vm.assertFalse(_accepted(verdict));
        vm.assertFalse(verdict.provenInvalid);
    }

    function test_TheSentinelsOfAllVotersAreSummed() public pure {
        SettlementMath.Voter[] memory voters = new SettlementMath.Voter[](6);
        voters[0] = _voter(2, 10, 5);
        voters[1] = _voter(3, 10, 5);
        voters[2] = _voter(4, 4, UNAVAILABLE_SCORE);
        voters[3] = _voter(5, 2, UNAVAILABLE_SCORE);
        voters[4] = _voter(6, 3, INVALID_SCORE);
        voters[5] = _voter(7, 1, INVALID_SCORE);
        // 10 of 30 is a third.
        vm.assertFalse(_accepted(_judge(1, voters)));
        voters[0].stake = 11;
        vm.assertTrue(_accepted(_judge(1, voters)));
    }

    function test_SilentVotersCountInTheThird() public pure {
        SettlementMath.Voter[] memory voters = new SettlementMath.Voter[](4);
        voters[0] = _voter(2, 10, 5);
        voters[1] = _voter(3, 10, 5);
        voters[2] = _voter(4, 10, INVALID_SCORE);
        voters[3] = SettlementMath.Voter({group: 5, stake: 1, scores: new int32[](0), earns: false});
        vm.assertTrue(_accepted(_judge(1, voters)));
    }

    function test_TwoThirdsMakeInvalid() public pure {
        SettlementMath.Voter[] memory voters = new SettlementMath.Voter[](3);
        voters[0] = _voter(2, 10, 5);
        voters[1] = _voter(3, 10, INVALID_SCORE);
        voters[2] = _voter(4, 10, INVALID_SCORE);
        SettlementMath.Verdict memory verdict = _judge(1, voters);
        vm.assertTrue(verdict.provenInvalid);
        vm.assertFalse(_hasMedian(verdict));
        vm.assertEq(verdict.medianMicronats, 0);
        voters[0].stake = 11;
        vm.assertFalse(_judge(1, voters).provenInvalid);
    }

    function testFuzz_TheThresholdIsStrict(int32 threshold, int32 score) public pure {
        threshold = threshold % 8_000_001;
        score = score % 8_000_001;
        TaskConfig memory config = _config();
        config.acceptanceThresholdMicronats = threshold;
        SettlementMath.Voter[] memory voters = new SettlementMath.Voter[](2);
        voters[0] = _voter(2, 1, score);
        voters[1] = _voter(3, 1, score);
        SettlementMath.Candidate[] memory candidates = new SettlementMath.Candidate[](1);
        candidates[0].group = 1;
        vm.assertEq(
            SettlementMath.tally(candidates, voters, config)[0].standing == Standing.Accepted, score > threshold
        );
    }

    function testFuzz_TooFewScorersGiveNoMedian(uint256 count) public pure {
        count = bound(count, 0, 4);
        SettlementMath.Voter[] memory voters = new SettlementMath.Voter[](4);
        for (uint256 v; v < 4; ++v) {
            voters[v] = v < count ? _voter(uint64(v + 2), 1, 3) : _voter(1, 1, 3);
        }
        SettlementMath.Verdict memory verdict = _judge(1, voters);
        vm.assertEq(_hasMedian(verdict), count >= 2);
        vm.assertEq(_accepted(verdict), count >= 2);
        vm.assertEq(verdict.medianMicronats, count >= 2 ? int256(3) : int256(0));
    }

    // ------------------------------------------------------------------------------------------------ attestations

    function testFuzz_AtMostOneDigestWins(uint8[10] memory choices, uint96[10] memory stakes, uint256 quorumBps)
        public
        pure
    {
        quorumBps = bound(quorumBps, 5000, 9999);
        SettlementMath.Statement[] memory statements = new SettlementMath.Statement[](10);
        uint256[4] memory sums;
        uint256 total;
        for (uint256 i; i < 10; ++i) {
            uint256 choice = choices[i] % 4;
            uint256 stake = bound(stakes[i], 1, choice == 1 ? type(uint96).max : 1e27);
            statements[i] = SettlementMath.Statement({
                stake: stake, aggregateDigest: bytes32(choice), scoreMicronats: int32(int256(choice))
            });
            sums[choice] += stake;
            total += stake;
        }
        (bytes32 digest, int32 median) = SettlementMath.attested(statements, quorumBps);
        uint256 winner;
        for (uint256 choice = 1; choice < 4; ++choice) {
            if (sums[choice] * 10_000 > quorumBps * total) winner = choice;
        }
        vm.assertEq(uint256(digest), winner);
        vm.assertEq(int256(median), int256(winner));
    }

    function testFuzz_ExactlyTheQuorumIsNotEnough(uint256 stake, uint256 more) public pure {
        stake = bound(stake, 1, 1e28);
        more = bound(more, 0, 1);
        SettlementMath.Statement[] memory statements = new SettlementMath.Statement[](2);
        statements[0] =
            SettlementMath.Statement({stake: stake + more, aggregateDigest: bytes32(uint256(7)), scoreMicronats: 1});
        statements[1].stake = stake;
        (bytes32 digest,) = SettlementMath.attested(statements, 5000);
        vm.assertEq(uint256(digest), more == 0 ? 0 : 7);
    }

    /// Who takes the lead has only what is more than the lead before.
    function test_ALeadThatChangesTwiceIsCountedRight() public pure {
        SettlementMath.Statement[] memory statements = new SettlementMath.Statement[](3);
        (uint8[3] memory said, uint8[3] memory stakes) = ([1, 2, 1], [3, 4, 3]);
        for (uint256 i; i < 3; ++i) {
            statements[i] = SettlementMath.Statement({
                stake: stakes[i], aggregateDigest: bytes32(uint256(said[i])), scoreMicronats: 5
            });
        }
        (bytes32 digest,) = SettlementMath.attested(statements, 5000);
        vm.assertEq(uint256(digest), 1);
    }

    /// Whatever others say, and in whatever order: the digest, if any, that more than the quorum states.
    function testFuzz_TheQuorumsDigestIsFound(uint8[24] calldata said, uint96[24] calldata stakes, uint256 quorumBps)
        public
        pure
    {
        quorumBps = bound(quorumBps, 5000, 9999);
        SettlementMath.Statement[] memory statements = new SettlementMath.Statement[](24);
        uint256[4] memory agreeing;
        uint256 total;
        for (uint256 i; i < 24; ++i) {
            // Half of them say the same; nothing is said where the digest is 0.
            uint256 digest = said[i] % 8 < 4 ? 1 : said[i] % 4;
            uint256 stake = said[i] < 128 ? 100 : stakes[i];
            statements[i] = SettlementMath.Statement({
                stake: stake, aggregateDigest: bytes32(digest), scoreMicronats: int32(int256(digest))
            });
            agreeing[digest] += stake;
            total += stake;
        }
        uint256 expected;
        for (uint256 digest = 1; digest < 4; ++digest) {
            if (agreeing[digest] * 10_000 > quorumBps * total) expected = digest;
        }
        (bytes32 found, int32 median) = SettlementMath.attested(statements, quorumBps);
        vm.assertEq(uint256(found), expected);
        vm.assertEq(int256(median), int256(expected));
    }

    function _judge(uint64 group, SettlementMath.Voter[] memory voters)
        private
        pure
        returns (SettlementMath.Verdict memory)
    {
        SettlementMath.Candidate[] memory candidates = new SettlementMath.Candidate[](1);
        candidates[0].group = group;
        return SettlementMath.tally(candidates, voters, _config())[0];
    }

    function _voter(uint64 group, uint256 stake, int32 score) private pure returns (SettlementMath.Voter memory) {
        int32[] memory scores = new int32[](1);
        scores[0] = score;
        return SettlementMath.Voter({group: group, stake: stake, scores: scores, earns: true});
    }

    function _hasMedian(SettlementMath.Verdict memory verdict) private pure returns (bool) {
        return verdict.standing == Standing.Refused || verdict.standing == Standing.Accepted;
    }

    function _accepted(SettlementMath.Verdict memory verdict) private pure returns (bool) {
        return verdict.standing == Standing.Accepted;
    }

    function _config() private pure returns (TaskConfig memory config) {
        config.minScorers = 2;
        config.acceptanceThresholdMicronats = -250_000;
    }
}
