// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {NothingToClaim, OnlyRounds, OverspentReward} from "../src/Errors.sol";
import {ITasks} from "../src/interfaces/ITasks.sol";
import {ConsortiumTest} from "./helpers/Consortium.sol";
import {bound, vm} from "./helpers/Vm.sol";

/// Claims, and the books that only the rounds contract may write.
contract ClaimTest is ConsortiumTest {
    /// forge-config: default.fuzz.runs = 50
    function testFuzz_AnyoneTriggersAndTheOwnerIsPaid(address caller) public {
        uint64 task = demo();
        openCommitting(task);
        vote(task, allScores(task, 50_000));
        attestAll(task, 1);
        address node = admitted[3];
        uint256 amount = tasks.claimableOf(node);
        uint256 owed = tasks.totalOwed();

        vm.expectEmit();
        emit ITasks.Claimed(node, amount);
        vm.prank(caller);
        vm.assertEq(tasks.claim(node), amount);

        vm.assertEq(token.balanceOf(node), amount);
        vm.assertEq(tasks.claimableOf(node), 0);
        vm.assertEq(tasks.totalOwed(), owed - amount);
        vm.expectRevert(abi.encodeWithSelector(NothingToClaim.selector, node));
        tasks.claim(node);
    }

    function testFuzz_OnlyTheRoundsContractOpensAndSettles(address stranger) public {
        vm.assume(stranger != address(rounds));
        uint64 task = createTask(demoConfig(), TOKEN);
        vm.expectRevert(OnlyRounds.selector);
        vm.prank(stranger);
        tasks.openRound(task, 1);
        vm.expectRevert(OnlyRounds.selector);
        vm.prank(stranger);
        tasks.settleRound(task, 1, new address[](0), new uint256[](0), false);
    }

    function testFuzz_ARoundNeverPaysMoreThanItsReward(uint256 pool, uint256 amount) public {
        pool = bound(pool, 2, 1e30);
        uint64 task = createTask(demoConfig(), pool);
        address[] memory nodes = new address[](1);
        uint256[] memory amounts = new uint256[](1);
        (nodes[0], amounts[0]) = (address(7), bound(amount, pool / 2 + 1, type(uint256).max));
        vm.prank(address(rounds));
        tasks.openRound(task, 2);
        vm.expectRevert(abi.encodeWithSelector(OverspentReward.selector, pool / 2, amounts[0]));
        vm.prank(address(rounds));
        tasks.settleRound(task, 1, nodes, amounts, false);
    }
}
