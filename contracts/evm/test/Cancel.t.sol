// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";

import {TaskOver, TaskUnknown} from "../src/Errors.sol";
import {ITasks} from "../src/interfaces/ITasks.sol";
import {Phase} from "../src/Types.sol";
import {ConsortiumTest} from "./helpers/Consortium.sol";
import {vm} from "./helpers/Vm.sol";

contract CancelTest is ConsortiumTest {
    uint64 private task;

    function setUp() public override {
        super.setUp();
        task = demo();
    }

    function test_BetweenRoundsItEndsTheTaskAtOnce() public {
        vm.expectEmit();
        emit ITasks.TaskCancelled(task);
        vm.expectEmit();
        emit ITasks.TaskEnded(task, 3000 * TOKEN);
        vm.prank(council);
        tasks.cancel(task);
        vm.assertTrue(tasks.poolOf(task).isCancelled);
        vm.assertTrue(tasks.poolOf(task).isOver);
        vm.expectRevert(abi.encodeWithSelector(TaskOver.selector, task));
        rounds.requestRound(task);
    }

    function test_AnOpenRoundEndsFirst() public {
        openCommitting(task);
        cancel(task);
        vm.assertTrue(tasks.poolOf(task).isCancelled);
        vm.assertFalse(tasks.poolOf(task).isOver);
        vote(task, allScores(task, 50_000));
        attestAll(task, 1);
        assertPhase(task, Phase.Final);
        vm.assertEq(lens.taskOf(task).parentDigest, AGGREGATE);
        vm.assertTrue(tasks.claimableOf(admitted[0]) != 0);
        vm.assertTrue(tasks.poolOf(task).isOver);
        vm.expectRevert(abi.encodeWithSelector(TaskOver.selector, task));
        rounds.requestRound(task);
    }

    function test_AnOpenRoundThatFailsEndsTheTaskToo() public {
        openTraining(task);
        cancel(task);
        passAndAdvance(task);
        vm.assertTrue(tasks.poolOf(task).isOver);
        vm.assertEq(tasks.refundableOf(task, address(this)), 3000 * TOKEN);
    }

    function test_WhatIsOverIsNotCancelled() public {
        openTraining(task);
        cancel(task);
        vm.expectRevert(abi.encodeWithSelector(TaskOver.selector, task));
        cancel(task);
        passAndAdvance(task);
        vm.expectRevert(abi.encodeWithSelector(TaskOver.selector, task));
        cancel(task);
        vm.expectRevert(abi.encodeWithSelector(TaskUnknown.selector, 0));
        cancel(0);
    }

    function test_TheLastRoundEndsTheTask() public {
        for (uint256 i; i < 3; ++i) {
            vm.assertFalse(tasks.poolOf(task).isOver);
            finalRound(task);
        }
        vm.assertTrue(tasks.poolOf(task).isOver);
        vm.assertFalse(tasks.poolOf(task).isCancelled);
        vm.expectRevert(abi.encodeWithSelector(TaskOver.selector, task));
        cancel(task);
    }

    function testFuzz_OnlyTheCouncil(address stranger) public {
        vm.assume(stranger != council);
        vm.expectRevert(abi.encodeWithSelector(Ownable.OwnableUnauthorizedAccount.selector, stranger));
        vm.prank(stranger);
        tasks.cancel(task);
    }
}
