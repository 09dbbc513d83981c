// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {
    AlreadySent,
    DeadlinePassed,
    NotDrawn,
    RepeatsAccepted,
    RepeatsParent,
    WrongContext,
    WrongParent,
    WrongPhase,
    WrongSignature,
    ZeroDigest
} from "../src/Errors.sol";
import {IRounds} from "../src/interfaces/IRounds.sol";
import {Proposal} from "../src/Messages.sol";
import {Phase, RoundView} from "../src/Types.sol";
import {ConsortiumTest} from "./helpers/Consortium.sol";
import {bound, vm} from "./helpers/Vm.sol";

contract ProposeTest is ConsortiumTest {
    uint64 private task;
    address private proposer;
    Proposal private valid;

    function setUp() public override {
        super.setUp();
        task = demo();
        proposer = openTraining(task).proposers[0];
        valid = proposalOf(task, proposer);
    }

    function testFuzz_AnyoneRelaysAProposal(address relayer, bytes32 adapterDigest, bytes32 reportDigest) public {
        vm.assume(adapterDigest != 0 && adapterDigest != GENESIS);
        Proposal memory proposal = valid;
        (proposal.adapterDigest, proposal.reportDigest) = (adapterDigest, reportDigest);
        bytes memory signature = sign(proposer, hashOf(proposal));

        vm.expectEmit();
        emit IRounds.Proposed(task, 1, proposer, adapterDigest, reportDigest);
        vm.prank(relayer);
        rounds.propose(proposal, signature);

        RoundView memory round = viewOf(task);
        vm.assertEq(round.proposals.length, 1);
        vm.assertEq(round.proposals[0].node, proposer);
        vm.assertEq(round.proposals[0].adapterDigest, adapterDigest);
    }

    function testFuzz_UpToTheDeadline(uint256 time) public {
        uint256 deadline = viewOf(task).deadline;
        time = bound(time, block.timestamp, deadline + 1000);
        vm.warp(time);
        Proposal memory proposal = valid;
        if (time > deadline) vm.expectRevert(abi.encodeWithSelector(DeadlinePassed.selector, deadline));
        propose(proposal);
    }

    function test_OncePerNode() public {
        propose(valid);
        Proposal memory second = valid;
        second.adapterDigest = keccak256("second thoughts");
        _refused(second, abi.encodeWithSelector(AlreadySent.selector, proposer));
    }

    function test_EqualDigestsMayBeProposed() public {
        propose(valid);
        Proposal memory copy = proposalOf(task, viewOf(task).proposers[1]);
        copy.adapterDigest = valid.adapterDigest;
        propose(copy);
        vm.assertEq(viewOf(task).proposals.length, 2);
    }

    function testFuzz_AnotherParentIsRefused(bytes32 parentDigest) public {
        vm.assume(parentDigest != GENESIS);
        Proposal memory proposal = valid;
        proposal.parentDigest = parentDigest;
        _refused(proposal, abi.encodeWithSelector(WrongParent.selector, GENESIS));
    }

    function testFuzz_AnotherContextIsRefused(bytes16 context) public {
        vm.assume(context != valid.context);
        Proposal memory proposal = valid;
        proposal.context = context;
        _refused(proposal, abi.encodeWithSelector(WrongContext.selector, valid.context));
    }

    function testFuzz_AnotherRoundOrTaskIsRefused(uint32 number, uint64 otherTask) public {
        vm.assume(number != 1 || otherTask != task);
        Proposal memory proposal = valid;
        (proposal.task, proposal.round) = (otherTask, number);
        _refused(proposal, abi.encodeWithSelector(WrongPhase.selector, Phase.None));
    }

    function test_TheParentItselfIsRefused() public {
        Proposal memory proposal = valid;
        proposal.adapterDigest = GENESIS;
        _refused(proposal, abi.encodeWithSelector(RepeatsParent.selector));
        proposal.adapterDigest = 0;
        _refused(proposal, abi.encodeWithSelector(ZeroDigest.selector));
    }

    function test_WhatAFinalRoundAcceptedIsRefused() public {
        address[] memory proposers = viewOf(task).proposers;
        for (uint256 i; i < 3; ++i) {
            propose(proposalOf(task, proposers[i]));
        }
        rounds.advance(task);
        vote(task, allScores(task, 1));
        attestAll(task, 1);
        Proposal memory stale = proposalOf(task, openTraining(task).proposers[0]);
        stale.adapterDigest = valid.adapterDigest;
        _refused(stale, abi.encodeWithSelector(RepeatsAccepted.selector));
    }

    function test_WhatAFailedRoundHadIsTakenAgain() public {
        propose(valid);
        passDeadline(task);
        rounds.advance(task);
        Proposal memory again = proposalOf(task, openTraining(task).proposers[0]);
        again.adapterDigest = valid.adapterDigest;
        propose(again);
        vm.assertEq(viewOf(task).proposals.length, 1);
    }

    function test_ANodeThatWasNotDrawnIsRefused() public {
        RoundView memory round = viewOf(task);
        for (uint256 i; i < admitted.length; ++i) {
            bool drawn;
            for (uint256 p; p < round.proposers.length; ++p) {
                drawn = drawn || round.proposers[p] == admitted[i];
            }
            if (drawn) continue;
            Proposal memory proposal = valid;
            proposal.node = admitted[i];
            _refused(proposal, abi.encodeWithSelector(NotDrawn.selector, admitted[i]));
        }
    }

    function testFuzz_AnotherKeyIsRefused(uint256 key) public {
        key = bound(key, 5, 1e60);
        vm.expectRevert(abi.encodeWithSelector(WrongSignature.selector, registry.signerOf(proposer)));
        rounds.propose(valid, signWith(key, hashOf(valid), address(rounds), block.chainid));
    }

    function test_AnotherNodesNameIsRefused() public {
        Proposal memory proposal = valid;
        address other = viewOf(task).proposers[1];
        proposal.node = other;
        bytes memory signature = sign(proposer, hashOf(proposal));
        vm.expectRevert(abi.encodeWithSelector(WrongSignature.selector, registry.signerOf(other)));
        rounds.propose(proposal, signature);
    }

    function test_NotAfterThePhase() public {
        address[] memory proposers = viewOf(task).proposers;
        propose(valid);
        propose(proposalOf(task, proposers[1]));
        Proposal memory late = proposalOf(task, proposers[2]);
        passDeadline(task);
        rounds.advance(task);
        _refused(late, abi.encodeWithSelector(WrongPhase.selector, Phase.Committing));
    }

    function _refused(Proposal memory proposal, bytes memory reason) private {
        uint256 before = viewOf(task).proposals.length;
        bytes memory signature = sign(proposal.node, hashOf(proposal));
        vm.expectRevert(reason);
        rounds.propose(proposal, signature);
        vm.assertEq(viewOf(task).proposals.length, before);
    }
}
