// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {NoRoundsLeft, TaskOver, TaskUnknown, ZeroAmount} from "../src/Errors.sol";
import {ITasks} from "../src/interfaces/ITasks.sol";
import {PoolView, TaskConfig} from "../src/Types.sol";
import {ConsortiumTest} from "./helpers/Consortium.sol";
import {bound, vm} from "./helpers/Vm.sol";

/// What goes into pools: contributions, which can come back, and top-ups, which are given.
contract FundTest is ConsortiumTest {
    uint64 private task;

    function setUp() public override {
        super.setUp();
        task = createTask(demoConfig(), 0);
    }

    function testFuzz_AnyoneFunds(uint256 first, uint256 second) public {
        first = bound(first, 1, 1e30);
        second = bound(second, 1, 1e30);
        tasks.fund(task, first);
        vm.expectEmit();
        emit ITasks.TaskFunded(task, address(this), second, first + second);
        tasks.fund(task, second);
        _holds(first + second, first + second);
    }

    function testFuzz_AnyoneTopsUp(uint256 funded, uint256 given) public {
        funded = bound(funded, 1, 1e30);
        given = bound(given, 0, 1e30);
        tasks.fund(task, funded);
        vm.expectEmit();
        emit ITasks.TaskToppedUp(task, address(this), given, funded + given);
        tasks.topUp(task, given);
        _holds(funded + given, funded);
    }

    function test_WhatIsOverIsNotFundedButToppedUp() public {
        cancel(task);
        vm.expectRevert(abi.encodeWithSelector(TaskOver.selector, task));
        tasks.fund(task, 1);
        tasks.topUp(task, 5);
        _holds(5, 0);
    }

    /// No round can pay it any more, so a late funder would only share the loss of those before it.
    function test_ACancelledTaskIsNotFundedWhileItsRoundIsOpen() public {
        admitFour();
        approveAll(task);
        rounds.requestRound(task);
        cancel(task);
        vm.expectRevert(abi.encodeWithSelector(TaskOver.selector, task));
        tasks.fund(task, 1);
        tasks.topUp(task, 5);
        _holds(5, 0);
    }

    function test_FundingEndsWithTheRequestOfTheLastRound() public {
        admitFour();
        TaskConfig memory config = demoConfig();
        config.rounds = 2;
        task = createTask(config, 0);
        approveAll(task);
        rounds.requestRound(task);
        tasks.fund(task, 7);
        pause(task);
        unpause(task);
        tasks.fund(task, 1);
        rounds.requestRound(task);
        vm.expectRevert(NoRoundsLeft.selector);
        tasks.fund(task, 1);
        tasks.topUp(task, 5);
        vm.assertEq(tasks.poolOf(task).pool, 5);
        vm.assertEq(tasks.poolOf(task).openReward, 8);
        pause(task);
        vm.expectRevert(abi.encodeWithSelector(TaskOver.selector, task));
        tasks.fund(task, 1);
    }

    function test_APausedTaskIsFunded() public {
        pause(task);
        tasks.fund(task, 5);
        _holds(5, 5);
    }

    function test_NothingAndUnknownTasksAreRefused() public {
        vm.expectRevert(ZeroAmount.selector);
        tasks.fund(task, 0);
        bytes memory unknown = abi.encodeWithSelector(TaskUnknown.selector, task + 1);
        vm.expectRevert(unknown);
        tasks.fund(task + 1, 1);
        vm.expectRevert(unknown);
        tasks.topUp(task + 1, 1);
        vm.expectRevert(abi.encodeWithSelector(TaskUnknown.selector, 0));
        tasks.topUp(0, 1);
    }

    function _holds(uint256 pool, uint256 contributed) private view {
        PoolView memory money = tasks.poolOf(task);
        vm.assertEq(money.pool, pool);
        vm.assertEq(money.contributed, contributed);
        vm.assertEq(tasks.totalOwed(), pool);
        vm.assertEq(token.balanceOf(address(tasks)), pool);
    }
}
