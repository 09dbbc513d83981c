// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {
    AlreadySent,
    DeadlinePassed,
    NotDrawn,
    WrongContext,
    WrongPhase,
    WrongSignature,
    ZeroDigest
} from "../src/Errors.sol";
import {IRounds} from "../src/interfaces/IRounds.sol";
import {Commit} from "../src/Messages.sol";
import {Phase} from "../src/Types.sol";
import {ConsortiumTest} from "./helpers/Consortium.sol";
import {bound, vm} from "./helpers/Vm.sol";

contract CommitTest is ConsortiumTest {
    uint64 private task;
    address private voter;
    Commit private valid;

    function setUp() public override {
        super.setUp();
        task = demo();
        voter = openCommitting(task).voters[0];
        valid = Commit({node: voter, task: task, round: 1, context: viewOf(task).context, commitment: keccak256("c")});
    }

    function testFuzz_AnyoneRelaysACommit(address relayer, bytes32 commitment) public {
        vm.assume(commitment != 0);
        Commit memory message = valid;
        message.commitment = commitment;
        bytes memory signature = sign(voter, hashOf(message));

        vm.expectEmit();
        emit IRounds.Committed(task, 1, voter, commitment);
        vm.prank(relayer);
        rounds.commit(message, signature);

        vm.assertEq(viewOf(task).votes[0].commitment, commitment);
        vm.assertFalse(viewOf(task).votes[0].revealed);
    }

    function testFuzz_UpToTheDeadline(uint256 time) public {
        uint256 deadline = viewOf(task).deadline;
        time = bound(time, block.timestamp, deadline + 1000);
        vm.warp(time);
        Commit memory message = valid;
        if (time > deadline) vm.expectRevert(abi.encodeWithSelector(DeadlinePassed.selector, deadline));
        commit(message);
    }

    function test_OncePerNode() public {
        commit(valid);
        Commit memory second = valid;
        second.commitment = keccak256("second thoughts");
        _refused(second, abi.encodeWithSelector(AlreadySent.selector, voter));
        vm.assertEq(viewOf(task).votes[0].commitment, valid.commitment);
    }

    function testFuzz_AnotherContextIsRefused(bytes16 context) public {
        vm.assume(context != valid.context);
        Commit memory message = valid;
        message.context = context;
        _refused(message, abi.encodeWithSelector(WrongContext.selector, valid.context));
    }

    function test_NothingIsRefused() public {
        Commit memory message = valid;
        message.commitment = 0;
        _refused(message, abi.encodeWithSelector(ZeroDigest.selector));
    }

    function test_ANodeThatWasNotDrawnIsRefused() public {
        Commit memory message = valid;
        message.node = admitNode(50, TOKEN);
        _refused(message, abi.encodeWithSelector(NotDrawn.selector, message.node));
    }

    function test_AnotherKeyIsRefused() public {
        vm.expectRevert(abi.encodeWithSelector(WrongSignature.selector, registry.signerOf(voter)));
        rounds.commit(valid, signWith(99, hashOf(valid), address(rounds), block.chainid));
    }

    function test_AnotherPhaseIsRefused() public {
        passDeadline(task);
        rounds.advance(task);
        _refused(valid, abi.encodeWithSelector(WrongPhase.selector, Phase.Aborted));
    }

    function _refused(Commit memory message, bytes memory reason) private {
        bytes memory signature = sign(message.node, hashOf(message));
        vm.expectRevert(reason);
        rounds.commit(message, signature);
    }
}
