// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";

import {AppealOver, SlashSettled, SlashUnknown} from "../src/Errors.sol";
import {IRegistry} from "../src/interfaces/IRegistry.sol";
import {SlashStatus} from "../src/Types.sol";
import {ConsortiumTest} from "./helpers/Consortium.sol";
import {bound, vm} from "./helpers/Vm.sol";

contract WaiveTest is ConsortiumTest {
    address private node;
    uint256 private stake;

    function setUp() public override {
        super.setUp();
        node = absentRound(demo()).proposers[0];
        stake = keyOf[node] * 100 * TOKEN;
    }

    function testFuzz_WithinTheAppealWindowItIsStakeAgain(uint256 time) public {
        uint256 slash = _slashOf(node);
        vm.warp(block.timestamp + bound(time, 0, APPEAL_SECONDS - 1));
        uint256 owed = registry.totalOwed();

        vm.expectEmit();
        emit IRegistry.SlashWaived(slash, node, stake);
        vm.prank(council);
        registry.waive(slash);

        vm.assertEq(stakeOf(node), stake);
        vm.assertEq(registry.nodeOf(node).pendingSlashes, 0);
        vm.assertEq(uint256(registry.slashOf(slash).status), uint256(SlashStatus.Waived));
        vm.assertEq(registry.totalOwed(), owed);
    }

    function testFuzz_AfterwardsItIsTooLate(uint256 time) public {
        uint64 end = registry.slashOf(0).executableAt;
        vm.warp(end + bound(time, 0, 1e9));
        vm.expectRevert(abi.encodeWithSelector(AppealOver.selector, end));
        vm.prank(council);
        registry.waive(0);
    }

    function testFuzz_OnlyTheCouncil(address stranger) public {
        vm.assume(stranger != council);
        vm.expectRevert(abi.encodeWithSelector(Ownable.OwnableUnauthorizedAccount.selector, stranger));
        vm.prank(stranger);
        registry.waive(0);
    }

    function test_OnceAndOnlyWhatThereIs() public {
        vm.prank(council);
        registry.waive(0);
        vm.expectRevert(abi.encodeWithSelector(SlashSettled.selector, 0));
        vm.prank(council);
        registry.waive(0);
        vm.expectRevert(abi.encodeWithSelector(SlashUnknown.selector, 3));
        vm.prank(council);
        registry.waive(3);
        vm.expectRevert(abi.encodeWithSelector(SlashUnknown.selector, 3));
        registry.slashOf(3);
        vm.warp(block.timestamp + APPEAL_SECONDS);
        vm.expectRevert(abi.encodeWithSelector(SlashSettled.selector, 0));
        registry.execute(0);
    }

    function _slashOf(address who) private view returns (uint256 slash) {
        while (registry.slashOf(slash).node != who) ++slash;
    }
}
