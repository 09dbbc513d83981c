// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {InOpenRounds, NodeUnknown, NothingMature, SlashesPending} from "../src/Errors.sol";
import {IRegistry} from "../src/interfaces/IRegistry.sol";
import {ConsortiumTest} from "./helpers/Consortium.sol";
import {bound, vm} from "./helpers/Vm.sol";

contract WithdrawTest is ConsortiumTest {
    function testFuzz_AnyoneTriggersAndTheNodeIsPaid(address caller, uint256 stake, uint256 amount) public {
        stake = bound(stake, 1, 1e28);
        amount = bound(amount, 1, stake);
        address node = admitNode(1, stake);
        exit(node, amount);
        vm.warp(block.timestamp + UNBONDING_SECONDS);

        vm.expectEmit();
        emit IRegistry.Withdrawn(node, amount);
        vm.prank(caller);
        vm.assertEq(registry.withdraw(node), amount);

        vm.assertEq(token.balanceOf(node), amount);
        vm.assertEq(registry.totalOwed(), stake - amount);
        vm.assertEq(token.balanceOf(address(registry)), stake - amount);
        vm.assertEq(registry.nodeOf(node).unbonding, 0);
        _nothingMature(node);
    }

    function testFuzz_NotBeforeItMatures(uint256 time) public {
        address node = admitNode(1, TOKEN);
        exit(node, TOKEN);
        time = bound(time, 0, UNBONDING_SECONDS - 1);
        vm.warp(block.timestamp + time);
        _nothingMature(node);
    }

    function testFuzz_OnlyWhatHasMatured(uint256[4] memory amounts, uint256 gap, uint256 time) public {
        address node = admitNode(1, 1e28);
        gap = bound(gap, 0, 5 days);
        uint256 start = block.timestamp;
        for (uint256 i; i < 4; ++i) {
            amounts[i] = bound(amounts[i], 1, 1e27);
            vm.warp(start + i * gap);
            exit(node, amounts[i]);
        }
        time = start + bound(time, 0, 4 * gap + UNBONDING_SECONDS);
        vm.warp(time);
        uint256 mature;
        uint256 left;
        for (uint256 i; i < 4; ++i) {
            if (start + i * gap + UNBONDING_SECONDS <= time) mature += amounts[i];
            else left += amounts[i];
        }
        if (mature == 0) return _nothingMature(node);
        vm.assertEq(registry.withdraw(node), mature);
        vm.assertEq(registry.nodeOf(node).unbonding, left);
    }

    function test_ItWaitsForOpenRoundsAndThenForSlashes() public {
        uint64 task = demo();
        address node = openTraining(task).proposers[0];
        uint256 stake = stakeOf(node);
        exit(node, stake);
        vm.warp(block.timestamp + UNBONDING_SECONDS);
        vm.expectRevert(abi.encodeWithSelector(InOpenRounds.selector, 1));
        registry.withdraw(node);

        rounds.advance(task);
        vm.expectRevert(abi.encodeWithSelector(SlashesPending.selector, 1));
        registry.withdraw(node);

        vm.warp(block.timestamp + APPEAL_SECONDS);
        for (uint256 i; i < 3; ++i) {
            registry.execute(i);
        }
        vm.assertEq(registry.withdraw(node), stake - stake / 100);
    }

    function test_APauseDoesNotStopIt() public {
        uint64 task = demo();
        openTraining(task);
        exit(admitted[0], TOKEN);
        pause(task);
        vm.warp(block.timestamp + UNBONDING_SECONDS);
        vm.assertEq(registry.withdraw(admitted[0]), TOKEN);
    }

    function test_UnknownNodesAreRefused() public {
        vm.expectRevert(abi.encodeWithSelector(NodeUnknown.selector, address(7)));
        registry.withdraw(address(7));
    }

    function _nothingMature(address node) private {
        vm.expectRevert(abi.encodeWithSelector(NothingMature.selector, node));
        registry.withdraw(node);
    }
}
