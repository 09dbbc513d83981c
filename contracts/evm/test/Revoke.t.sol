// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Nonces} from "@openzeppelin/contracts/utils/Nonces.sol";

import {Expired, NodeUnknown, NotApproved, NotEnoughEligible, TaskUnknown, WrongSignature} from "../src/Errors.sol";
import {ITasks} from "../src/interfaces/ITasks.sol";
import {Revocation} from "../src/Messages.sol";
import {Phase} from "../src/Types.sol";
import {ConsortiumTest} from "./helpers/Consortium.sol";
import {bound, vm} from "./helpers/Vm.sol";

contract RevokeTest is ConsortiumTest {
    uint64 private task;
    address private node;

    function setUp() public override {
        super.setUp();
        task = demo();
        node = admitted[0];
    }

    function testFuzz_AnyoneRelaysARevocation(address relayer) public {
        Revocation memory message = revocationOf(task, node);
        bytes memory signature = signTo(address(tasks), keyOf[node], hashOf(message));

        vm.expectEmit();
        emit ITasks.Revoked(task, node);
        vm.prank(relayer);
        tasks.revoke(message, signature);

        address[] memory left = tasks.approvedOf(task);
        vm.assertEq(left.length, 3);
        for (uint256 i; i < 3; ++i) {
            vm.assertTrue(left[i] != node);
            if (i != 0) vm.assertTrue(left[i - 1] < left[i]);
        }
        vm.expectRevert(abi.encodeWithSelector(NotEnoughEligible.selector, 3, 4));
        rounds.requestRound(task);
    }

    function test_TheSigningKeyItselfSendsItUnsigned() public {
        Revocation memory message = revocationOf(task, node);
        vm.prank(vm.addr(keyOf[node]));
        tasks.revoke(message, "");
        vm.assertEq(tasks.approvedOf(task).length, 3);
    }

    function test_InTheOpenRoundItServesOn() public {
        openCommitting(task);
        revoke(task, node);
        vote(task, allScores(task, 50_000));
        attestAll(task, 1);
        assertPhase(task, Phase.Final);
    }

    function test_ItMayApproveAgain() public {
        revoke(task, node);
        approve(task, node);
        vm.assertEq(tasks.approvedOf(task).length, 4);
        finalRound(task);
    }

    function test_WhatWasNotApprovedIsRefused() public {
        revoke(task, node);
        _refused(revocationOf(task, node), abi.encodeWithSelector(NotApproved.selector, node));
    }

    function test_OnceAndInTime() public {
        Revocation memory message = revocationOf(task, node);
        tasks.revoke(message, signTo(address(tasks), keyOf[node], hashOf(message)));
        approve(task, node);
        uint256 next = nonceAt(address(tasks), node);
        _refused(message, abi.encodeWithSelector(Nonces.InvalidAccountNonce.selector, node, next));
        message = revocationOf(task, node);
        message.expiry = uint64(block.timestamp) - 1;
        _refused(message, abi.encodeWithSelector(Expired.selector, message.expiry));
    }

    function test_UnknownTasksAndNodesAreRefused() public {
        Revocation memory message = revocationOf(task + 1, node);
        _refused(message, abi.encodeWithSelector(TaskUnknown.selector, task + 1));
        message = revocationOf(task, address(77));
        _refused(message, abi.encodeWithSelector(NodeUnknown.selector, address(77)));
    }

    function testFuzz_AnotherKeyIsRefused(uint256 key) public {
        key = bound(key, 2, 1e60);
        Revocation memory message = revocationOf(task, node);
        vm.expectRevert(abi.encodeWithSelector(WrongSignature.selector, vm.addr(1)));
        tasks.revoke(message, signTo(address(tasks), key, hashOf(message)));
    }

    /// An approval is not a revocation, though it names the same node, task, nonce and time.
    function test_AnApprovalsSignatureIsNone() public {
        Revocation memory message = revocationOf(task, node);
        bytes memory signature = signTo(address(tasks), keyOf[node], hashOf(approvalOf(task, node)));
        vm.expectRevert(abi.encodeWithSelector(WrongSignature.selector, vm.addr(1)));
        tasks.revoke(message, signature);
    }

    function _refused(Revocation memory message, bytes memory reason) private {
        bytes memory signature = signTo(address(tasks), keyOf[node], hashOf(message));
        vm.expectRevert(reason);
        tasks.revoke(message, signature);
    }
}
