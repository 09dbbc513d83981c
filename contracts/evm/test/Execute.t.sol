// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {AppealOpen, SlashSettled, SlashUnknown} from "../src/Errors.sol";
import {IRegistry} from "../src/interfaces/IRegistry.sol";
import {ITasks} from "../src/interfaces/ITasks.sol";
import {SlashStatus, SlashView, TaskConfig} from "../src/Types.sol";
import {ConsortiumTest} from "./helpers/Consortium.sol";
import {bound, vm} from "./helpers/Vm.sol";

/// Slashes whose appeal window is over.
contract ExecuteTest is ConsortiumTest {
    uint64 private task;

    function setUp() public override {
        super.setUp();
        task = demo();
        absentRound(task);
    }

    function testFuzz_AnyoneSendsItToThePoolAndNobodyElseIsPaid(address caller, uint256 time) public {
        vm.assume(caller != address(registry) && caller != address(tasks));
        vm.warp(block.timestamp + bound(time, APPEAL_SECONDS, 1e9));
        SlashView memory slash = registry.slashOf(0);
        uint256 pool = tasks.poolOf(task).pool;
        uint256 owed = registry.totalOwed();
        uint256 balance = token.balanceOf(caller);
        uint256 stake = stakeOf(slash.node);

        vm.expectEmit();
        emit IRegistry.SlashExecuted(0, slash.node, task, slash.amount);
        vm.expectEmit();
        emit ITasks.TaskToppedUp(task, address(registry), slash.amount, pool + slash.amount);
        vm.prank(caller);
        registry.execute(0);

        vm.assertEq(tasks.poolOf(task).pool, pool + slash.amount);
        vm.assertEq(registry.totalOwed(), owed - slash.amount);
        vm.assertEq(token.balanceOf(address(registry)), owed - slash.amount);
        vm.assertEq(token.balanceOf(caller), balance);
        vm.assertEq(stakeOf(slash.node), stake);
        vm.assertEq(registry.nodeOf(slash.node).pendingSlashes, 0);
        vm.assertEq(uint256(registry.slashOf(0).status), uint256(SlashStatus.Executed));
        vm.assertEq(token.allowance(address(registry), address(tasks)), 0);
    }

    function testFuzz_NotWithinTheAppealWindow(uint256 time) public {
        uint64 end = registry.slashOf(0).executableAt;
        vm.warp(bound(time, block.timestamp, end - 1));
        vm.expectRevert(abi.encodeWithSelector(AppealOpen.selector, end));
        registry.execute(0);
    }

    function test_OnceAndOnlyWhatThereIs() public {
        vm.warp(block.timestamp + APPEAL_SECONDS);
        registry.execute(0);
        vm.expectRevert(abi.encodeWithSelector(SlashSettled.selector, 0));
        registry.execute(0);
        vm.expectRevert(abi.encodeWithSelector(SlashUnknown.selector, 3));
        registry.execute(3);
    }

    function test_AlsoAfterTheTaskIsOverForItsFunders() public {
        cancel(task);
        tasks.refund(task, address(this));
        uint256 amount = registry.slashOf(0).amount;
        vm.warp(block.timestamp + APPEAL_SECONDS);
        registry.execute(0);
        vm.assertEq(tasks.refundableOf(task, address(this)), amount);
        vm.assertEq(tasks.refund(task, address(this)), amount);
    }

    function test_ASlashOfNothingIsSettledToo() public {
        TaskConfig memory config = demoConfig();
        config.absentBps = 0;
        uint64 lenient = createTask(config, 0);
        approveAll(lenient);
        absentRound(lenient);
        vm.assertEq(registry.slashOf(3).amount, 0);
        vm.warp(block.timestamp + APPEAL_SECONDS);
        registry.execute(3);
        vm.assertEq(tasks.poolOf(lenient).pool, 0);
    }

    function test_APauseDoesNotStopIt() public {
        pause(task);
        vm.warp(block.timestamp + APPEAL_SECONDS);
        registry.execute(0);
    }
}
