// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {InsufficientStake, NodeUnknown, ZeroAmount} from "../src/Errors.sol";
import {ConsortiumTest} from "./helpers/Consortium.sol";
import {bound, vm} from "./helpers/Vm.sol";

/// Stake: deposit and withdraw.
contract DepositTest is ConsortiumTest {
    function testFuzz_AnyoneDepositsForANode(uint256 first, uint256 second) public {
        first = bound(first, 1, 1e30);
        second = bound(second, 1, 1e30);
        address node = admitNode(1, 0);

        registry.deposit(node, first);
        registry.deposit(node, second);

        vm.assertEq(registry.stakeOf(node), first + second);
        vm.assertEq(registry.totalStake(), first + second);
        vm.assertEq(token.balanceOf(address(registry)), first + second);
    }

    function testFuzz_ANodeWithdrawsItsOwnStake(uint256 stake, uint256 amount) public {
        stake = bound(stake, 1, 1e30);
        amount = bound(amount, 1, stake);
        address node = admitNode(1, stake);
        admitNode(2, 5 * TOKEN);

        vm.prank(node);
        registry.withdraw(amount);

        vm.assertEq(token.balanceOf(node), amount);
        vm.assertEq(registry.stakeOf(node), stake - amount);
        vm.assertEq(registry.totalStake(), stake - amount + 5 * TOKEN);
        vm.assertEq(token.balanceOf(address(registry)), stake - amount + 5 * TOKEN);
    }

    function testFuzz_NobodyWithdrawsMoreThanItsStake(uint256 stake, uint256 amount) public {
        stake = bound(stake, 1, 1e30);
        amount = bound(amount, stake + 1, type(uint256).max);
        address node = admitNode(1, stake);
        admitNode(2, stake);
        vm.expectRevert(abi.encodeWithSelector(InsufficientStake.selector, stake));
        vm.prank(node);
        registry.withdraw(amount);
    }

    function test_UnknownNodesAreRefused() public {
        vm.expectRevert(abi.encodeWithSelector(NodeUnknown.selector, address(7)));
        registry.deposit(address(7), 1);
        vm.expectRevert(abi.encodeWithSelector(NodeUnknown.selector, address(7)));
        vm.prank(address(7));
        registry.withdraw(1);
    }

    function test_ZeroAmountsAreRefused() public {
        address node = admitNode(1, TOKEN);
        vm.expectRevert(ZeroAmount.selector);
        registry.deposit(node, 0);
        vm.expectRevert(ZeroAmount.selector);
        vm.prank(node);
        registry.withdraw(0);
    }
}
