// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {OnlyRounds} from "../src/Errors.sol";
import {IRegistry} from "../src/interfaces/IRegistry.sol";
import {Attendance, Conduct, Fault, SlashStatus, SlashView} from "../src/Types.sol";
import {ConsortiumTest} from "./helpers/Consortium.sol";
import {bound, vm} from "./helpers/Vm.sol";

/// What the rounds contract, and nobody else, tells the registry.
contract RolesTest is ConsortiumTest {
    function testFuzz_OnlyTheRoundsContractOpensAndCloses(address stranger) public {
        vm.assume(stranger != address(rounds));
        vm.expectRevert(OnlyRounds.selector);
        vm.prank(stranger);
        registry.openRoles(new address[](0));
        vm.expectRevert(OnlyRounds.selector);
        vm.prank(stranger);
        registry.closeRoles(1, 1, new Conduct[](0));
    }

    function testFuzz_OpeningCountsRoundsAndTellsGroups(uint64 first, uint64 second, uint8 times) public {
        vm.assume(first != 0 && second != 0);
        address[] memory nodes = new address[](2);
        (nodes[0], nodes[1]) = (admitNode(1, 0, first), admitNode(2, 0, second));
        for (uint256 i; i < times; ++i) {
            vm.prank(address(rounds));
            uint64[] memory groups = registry.openRoles(nodes);
            vm.assertEq(groups.length, 2);
            vm.assertEq(groups[0], first);
            vm.assertEq(groups[1], second);
        }
        vm.assertEq(registry.nodeOf(nodes[0]).openRounds, times);
        for (uint256 i; i < times; ++i) {
            _close(nodes[0], Attendance.NotAsked, Fault.None, 0);
        }
        vm.assertEq(registry.nodeOf(nodes[0]).openRounds, 0);
        vm.assertEq(registry.nodeOf(nodes[1]).openRounds, times);
    }

    function test_AbsencesCountUpStopAtTheMostAndStartAnew() public {
        address node = admitNode(1, TOKEN);
        for (uint256 i = 1; i <= 257; ++i) {
            _open(node);
            _close(node, Attendance.Absent, Fault.None, 0);
            vm.assertEq(registry.nodeOf(node).absences, i < 255 ? i : 255);
        }
        _open(node);
        _close(node, Attendance.NotAsked, Fault.None, 0);
        vm.assertEq(registry.nodeOf(node).absences, 255);
        _open(node);
        _close(node, Attendance.Attended, Fault.None, 0);
        vm.assertEq(registry.nodeOf(node).absences, 0);
    }

    /// A slash takes from the stake first, then from what matures last, and never more than there is.
    function testFuzz_ASlashReachesWhatIsLeaving(uint256 stake, uint256[3] memory exits, uint96 slash) public {
        stake = bound(stake, 4, 1e28);
        address node = admitNode(1, stake);
        uint256 left = stake;
        for (uint256 i; i < 3; ++i) {
            exits[i] = bound(exits[i], 1, left - (2 - i));
            exit(node, exits[i]);
            left -= exits[i];
            vm.warp(block.timestamp + 1 days);
        }
        _open(node);

        uint256 amount = slash < stake ? slash : stake;
        uint256 fromStake = slash < left ? slash : left;
        vm.expectEmit();
        emit IRegistry.FaultRecorded(
            5, 6, node, Fault.Absent, 0, amount, uint64(block.timestamp) + APPEAL_SECONDS, left - fromStake
        );
        _close(node, Attendance.Absent, Fault.Absent, slash);

        vm.assertEq(stakeOf(node), left - fromStake);
        uint256 missing = amount - fromStake;
        for (uint256 i = 3; i != 0; --i) {
            uint256 taken = missing < exits[i - 1] ? missing : exits[i - 1];
            exits[i - 1] -= taken;
            missing -= taken;
        }
        uint256 entries;
        for (uint256 i; i < 3; ++i) {
            if (exits[i] == 0) continue;
            vm.assertEq(registry.unbondingOf(node)[entries++].amount, exits[i]);
        }
        vm.assertEq(registry.unbondingOf(node).length, entries);
        vm.assertEq(registry.nodeOf(node).unbonding, exits[0] + exits[1] + exits[2]);
        vm.assertEq(registry.nodeOf(node).pendingSlashes, 1);
        vm.assertEq(registry.totalOwed(), stake);

        SlashView memory recorded = registry.slashOf(0);
        vm.assertEq(recorded.node, node);
        vm.assertEq(recorded.task, 5);
        vm.assertEq(recorded.round, 6);
        vm.assertEq(uint256(recorded.fault), uint256(Fault.Absent));
        vm.assertEq(uint256(recorded.status), uint256(SlashStatus.Pending));
        vm.assertEq(recorded.executableAt, block.timestamp + APPEAL_SECONDS);
        vm.assertEq(recorded.amount, amount);
    }

    function _open(address node) private {
        address[] memory nodes = new address[](1);
        nodes[0] = node;
        vm.prank(address(rounds));
        registry.openRoles(nodes);
    }

    function _close(address node, Attendance attendance, Fault fault, uint96 slash) private {
        Conduct[] memory conducts = new Conduct[](1);
        conducts[0] = Conduct({node: node, attendance: attendance, fault: fault, slash: slash});
        vm.prank(address(rounds));
        registry.closeRoles(5, 6, conducts);
    }
}
