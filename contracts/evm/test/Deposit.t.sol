// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IERC20Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";

import {NodeDismissed, NodeUnknown, ZeroAmount} from "../src/Errors.sol";
import {IRegistry} from "../src/interfaces/IRegistry.sol";
import {ConsortiumTest} from "./helpers/Consortium.sol";
import {bound, vm} from "./helpers/Vm.sol";

contract DepositTest is ConsortiumTest {
    function testFuzz_AnyoneDepositsForANode(uint256 first, uint256 second) public {
        first = bound(first, 1, 1e28);
        second = bound(second, 1, 1e28);
        address node = admitNode(1, 0);

        registry.deposit(node, first);
        vm.expectEmit();
        emit IRegistry.StakeDeposited(node, second, first + second);
        registry.deposit(node, second);

        vm.assertEq(stakeOf(node), first + second);
        vm.assertEq(registry.eligibleStakeOf(node), first + second);
        vm.assertEq(registry.totalOwed(), first + second);
        vm.assertEq(token.balanceOf(address(registry)), first + second);
    }

    function test_UnknownAndDismissedNodesAreRefused() public {
        vm.expectRevert(abi.encodeWithSelector(NodeUnknown.selector, address(7)));
        registry.deposit(address(7), 1);
        address node = admitNode(1, TOKEN);
        vm.prank(council);
        registry.dismiss(node);
        vm.expectRevert(abi.encodeWithSelector(NodeDismissed.selector, node));
        registry.deposit(node, 1);
    }

    function test_NothingIsRefused() public {
        address node = admitNode(1, TOKEN);
        vm.expectRevert(ZeroAmount.selector);
        registry.deposit(node, 0);
    }

    function test_MoreThanFitsIsRefused() public {
        address node = admitNode(1, 0);
        vm.expectRevert(
            abi.encodeWithSelector(SafeCast.SafeCastOverflowedUintDowncast.selector, 96, uint256(type(uint96).max) + 1)
        );
        registry.deposit(node, uint256(type(uint96).max) + 1);
    }

    function test_WithoutAnAllowanceItIsRefused() public {
        address node = admitNode(1, 0);
        address payer = address(0xFA);
        mint(payer, 5);
        vm.expectRevert(
            abi.encodeWithSelector(IERC20Errors.ERC20InsufficientAllowance.selector, address(registry), 0, 5)
        );
        vm.prank(payer);
        registry.deposit(node, 5);
    }
}
