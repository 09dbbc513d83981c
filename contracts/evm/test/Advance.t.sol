// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {NoOpenRound, NotDue} from "../src/Errors.sol";
import {IRandomness} from "../src/interfaces/IRandomness.sol";
import {IRounds} from "../src/interfaces/IRounds.sol";
import {ITasks} from "../src/interfaces/ITasks.sol";
import {Phase, RoundView, SeedStatus, Standing} from "../src/Types.sol";
import {ConsortiumTest} from "./helpers/Consortium.sol";
import {bound, vm} from "./helpers/Vm.sol";

/// The edges of the state diagram, and what each of them fixes.
contract AdvanceTest is ConsortiumTest {
    uint64 private task;
    /// A round's part of the demo task's pool, and the voters' share of it.
    uint256 private constant REWARD = 1000 * TOKEN;
    uint256 private constant VOTERS_SHARE = 400 * TOKEN;

    function setUp() public override {
        super.setUp();
        task = demo();
    }

    // -------------------------------------------------------------------------------------------------- Requested

    function test_WithoutAnOpenRoundThereIsNothingToAdvance() public {
        vm.assertFalse(rounds.isDue(task));
        vm.expectRevert(NoOpenRound.selector);
        rounds.advance(task);
    }

    function test_RequestedWaitsForTheSeed() public {
        rounds.requestRound(task);
        _notDue();
        vm.roll(viewOf(task).seedBlock);
        _notDue();
        vm.roll(viewOf(task).seedBlock + 1);
        vm.assertTrue(rounds.isDue(task));
        vm.prank(address(0xBEEF));
        rounds.advance(task);
        _is(Phase.Training);
    }

    function test_ALostSeedAborts() public {
        rounds.requestRound(task);
        vm.roll(viewOf(task).seedBlock + 257);
        vm.expectEmit();
        emit IRounds.PhaseChanged(task, 1, Phase.Aborted, 0, 0);
        vm.expectEmit();
        emit IRounds.RoundClosed(task, 1, Phase.Aborted, GENESIS);
        vm.expectEmit();
        emit ITasks.Rewarded(task, 1, new address[](0), new uint256[](0), REWARD);
        rounds.advance(task);
        vm.assertEq(viewOf(task).voters.length, 0);
        _is(Phase.Aborted);
    }

    /// With slow blocks, what is frozen for a request could else be withdrawn before its draw.
    function testFuzz_ARequestThatIsNotDrawnInTimeAborts(uint256 later, bool isPending) public {
        later = bound(later, 401, UNBONDING_SECONDS);
        rounds.requestRound(task);
        if (!isPending) {
            vm.roll(viewOf(task).seedBlock + 1);
            vm.setBlockhash(viewOf(task).seedBlock, keccak256("seed"));
        }
        vm.warp(block.timestamp + later);
        vm.assertTrue(rounds.isDue(task));
        rounds.advance(task);
        _is(Phase.Aborted);
        vm.assertEq(viewOf(task).voters.length, 0);
        vm.assertEq(viewOf(task).deadline, 0);
    }

    function test_AtItsDeadlineARequestIsStillDrawn() public {
        rounds.requestRound(task);
        vm.warp(block.timestamp + 400);
        _notDue();
        vm.roll(viewOf(task).seedBlock + 1);
        rounds.advance(task);
        _is(Phase.Training);
    }

    /// However its hash is found later, a lost seed is never drawn; the next round waits for a block of its own.
    function testFuzz_ALostSeedIsNeverDrawnAgain(bytes32 seed, uint256 later) public {
        vm.assume(seed != 0);
        rounds.requestRound(task);
        uint64 seedBlock = viewOf(task).seedBlock;
        vm.roll(seedBlock + bound(later, 257, 1e6));
        rounds.advance(task);
        _is(Phase.Aborted);
        vm.roll(seedBlock + 1);
        vm.setBlockhash(seedBlock, seed);
        vm.expectRevert(NoOpenRound.selector);
        rounds.advance(task);
        _is(Phase.Aborted);
        vm.assertEq(viewOf(task).seed, 0);

        vm.roll(seedBlock + 300);
        rounds.requestRound(task);
        vm.assertEq(viewOf(task).seedBlock, seedBlock + 301);
    }

    function testFuzz_TheBlockhashIsPendingReadyThenLost(uint256 distance, bytes32 hash) public {
        vm.assume(hash != 0);
        uint64 seedBlock = 5000;
        distance = bound(distance, 0, 600);
        vm.roll(seedBlock - 100 + distance);
        if (distance > 100 && distance <= 356) vm.setBlockhash(seedBlock, hash);
        (SeedStatus status, bytes32 seed) = IRandomness(rounds.randomness()).seedOf(seedBlock);
        SeedStatus expected =
            distance <= 100 ? SeedStatus.Pending : distance <= 356 ? SeedStatus.Ready : SeedStatus.Lost;
        vm.assertEq(uint256(status), uint256(expected));
        vm.assertEq(seed, expected == SeedStatus.Ready ? hash : bytes32(0));
    }

    function testFuzz_TheDrawIsFixedInTheContext(bytes32 seed) public {
        vm.assume(seed != 0);
        RoundView memory round = openTraining(task, seed);
        vm.assertEq(round.seed, seed);
        vm.assertEq(round.proposers.length, 3);
        vm.assertEq(round.voters.length, 4);
        bytes32 expected = keccak256(
            abi.encode(block.chainid, address(rounds), task, uint32(1), GENESIS, seed, round.proposers, round.voters)
        );
        vm.assertEq(bytes32(round.context), bytes32(bytes16(expected)));
        vm.assertEq(round.deadline, block.timestamp + 400);
    }

    // --------------------------------------------------------------------------------------------------- Training

    function test_TrainingEndsEarlyWithAllProposals() public {
        address[] memory proposers = openTraining(task).proposers;
        propose(proposalOf(task, proposers[0]));
        propose(proposalOf(task, proposers[1]));
        _notDue();
        propose(proposalOf(task, proposers[2]));
        rounds.advance(task);
        _is(Phase.Committing);
    }

    function test_TrainingEndsAtTheDeadlineWithEnoughProposals() public {
        RoundView memory training = openTraining(task);
        propose(proposalOf(task, training.proposers[2]));
        propose(proposalOf(task, training.proposers[0]));
        vm.warp(training.deadline);
        _notDue();
        vm.warp(training.deadline + 1);
        rounds.advance(task);

        RoundView memory round = viewOf(task);
        vm.assertEq(uint256(round.phase), uint256(Phase.Committing));
        vm.assertEq(round.proposals.length, 2);
        vm.assertTrue(round.proposals[0].node < round.proposals[1].node);
        address[] memory nodes = new address[](2);
        bytes32[] memory digests = new bytes32[](2);
        for (uint256 i; i < 2; ++i) {
            nodes[i] = round.proposals[i].node;
            digests[i] = adapterOf(nodes[i], training.context);
        }
        bytes16 expected = bytes16(keccak256(abi.encode(training.context, nodes, digests)));
        vm.assertEq(bytes32(round.context), bytes32(expected));
        vm.assertEq(round.deadline, block.timestamp + 300);
    }

    function test_TooFewProposalsAbort() public {
        address[] memory proposers = openTraining(task).proposers;
        propose(proposalOf(task, proposers[0]));
        passDeadline(task);
        rounds.advance(task);
        _is(Phase.Aborted);
        _allReturned();
    }

    // ----------------------------------------------------------------------------------------- Committing, Revealing

    function test_TooFewCommitsAbort() public {
        openCommitting(task);
        commitAll(task, _silent(allScores(task, 1), 2));
        _is(Phase.Aborted);
        _allReturned();
    }

    function test_RevealingKeepsTheContextAndWaitsForThoseWhoCommitted() public {
        bytes16 context = openCommitting(task).context;
        int32[][] memory scores = _silent(allScores(task, 1), 1);
        commitAll(task, scores);
        RoundView memory round = viewOf(task);
        vm.assertEq(uint256(round.phase), uint256(Phase.Revealing));
        vm.assertEq(bytes32(round.context), bytes32(context));
        vm.assertEq(round.deadline, block.timestamp + 100);
        rounds.reveal(revealOf(task, round.voters[1], scores[1]));
        rounds.reveal(revealOf(task, round.voters[2], scores[2]));
        _notDue();
        rounds.reveal(revealOf(task, round.voters[3], scores[3]));
        rounds.advance(task);
        _is(Phase.Attesting);
    }

    function test_TooFewRevealsAbortAndPayThoseWhoRevealedByStake() public {
        openCommitting(task);
        int32[][] memory scores = allScores(task, 1);
        commitAll(task, scores);
        rounds.reveal(revealOf(task, admitted[0], scores[0]));
        rounds.reveal(revealOf(task, admitted[2], scores[0]));
        passDeadline(task);
        rounds.advance(task);
        _is(Phase.Aborted);
        vm.assertEq(tasks.claimableOf(admitted[0]), VOTERS_SHARE / 4);
        vm.assertEq(tasks.claimableOf(admitted[2]), VOTERS_SHARE * 3 / 4);
        vm.assertEq(tasks.poolOf(task).pool, 3 * REWARD - VOTERS_SHARE);
        vm.assertEq(lens.taskOf(task).parentDigest, GENESIS);
    }

    function test_NothingAcceptedRejectsAndPaysVoters() public {
        openCommitting(task);
        vote(task, allScores(task, -300_000));
        _is(Phase.Rejected);
        // All scores equal the medians: every voter earns by stake alone.
        for (uint256 i; i < 4; ++i) {
            vm.assertEq(tasks.claimableOf(admitted[i]), VOTERS_SHARE * (i + 1) / 10);
        }
        vm.assertEq(tasks.poolOf(task).pool, 3 * REWARD - VOTERS_SHARE);
        vm.assertEq(lens.taskOf(task).parentDigest, GENESIS);
    }

    function test_TheTallyIsFixedInTheContext() public {
        bytes16 context = openCommitting(task).context;
        int32[][] memory scores = allScores(task, 40_000);
        for (uint256 v; v < 4; ++v) {
            scores[v][1] = -900_000;
        }
        RoundView memory round = vote(task, scores);
        vm.assertEq(uint256(round.phase), uint256(Phase.Attesting));
        Standing[] memory standings = new Standing[](3);
        int32[] memory medians = new int32[](3);
        (standings[0], standings[1], standings[2]) = (Standing.Accepted, Standing.Refused, Standing.Accepted);
        (medians[0], medians[1], medians[2]) = (40_000, -900_000, 40_000);
        bytes16 expected = bytes16(keccak256(abi.encode(context, standings, medians)));
        vm.assertEq(bytes32(round.context), bytes32(expected));
        for (uint256 i; i < 3; ++i) {
            vm.assertEq(uint256(round.proposals[i].standing), uint256(standings[i]));
        }
        vm.assertEq(round.proposals[1].medianMicronats, -900_000);
        vm.assertEq(round.deadline, block.timestamp + 200);
    }

    // -------------------------------------------------------------------------------------------------- Attesting

    function test_AFinalRoundPaysProposersAndVoters() public {
        RoundView memory round = openCommitting(task);
        vote(task, allScores(task, 50_000));
        attestAll(task, 0);
        _is(Phase.Final);
        uint256 paid;
        for (uint256 i; i < 4; ++i) {
            uint256 expected = VOTERS_SHARE * (i + 1) / 10;
            for (uint256 p; p < 3; ++p) {
                // Equal medians: a third of each half.
                if (round.proposers[p] == admitted[i]) expected += 2 * (300 * TOKEN / 3);
            }
            vm.assertEq(tasks.claimableOf(admitted[i]), expected);
            paid += expected;
        }
        vm.assertEq(tasks.poolOf(task).pool, 3 * REWARD - paid);
        vm.assertEq(tasks.poolOf(task).openReward, 0);
    }

    function test_WithoutAttestationsTheRoundIsRejected() public {
        openCommitting(task);
        vote(task, allScores(task, 50_000));
        _notDue();
        passDeadline(task);
        rounds.advance(task);
        _is(Phase.Rejected);
        vm.assertEq(tasks.poolOf(task).pool, 3 * REWARD - VOTERS_SHARE);
    }

    function test_AFailedRoundNeverBlocksTheNext() public {
        openTraining(task);
        passDeadline(task);
        rounds.advance(task);
        openCommitting(task);
        vote(task, allScores(task, 50_000));
        attestAll(task, 5);
        _is(Phase.Final);
        vm.assertEq(viewOf(task).reward, 3 * REWARD / 2);
        vm.assertEq(uint256(lens.roundOf(task, 1).phase), uint256(Phase.Aborted));
    }

    function test_TwoTasksRunSideBySide() public {
        uint64 other = createTask(demoConfig(), 30 * TOKEN);
        approveAll(other);
        openCommitting(task);
        openCommitting(other);
        vote(task, allScores(task, 50_000));
        vote(other, allScores(other, 50_000));
        attestAll(other, 1);
        attestAll(task, 1);
        _is(Phase.Final);
        vm.assertEq(uint256(viewOf(other).phase), uint256(Phase.Final));
        vm.assertEq(viewOf(other).reward, 10 * TOKEN);
    }

    function _is(Phase phase) private view {
        vm.assertEq(uint256(viewOf(task).phase), uint256(phase));
        if (phase >= Phase.Final) vm.assertEq(viewOf(task).deadline, 0);
    }

    function _notDue() private {
        vm.assertFalse(rounds.isDue(task));
        vm.expectRevert(NotDue.selector);
        rounds.advance(task);
    }

    function _allReturned() private view {
        vm.assertEq(tasks.poolOf(task).pool, 3 * REWARD);
        vm.assertEq(tasks.poolOf(task).openReward, 0);
    }

    function _silent(int32[][] memory scores, uint256 count) private pure returns (int32[][] memory) {
        for (uint256 v; v < count; ++v) {
            scores[v] = new int32[](0);
        }
        return scores;
    }
}
