// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {NothingToRefund, TaskNotOver, TaskUnknown} from "../src/Errors.sol";
import {ITasks} from "../src/interfaces/ITasks.sol";
import {Phase, PoolView} from "../src/Types.sol";
import {ConsortiumTest} from "./helpers/Consortium.sol";
import {bound, vm} from "./helpers/Vm.sol";

/// What is left of a pool goes back to who filled it.
contract RefundTest is ConsortiumTest {
    address[3] private funders = [address(0xF1), address(0xF2), address(0xF3)];

    function testFuzz_AnyoneTriggersAndTheFunderIsPaid(address caller, uint256 amount) public {
        amount = bound(amount, 1, 1e30);
        uint64 task = createTask(demoConfig(), 0);
        fundFrom(funders[0], task, amount);
        vm.assertEq(tasks.refundableOf(task, funders[0]), 0);
        cancel(task);
        vm.assertEq(tasks.refundableOf(task, funders[0]), amount);

        vm.expectEmit();
        emit ITasks.Refunded(task, funders[0], amount);
        vm.prank(caller);
        vm.assertEq(tasks.refund(task, funders[0]), amount);

        vm.assertEq(token.balanceOf(funders[0]), amount);
        vm.assertEq(tasks.totalOwed(), 0);
        vm.assertEq(tasks.poolOf(task).refunded, amount);
        _nothing(task, funders[0]);
    }

    /// Contributions in any proportion, gifts before and slashes after the end, refunds in any order and number: each
    /// funder gets its part to within a unit, and all together never more than there is.
    function testFuzz_ProRataWhateverTheOrder(
        uint256[3] memory amounts,
        uint256 gift,
        uint256[4] memory late,
        uint8[8] memory order
    ) public {
        uint64 task = createTask(demoConfig(), 0);
        uint256 contributed;
        for (uint256 i; i < 3; ++i) {
            amounts[i] = bound(amounts[i], 1, 1e30);
            fundFrom(funders[i], task, amounts[i]);
            contributed += amounts[i];
        }
        gift = bound(gift, 0, 1e30);
        tasks.topUp(task, gift);
        cancel(task);
        uint256 total = contributed + gift;
        for (uint256 i; i < order.length; ++i) {
            if (i % 2 == 0) {
                late[i / 2] = bound(late[i / 2], 0, 1e30);
                tasks.topUp(task, late[i / 2]);
                total += late[i / 2];
            }
            address funder = funders[order[i] % 3];
            uint256 due = tasks.refundableOf(task, funder);
            if (due != 0) vm.assertEq(tasks.refund(task, funder), due);
            _never(task, total);
        }
        for (uint256 i; i < 3; ++i) {
            if (tasks.refundableOf(task, funders[i]) != 0) tasks.refund(task, funders[i]);
            // total · amount ≤ 1e61, no overflow.
            vm.assertEq(token.balanceOf(funders[i]), total * amounts[i] / contributed);
            _nothing(task, funders[i]);
        }
        _never(task, total);
        vm.assertLt(tasks.poolOf(task).pool, 3);
    }

    function test_OfAFinishedTaskTheRest() public {
        uint64 task = demo();
        for (uint256 i; i < 3; ++i) {
            absentRound(task);
            vm.warp(block.timestamp + 1);
            for (uint256 n; n < 4; ++n) {
                comeBack(returnOf(admitted[n]));
            }
        }
        assertPhase(task, Phase.Aborted);
        vm.assertTrue(tasks.poolOf(task).isOver);
        vm.assertEq(tasks.refund(task, address(this)), 3000 * TOKEN);
        _nothing(task, address(this));

        vm.warp(block.timestamp + APPEAL_SECONDS);
        uint256 slashed;
        for (uint256 i; i < registry.slashCount(); ++i) {
            slashed += registry.slashOf(i).amount;
            registry.execute(i);
        }
        vm.assertTrue(slashed != 0);
        vm.assertEq(tasks.refund(task, address(this)), slashed);
    }

    function test_RewardsAreNotRefunded() public {
        uint64 task = demo();
        finalRound(task);
        cancel(task);
        uint256 claimable;
        for (uint256 i; i < 4; ++i) {
            claimable += tasks.claimableOf(admitted[i]);
        }
        vm.assertEq(tasks.refund(task, address(this)), 3000 * TOKEN - claimable);
        vm.assertEq(tasks.totalOwed(), claimable);
        for (uint256 i; i < 4; ++i) {
            tasks.claim(admitted[i]);
        }
        vm.assertEq(tasks.totalOwed(), 0);
    }

    function test_NotWhileRoundsMayBeOpened() public {
        uint64 task = demo();
        _notOver(task);
        openTraining(task);
        _notOver(task);
        pause(task);
        _notOver(task);
        vm.expectRevert(abi.encodeWithSelector(TaskUnknown.selector, task + 1));
        tasks.refund(task + 1, address(this));
    }

    function testFuzz_WhoPutNothingInGetsNothing(address stranger, uint256 gift) public {
        vm.assume(stranger != address(this));
        uint64 task = createTask(demoConfig(), TOKEN);
        tasks.topUp(task, bound(gift, 0, 1e30));
        cancel(task);
        _nothing(task, stranger);
    }

    function test_OnePoolNeverPaysForAnother() public {
        uint64 task = createTask(demoConfig(), 100);
        uint64 other = createTask(demoConfig(), 1000);
        cancel(task);
        tasks.refund(task, address(this));
        _nothing(task, address(this));
        vm.assertEq(tasks.poolOf(other).pool, 1000);
        vm.assertEq(tasks.totalOwed(), 1000);
    }

    function _never(uint64 task, uint256 total) private view {
        PoolView memory money = tasks.poolOf(task);
        vm.assertEq(money.pool + money.refunded, total);
        vm.assertEq(tasks.totalOwed(), money.pool);
        vm.assertEq(token.balanceOf(address(tasks)), money.pool);
    }

    function _notOver(uint64 task) private {
        vm.expectRevert(abi.encodeWithSelector(TaskNotOver.selector, task));
        tasks.refund(task, address(this));
        vm.assertEq(tasks.refundableOf(task, address(this)), 0);
    }

    function _nothing(uint64 task, address funder) private {
        vm.assertEq(tasks.refundableOf(task, funder), 0);
        vm.expectRevert(abi.encodeWithSelector(NothingToRefund.selector, funder));
        tasks.refund(task, funder);
    }
}
