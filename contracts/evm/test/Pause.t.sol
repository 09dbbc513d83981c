// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";

import {NoOpenRound, OnlyTasks, TaskNotPaused, TaskOver, TaskPaused, TaskUnknown} from "../src/Errors.sol";
import {IRounds} from "../src/interfaces/IRounds.sol";
import {ITasks} from "../src/interfaces/ITasks.sol";
import {INVALID_SCORE, Phase, RoundView} from "../src/Types.sol";
import {ConsortiumTest} from "./helpers/Consortium.sol";
import {bound, vm} from "./helpers/Vm.sol";

/// Pause, which aborts the open round without faults, and its end.
contract PauseTest is ConsortiumTest {
    uint64 private task;

    function setUp() public override {
        super.setUp();
        task = demo();
    }

    function test_BetweenRoundsItOnlyKeepsOthersFromOpening() public {
        vm.expectEmit();
        emit ITasks.TaskPauseChanged(task, true);
        vm.prank(council);
        tasks.pause(task);
        vm.assertTrue(tasks.poolOf(task).isPaused);
        vm.assertEq(lens.taskOf(task).roundsRequested, 0);
        _noRequest(abi.encodeWithSelector(TaskPaused.selector, task));

        vm.expectEmit();
        emit ITasks.TaskPauseChanged(task, false);
        vm.prank(council);
        tasks.unpause(task);
        vm.assertFalse(tasks.poolOf(task).isPaused);
        finalRound(task);
        assertPhase(task, Phase.Final);
    }

    /// In every phase, with something done or nothing: the round is aborted, its money is back, nobody is at fault.
    /// forge-config: default.fuzz.runs = 100
    function testFuzz_InEveryPhaseItAbortsWithoutFaults(uint8 until, bool someSpoke) public {
        Phase phase = Phase(bound(until, uint256(Phase.Requested), uint256(Phase.Attesting)));
        _bringTo(phase, someSpoke);
        assertPhase(task, phase);
        bytes16 context = viewOf(task).context;

        vm.expectEmit();
        emit IRounds.PhaseChanged(task, 1, Phase.Aborted, context, 0);
        vm.expectEmit();
        emit IRounds.RoundClosed(task, 1, Phase.Aborted, GENESIS);
        vm.prank(council);
        tasks.pause(task);

        assertPhase(task, Phase.Aborted);
        vm.assertEq(viewOf(task).deadline, 0);
        vm.assertEq(registry.slashCount(), 0);
        uint256 claimable;
        for (uint256 i; i < 4; ++i) {
            vm.assertEq(registry.nodeOf(admitted[i]).openRounds, 0);
            vm.assertEq(registry.nodeOf(admitted[i]).absences, 0);
            claimable += tasks.claimableOf(admitted[i]);
        }
        vm.assertEq(tasks.poolOf(task).openReward, 0);
        vm.assertEq(tasks.poolOf(task).pool + claimable, 3000 * TOKEN);
        vm.assertEq(lens.taskOf(task).roundsClosed, 1);
        vm.expectRevert(NoOpenRound.selector);
        rounds.advance(task);
        _noRequest(abi.encodeWithSelector(TaskPaused.selector, task));
    }

    function test_WhoRevealedIsPaidByStake() public {
        openCommitting(task);
        int32[][] memory scores = allScores(task, 1);
        commitAll(task, scores);
        rounds.reveal(revealOf(task, admitted[0], scores[0]));
        rounds.reveal(revealOf(task, admitted[3], scores[0]));
        pause(task);
        vm.assertEq(tasks.claimableOf(admitted[0]), 80 * TOKEN);
        vm.assertEq(tasks.claimableOf(admitted[3]), 320 * TOKEN);
        vm.assertEq(tasks.poolOf(task).pool, 2600 * TOKEN);
    }

    function test_WhatWasProvenInvalidIsNotSlashed() public {
        openCommitting(task);
        int32[][] memory scores = allScores(task, 50_000);
        for (uint256 v; v < 4; ++v) {
            scores[v][1] = INVALID_SCORE;
        }
        vm.assertTrue(vote(task, scores).proposals[1].provenInvalid);
        pause(task);
        vm.assertEq(registry.slashCount(), 0);
    }

    function test_ItUsesUpTheRoundAndOthersFollow() public {
        openTraining(task);
        pause(task);
        vm.prank(council);
        tasks.unpause(task);
        finalRound(task);
        vm.assertEq(lens.taskOf(task).roundsRequested, 2);
        vm.assertEq(viewOf(task).reward, 1500 * TOKEN);
    }

    function test_OtherTasksGoOn() public {
        uint64 other = createTask(demoConfig(), 30 * TOKEN);
        approveAll(other);
        openTraining(task);
        openTraining(other);
        pause(task);
        assertPhase(task, Phase.Aborted);
        assertPhase(other, Phase.Training);
        for (uint256 i; i < 4; ++i) {
            vm.assertEq(registry.nodeOf(admitted[i]).openRounds, 1);
        }
    }

    function test_ClaimExitAndWithdrawIgnoreIt() public {
        finalRound(task);
        pause(task);
        tasks.claim(admitted[0]);
        exit(admitted[0], 100 * TOKEN);
        vm.warp(block.timestamp + UNBONDING_SECONDS);
        registry.withdraw(admitted[0]);
        cancel(task);
        tasks.refund(task, address(this));
    }

    function test_PausingInTheLastRoundEndsTheTask() public {
        for (uint256 i; i < 2; ++i) {
            finalRound(task);
        }
        openTraining(task);
        pause(task);
        vm.assertTrue(tasks.poolOf(task).isOver);
        vm.expectRevert(abi.encodeWithSelector(TaskOver.selector, task));
        vm.prank(council);
        tasks.unpause(task);
    }

    function test_PausingACancelledTaskEndsIt() public {
        openTraining(task);
        cancel(task);
        vm.assertFalse(tasks.poolOf(task).isOver);
        pause(task);
        vm.assertTrue(tasks.poolOf(task).isOver);
        vm.assertEq(tasks.refund(task, address(this)), 3000 * TOKEN);
    }

    function test_WhatIsPausedIsNotPausedAgain() public {
        vm.expectRevert(abi.encodeWithSelector(TaskNotPaused.selector, task));
        vm.prank(council);
        tasks.unpause(task);
        pause(task);
        vm.expectRevert(abi.encodeWithSelector(TaskPaused.selector, task));
        pause(task);
        cancel(task);
        vm.expectRevert(abi.encodeWithSelector(TaskOver.selector, task));
        pause(task);
        vm.expectRevert(abi.encodeWithSelector(TaskUnknown.selector, task + 1));
        pause(task + 1);
    }

    function testFuzz_OnlyTheCouncil(address stranger) public {
        vm.assume(stranger != council);
        bytes memory reason = abi.encodeWithSelector(Ownable.OwnableUnauthorizedAccount.selector, stranger);
        vm.expectRevert(reason);
        vm.prank(stranger);
        tasks.pause(task);
        vm.expectRevert(reason);
        vm.prank(stranger);
        tasks.unpause(task);
    }

    function testFuzz_OnlyTheTasksContractAborts(address stranger) public {
        vm.assume(stranger != address(tasks));
        openTraining(task);
        vm.expectRevert(OnlyTasks.selector);
        vm.prank(stranger);
        rounds.abort(task);
    }

    function test_WithoutAnOpenRoundThereIsNothingToAbort() public {
        vm.expectRevert(NoOpenRound.selector);
        vm.prank(address(tasks));
        rounds.abort(task);
    }

    function _bringTo(Phase phase, bool someSpoke) private {
        if (phase == Phase.Requested) {
            rounds.requestRound(task);
        } else if (phase == Phase.Training) {
            RoundView memory round = openTraining(task);
            if (someSpoke) propose(proposalOf(task, round.proposers[0]));
        } else {
            address[] memory voters = openCommitting(task).voters;
            int32[][] memory scores = allScores(task, 50_000);
            if (phase == Phase.Committing) {
                if (someSpoke) commit(commitTo(revealOf(task, voters[0], scores[0])));
            } else if (phase == Phase.Revealing) {
                commitAll(task, scores);
                if (someSpoke) rounds.reveal(revealOf(task, voters[0], scores[0]));
            } else {
                vote(task, scores);
                if (someSpoke) attest(attestationOf(task, voters[0], AGGREGATE, 1));
            }
        }
    }

    function _noRequest(bytes memory reason) private {
        vm.expectRevert(reason);
        rounds.requestRound(task);
    }
}
