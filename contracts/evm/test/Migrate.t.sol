// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {Nonces} from "@openzeppelin/contracts/utils/Nonces.sol";

import {
    Expired,
    InOpenRounds,
    NodeUnknown,
    NothingMature,
    SlashesPending,
    WrongSignature,
    WrongSuccessor
} from "../src/Errors.sol";
import {IRegistry} from "../src/interfaces/IRegistry.sol";
import {Migration} from "../src/Messages.sol";
import {ConsortiumTest} from "./helpers/Consortium.sol";
import {bound, vm} from "./helpers/Vm.sol";

/// Stakes that move to a second deployed registry.
contract MigrateTest is ConsortiumTest {
    uint256 private constant STAKE = 100 * TOKEN;

    IRegistry private next;
    address private node;

    function setUp() public override {
        super.setUp();
        node = admitNode(1, STAKE);
        next = deployRegistry(address(0xBEEF));
        vm.startPrank(council);
        next.admit(node, vm.addr(1), 1);
        registry.nameSuccessor(address(next));
        vm.stopPrank();
    }

    function testFuzz_WhatHasMaturedIsStakeThere(address relayer, uint256 amount) public {
        amount = bound(amount, 1, STAKE);
        Migration memory message = _mature(amount);
        bytes memory signature = signAsOwner(node, hashOf(message));

        vm.expectEmit();
        emit IRegistry.Migrated(node, address(next), amount);
        vm.prank(relayer);
        vm.assertEq(registry.migrate(message, signature), amount);

        vm.assertEq(next.nodeOf(node).stake, amount);
        vm.assertEq(next.totalOwed(), amount);
        vm.assertEq(token.balanceOf(address(next)), amount);
        vm.assertEq(registry.totalOwed(), STAKE - amount);
        vm.assertEq(token.balanceOf(address(registry)), STAKE - amount);
        vm.assertEq(token.allowance(address(registry), address(next)), 0);
        vm.assertEq(registry.nodeOf(node).unbonding, 0);
    }

    function test_TheAccountItselfSendsItUnsigned() public {
        Migration memory message = _mature(TOKEN);
        vm.prank(node);
        registry.migrate(message, "");
        vm.assertEq(next.nodeOf(node).stake, TOKEN);
    }

    function test_NotBeforeItMatures() public {
        exit(node, TOKEN);
        vm.warp(block.timestamp + UNBONDING_SECONDS - 1);
        _refused(migrationOf(node, address(next)), abi.encodeWithSelector(NothingMature.selector, node));
    }

    function test_ItWaitsForOpenRoundsAndThenForSlashes() public {
        uint64 task = _demoTask();
        openTraining(task);
        exit(node, TOKEN);
        vm.warp(block.timestamp + UNBONDING_SECONDS);
        _refused(migrationOf(node, address(next)), abi.encodeWithSelector(InOpenRounds.selector, 1));
        rounds.advance(task);
        if (registry.nodeOf(node).pendingSlashes != 0) {
            _refused(migrationOf(node, address(next)), abi.encodeWithSelector(SlashesPending.selector, 1));
        }
    }

    function testFuzz_OnlyToTheSuccessorTheNodeNames(address other) public {
        vm.assume(other != address(next));
        Migration memory message = _mature(TOKEN);
        message.successor = other;
        _refused(message, abi.encodeWithSelector(WrongSuccessor.selector, address(next)));
    }

    function test_NotWhileThereIsNoSuccessor() public {
        Migration memory message = _mature(TOKEN);
        vm.expectEmit();
        emit IRegistry.SuccessorNamed(address(0));
        vm.prank(council);
        registry.nameSuccessor(address(0));
        _refused(message, abi.encodeWithSelector(WrongSuccessor.selector, address(0)));
        message.successor = address(0);
        _refused(message, abi.encodeWithSelector(WrongSuccessor.selector, address(0)));
    }

    /// The council names another one between signature and call: the node did not agree to that.
    function test_ANewSuccessorNeedsANewSignature() public {
        Migration memory message = _mature(TOKEN);
        IRegistry other = deployRegistry(address(0xBEEF));
        vm.prank(council);
        registry.nameSuccessor(address(other));
        _refused(message, abi.encodeWithSelector(WrongSuccessor.selector, address(other)));
    }

    function test_ANodeTheSuccessorDoesNotKnowKeepsItsStake() public {
        IRegistry other = deployRegistry(address(0xBEEF));
        _mature(TOKEN);
        vm.prank(council);
        registry.nameSuccessor(address(other));
        _refused(migrationOf(node, address(other)), abi.encodeWithSelector(NodeUnknown.selector, node));
        vm.assertEq(registry.withdraw(node), TOKEN);
    }

    function testFuzz_OnlyTheNodeItself(uint256 key) public {
        key = bound(key, 1, 1e60);
        vm.assume(key != ownerKeyOf[node]);
        Migration memory message = _mature(TOKEN);
        bytes memory signature = signTo(address(registry), key, hashOf(message));
        vm.expectRevert(abi.encodeWithSelector(WrongSignature.selector, node));
        registry.migrate(message, signature);
    }

    function test_OnceAndInTime() public {
        Migration memory message = _mature(TOKEN);
        migrate(message);
        _refused(message, abi.encodeWithSelector(Nonces.InvalidAccountNonce.selector, node, 2));
        message = migrationOf(node, address(next));
        message.expiry = uint64(block.timestamp) - 1;
        _refused(message, abi.encodeWithSelector(Expired.selector, message.expiry));
        message.node = address(77);
        _refused(message, abi.encodeWithSelector(NodeUnknown.selector, address(77)));
    }

    function testFuzz_OnlyTheCouncilNamesASuccessor(address stranger) public {
        vm.assume(stranger != council);
        vm.expectRevert(abi.encodeWithSelector(Ownable.OwnableUnauthorizedAccount.selector, stranger));
        vm.prank(stranger);
        registry.nameSuccessor(address(next));
    }

    function test_ASuccessorHasTheSameToken() public {
        bytes memory arguments = abi.encode(address(1), council, address(2), 0, 0, 1);
        address other = vm.deployCode("Registry.sol:Registry", arguments);
        vm.expectRevert(abi.encodeWithSelector(WrongSuccessor.selector, address(0)));
        vm.prank(council);
        registry.nameSuccessor(other);
    }

    function _mature(uint256 amount) private returns (Migration memory) {
        exit(node, amount);
        vm.warp(block.timestamp + UNBONDING_SECONDS);
        return migrationOf(node, address(next));
    }

    function _demoTask() private returns (uint64 task) {
        for (uint256 i = 2; i <= 4; ++i) {
            admitNode(i, i * 100 * TOKEN);
        }
        task = createTask(demoConfig(), 0);
        approveAll(task);
    }

    function _refused(Migration memory message, bytes memory reason) private {
        bytes memory signature = signAsOwner(node, hashOf(message));
        vm.expectRevert(reason);
        registry.migrate(message, signature);
    }
}
