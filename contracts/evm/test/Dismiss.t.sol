// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";

import {NodeDismissed, NodeUnknown, NotEnoughEligible} from "../src/Errors.sol";
import {IRegistry} from "../src/interfaces/IRegistry.sol";
import {Attendance, Conduct, Fault, NodeView} from "../src/Types.sol";
import {ConsortiumTest} from "./helpers/Consortium.sol";
import {bound, vm} from "./helpers/Vm.sol";

/// Nodes that the council dismisses, and admits again.
contract DismissTest is ConsortiumTest {
    function testFuzz_TheStakeStaysAndCountsNoMore(uint256 stake) public {
        stake = bound(stake, 1, 1e28);
        address node = admitNode(1, stake);

        vm.expectEmit();
        emit IRegistry.NodeLeft(node);
        vm.prank(council);
        registry.dismiss(node);

        NodeView memory dismissed = registry.nodeOf(node);
        vm.assertFalse(dismissed.admitted);
        vm.assertEq(dismissed.stake, stake);
        vm.assertEq(dismissed.eligibleStake, 0);
        vm.assertEq(registry.signerOf(node), vm.addr(1));
        vm.assertEq(registry.totalOwed(), stake);
    }

    function testFuzz_OnlyTheCouncilDismisses(address stranger) public {
        vm.assume(stranger != council);
        address node = admitNode(1, 0);
        vm.expectRevert(abi.encodeWithSelector(Ownable.OwnableUnauthorizedAccount.selector, stranger));
        vm.prank(stranger);
        registry.dismiss(node);
    }

    function test_UnknownAndDismissedNodesAreRefused() public {
        vm.expectRevert(abi.encodeWithSelector(NodeUnknown.selector, address(7)));
        dismiss(address(7));
        address node = admitNode(1, 0);
        dismiss(node);
        vm.expectRevert(abi.encodeWithSelector(NodeDismissed.selector, node));
        dismiss(node);
    }

    function test_ItIsLeftOutOfTheNextRoundAndServesInTheOpenOne() public {
        uint64 task = demo();
        openCommitting(task);
        dismiss(admitted[3]);
        vote(task, allScores(task, 50_000));
        attestAll(task, 1);
        vm.assertTrue(tasks.claimableOf(admitted[3]) != 0);

        vm.expectRevert(abi.encodeWithSelector(NotEnoughEligible.selector, 3, 4));
        rounds.requestRound(task);
    }

    function test_ItTakesItsStakeOut() public {
        address node = admitNode(1, TOKEN);
        dismiss(node);
        exit(node, TOKEN);
        vm.warp(block.timestamp + UNBONDING_SECONDS);
        vm.assertEq(registry.withdraw(node), TOKEN);
    }

    function testFuzz_AdmittedAgainItHasWhatItHad(address signer, uint64 group) public {
        vm.assume(signer != address(0) && group != 0);
        address node = admitNode(1, TOKEN);
        _absent(node);
        dismiss(node);

        vm.expectEmit();
        emit IRegistry.NodeAdmitted(node, signer, group);
        vm.prank(council);
        registry.admit(node, signer, group);

        NodeView memory again = registry.nodeOf(node);
        vm.assertTrue(again.admitted);
        vm.assertEq(again.stake, TOKEN);
        vm.assertEq(again.eligibleStake, TOKEN);
        vm.assertEq(again.absences, 1);
        vm.assertEq(again.signer, signer);
        vm.assertEq(again.group, group);
        vm.assertEq(registry.nodes().length, 1);
    }

    function _absent(address node) private {
        address[] memory nodes = new address[](1);
        Conduct[] memory conducts = new Conduct[](1);
        nodes[0] = node;
        conducts[0] = Conduct({node: node, attendance: Attendance.Absent, fault: Fault.None, slash: 0});
        vm.startPrank(address(rounds));
        registry.openRoles(nodes);
        registry.closeRoles(1, 1, conducts);
        vm.stopPrank();
    }
}
