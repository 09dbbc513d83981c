// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {SettlementMath} from "../src/libraries/SettlementMath.sol";
import {INVALID_SCORE, Standing, UNAVAILABLE_SCORE} from "../src/Types.sol";
import {bound, vm} from "./helpers/Vm.sol";

/// The arithmetic of the rewards.
contract RewardsTest {
    uint256 private constant RANGE = 1_000_000;

    // -------------------------------------------------------------------------------------------------- proposers

    function test_HalfEquallyHalfByPositiveMedian() public pure {
        (SettlementMath.Candidate[] memory candidates, SettlementMath.Verdict[] memory verdicts) = _candidates(4);
        _accept(verdicts[0], 300_000);
        _accept(verdicts[1], 100_000);
        _accept(verdicts[2], -50_000);
        uint256[] memory amounts = SettlementMath.proposerRewards(1200, candidates, verdicts);
        vm.assertEq(amounts[0], 200 + 450);
        vm.assertEq(amounts[1], 200 + 150);
        vm.assertEq(amounts[2], 200);
        vm.assertEq(amounts[3], 0);
    }

    function test_WithoutAPositiveMedianAllIsEqual() public pure {
        (SettlementMath.Candidate[] memory candidates, SettlementMath.Verdict[] memory verdicts) = _candidates(3);
        _accept(verdicts[0], 0);
        _accept(verdicts[2], -100);
        uint256[] memory amounts = SettlementMath.proposerRewards(1001, candidates, verdicts);
        vm.assertEq(amounts[0], 500);
        vm.assertEq(amounts[1], 0);
        vm.assertEq(amounts[2], 500);
    }

    function test_CopiesShareOneReward() public pure {
        (SettlementMath.Candidate[] memory candidates, SettlementMath.Verdict[] memory verdicts) = _candidates(4);
        candidates[3].adapterDigest = candidates[1].adapterDigest;
        candidates[2].adapterDigest = candidates[1].adapterDigest;
        _accept(verdicts[0], 100_000);
        _accept(verdicts[1], 400_000);
        _accept(verdicts[3], 300_000);
        // The third copy was refused and has no part in it.
        uint256[] memory amounts = SettlementMath.proposerRewards(800, candidates, verdicts);
        vm.assertEq(amounts[0], 200 + 100);
        vm.assertEq(amounts[1], 250);
        vm.assertEq(amounts[2], 0);
        vm.assertEq(amounts[3], 250);
    }

    function testFuzz_ProposersNeverEarnMoreThanTheirShare(
        uint256 share,
        int32[16] memory medians,
        uint16 acceptedBits,
        uint8[16] memory digests
    ) public pure {
        share = bound(share, 0, type(uint128).max);
        (SettlementMath.Candidate[] memory candidates, SettlementMath.Verdict[] memory verdicts) = _candidates(16);
        uint256 accepted;
        for (uint256 i; i < 16; ++i) {
            candidates[i].adapterDigest = bytes32(uint256(digests[i] % 8) + 1);
            if ((acceptedBits >> i) & 1 == 0) continue;
            _accept(verdicts[i], medians[i] % 8_000_001);
            ++accepted;
        }
        uint256[] memory amounts = SettlementMath.proposerRewards(share, candidates, verdicts);
        uint256 sum;
        for (uint256 i; i < 16; ++i) {
            sum += amounts[i];
            if (verdicts[i].standing != Standing.Accepted) vm.assertEq(amounts[i], 0);
        }
        vm.assertLe(sum, share);
        // Only the rounding is left over: at most one unit per division.
        if (accepted != 0) vm.assertLe(share - sum, 16 * 3);
    }

    function testFuzz_ACopyNeverRaisesWhatItsMakersEarn(uint256 share, int32 median, int32 copied, int32 other)
        public
        pure
    {
        share = bound(share, 0, type(uint128).max);
        (SettlementMath.Candidate[] memory candidates, SettlementMath.Verdict[] memory verdicts) = _candidates(3);
        _accept(verdicts[0], median % 8_000_001);
        _accept(verdicts[1], other % 8_000_001);
        uint256 alone = SettlementMath.proposerRewards(share, candidates, verdicts)[0];
        candidates[2].adapterDigest = candidates[0].adapterDigest;
        _accept(verdicts[2], copied % 8_000_001);
        uint256[] memory amounts = SettlementMath.proposerRewards(share, candidates, verdicts);
        // With no merit left anywhere, all is split equally: half, which "alone" had at least up to rounding.
        vm.assertLe(amounts[0] + amounts[2], alone > share / 2 ? alone : share / 2);
    }

    // ----------------------------------------------------------------------------------------------------- voters

    function test_HalfByStakeHalfByCloseness() public pure {
        (SettlementMath.Candidate[] memory candidates, SettlementMath.Verdict[] memory verdicts) = _candidates(1);
        _accept(verdicts[0], 100_000);
        SettlementMath.Voter[] memory voters = new SettlementMath.Voter[](4);
        voters[0] = _voter(11, 100, 100_000);
        voters[1] = _voter(12, 300, 600_000);
        voters[2] = _voter(13, 100, -900_000);
        voters[3] = SettlementMath.Voter({group: 14, stake: 500, scores: new int32[](0), earns: false});
        uint256[] memory amounts = SettlementMath.voterRewards(2000, RANGE, candidates, voters, verdicts);
        // Closeness 1, 0.5 and 0 of the range: weights 100, 150, 0.
        vm.assertEq(amounts[0], 200 + 400);
        vm.assertEq(amounts[1], 600 + 600);
        vm.assertEq(amounts[2], 200);
        vm.assertEq(amounts[3], 0);
    }

    function test_ClosenessOfSentinels() public pure {
        (SettlementMath.Candidate[] memory candidates, SettlementMath.Verdict[] memory verdicts) = _candidates(2);
        verdicts[0].standing = Standing.Refused;
        SettlementMath.Voter memory voter = _voter(11, 1, INVALID_SCORE);
        voter.scores = new int32[](2);
        voter.scores[0] = INVALID_SCORE;
        vm.assertEq(SettlementMath.closeness(voter, RANGE, candidates, verdicts), 0);
        verdicts[0].provenInvalid = true;
        vm.assertEq(SettlementMath.closeness(voter, RANGE, candidates, verdicts), RANGE);
        voter.scores[0] = UNAVAILABLE_SCORE;
        vm.assertEq(SettlementMath.closeness(voter, RANGE, candidates, verdicts), 0);
    }

    function test_ClosenessLeavesOutOwnGroupAndNoMedian() public pure {
        (SettlementMath.Candidate[] memory candidates, SettlementMath.Verdict[] memory verdicts) = _candidates(3);
        verdicts[0].standing = Standing.Refused;
        verdicts[1].standing = Standing.Refused;
        SettlementMath.Voter memory voter =
            SettlementMath.Voter({group: 1, stake: 1, scores: new int32[](3), earns: true});
        voter.scores[0] = 8_000_000;
        voter.scores[1] = 200_000;
        vm.assertEq(SettlementMath.closeness(voter, RANGE, candidates, verdicts), 800_000);
        candidates[1].group = 1;
        vm.assertEq(SettlementMath.closeness(voter, RANGE, candidates, verdicts), 0);
    }

    function testFuzz_ClosenessIsTheDistanceWithinTheRange(int32 score, int32 median, uint32 range) public pure {
        (SettlementMath.Candidate[] memory candidates, SettlementMath.Verdict[] memory verdicts) = _candidates(1);
        score = score % 8_000_001;
        _accept(verdicts[0], median % 8_000_001);
        int256 distance = int256(score) - verdicts[0].medianMicronats;
        if (distance < 0) distance = -distance;
        int256 expected = int256(uint256(range)) - distance;
        uint256 close = SettlementMath.closeness(_voter(11, 1, score), range, candidates, verdicts);
        vm.assertEq(close, expected < 0 ? 0 : uint256(expected));
    }

    function testFuzz_ClosenessIsTheMeanOverThoseWithAMedian(
        int32[4] memory scores,
        int32[4] memory medians,
        uint8 bits
    ) public pure {
        (SettlementMath.Candidate[] memory candidates, SettlementMath.Verdict[] memory verdicts) = _candidates(4);
        SettlementMath.Voter memory voter =
            SettlementMath.Voter({group: 11, stake: 1, scores: new int32[](4), earns: true});
        uint256 sum;
        uint256 count;
        for (uint256 c; c < 4; ++c) {
            voter.scores[c] = scores[c] % 1_000_000;
            if ((bits >> c) & 1 == 0) continue;
            _accept(verdicts[c], medians[c] % 1_000_000);
            int256 distance = int256(voter.scores[c]) - verdicts[c].medianMicronats;
            sum += 2_000_000 - uint256(distance < 0 ? -distance : distance);
            ++count;
        }
        vm.assertEq(SettlementMath.closeness(voter, 2_000_000, candidates, verdicts), count == 0 ? 0 : sum / count);
    }

    function testFuzz_VotersNeverEarnMoreThanTheirShare(
        uint256 share,
        uint96[8] memory stakes,
        int32[8] memory scores,
        uint8 revealedBits,
        int32 median
    ) public pure {
        share = bound(share, 0, type(uint128).max);
        (SettlementMath.Candidate[] memory candidates, SettlementMath.Verdict[] memory verdicts) = _candidates(1);
        _accept(verdicts[0], median % 8_000_001);
        SettlementMath.Voter[] memory voters = new SettlementMath.Voter[](8);
        for (uint256 v; v < 8; ++v) {
            voters[v] = _voter(uint64(v + 11), bound(stakes[v], 1, type(uint96).max), scores[v] % 8_000_001);
            if ((revealedBits >> v) & 1 == 0) (voters[v].scores, voters[v].earns) = (new int32[](0), false);
        }
        uint256[] memory amounts = SettlementMath.voterRewards(share, 16_000_001, candidates, voters, verdicts);
        uint256[] memory byStake = SettlementMath.stakeRewards(share, voters);
        uint256 sum;
        uint256 stakeSum;
        for (uint256 v; v < 8; ++v) {
            if (voters[v].scores.length == 0) vm.assertEq(amounts[v] + byStake[v], 0);
            sum += amounts[v];
            stakeSum += byStake[v];
        }
        vm.assertLe(sum, share);
        vm.assertLe(stakeSum, share);
        // Every score is within the range: only the rounding is left over.
        if (revealedBits != 0) vm.assertLe(share - sum, 16);
        if (revealedBits != 0) vm.assertLe(share - stakeSum, 8);
    }

    function _candidates(uint256 count)
        private
        pure
        returns (SettlementMath.Candidate[] memory candidates, SettlementMath.Verdict[] memory verdicts)
    {
        candidates = new SettlementMath.Candidate[](count);
        verdicts = new SettlementMath.Verdict[](count);
        for (uint256 i; i < count; ++i) {
            candidates[i] = SettlementMath.Candidate({group: uint64(i + 1), adapterDigest: bytes32(i + 1)});
        }
    }

    function _accept(SettlementMath.Verdict memory verdict, int32 median) private pure {
        (verdict.standing, verdict.medianMicronats) = (Standing.Accepted, median);
    }

    function _voter(uint64 group, uint256 stake, int32 score) private pure returns (SettlementMath.Voter memory) {
        int32[] memory scores = new int32[](1);
        scores[0] = score;
        return SettlementMath.Voter({group: group, stake: stake, scores: scores, earns: true});
    }
}
