// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";

import {NodeKnown, ZeroAddress, ZeroGroup} from "../src/Errors.sol";
import {IRegistry} from "../src/interfaces/IRegistry.sol";
import {NodeView} from "../src/Types.sol";
import {ConsortiumTest} from "./helpers/Consortium.sol";
import {vm} from "./helpers/Vm.sol";

contract AdmitTest is ConsortiumTest {
    function testFuzz_CouncilAdmits(address node, address signer, uint64 group) public {
        vm.assume(node != address(0) && signer != address(0) && group != 0);

        vm.expectEmit();
        emit IRegistry.NodeAdmitted(node, signer, group);
        vm.prank(council);
        registry.admit(node, signer, group);

        NodeView memory admittedNode = registry.nodeOf(node);
        vm.assertTrue(admittedNode.admitted);
        vm.assertEq(admittedNode.signer, signer);
        vm.assertEq(admittedNode.group, group);
        vm.assertEq(admittedNode.stake, 0);
        vm.assertEq(registry.signerOf(node), signer);
        vm.assertEq(registry.nodeOf(node).group, group);
        vm.assertEq(registry.nodes()[0], node);
    }

    function testFuzz_OnlyTheCouncilAdmits(address stranger) public {
        vm.assume(stranger != council);
        vm.expectRevert(abi.encodeWithSelector(Ownable.OwnableUnauthorizedAccount.selector, stranger));
        vm.prank(stranger);
        registry.admit(address(1), address(2), 1);
    }

    function test_ANodeIsAdmittedOnce() public {
        address node = admitNode(1, 0);
        vm.expectRevert(abi.encodeWithSelector(NodeKnown.selector, node));
        vm.prank(council);
        registry.admit(node, address(2), 7);
    }

    function test_ZeroesAreRefused() public {
        vm.expectRevert(ZeroAddress.selector);
        vm.prank(council);
        registry.admit(address(0), address(2), 1);
        vm.expectRevert(ZeroAddress.selector);
        vm.prank(council);
        registry.admit(address(1), address(0), 1);
        vm.expectRevert(ZeroGroup.selector);
        vm.prank(council);
        registry.admit(address(1), address(2), 0);
    }
}
