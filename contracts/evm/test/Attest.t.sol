// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {
    AlreadySent,
    DeadlinePassed,
    NotDrawn,
    ScoreOutOfRange,
    WrongContext,
    WrongPhase,
    WrongSignature,
    ZeroDigest
} from "../src/Errors.sol";
import {IRounds} from "../src/interfaces/IRounds.sol";
import {Attestation} from "../src/Messages.sol";
import {Phase} from "../src/Types.sol";
import {ConsortiumTest} from "./helpers/Consortium.sol";
import {bound, vm} from "./helpers/Vm.sol";

contract AttestTest is ConsortiumTest {
    bytes32 private constant OTHER = keccak256("other");

    uint64 private task;
    Attestation private valid;

    function setUp() public override {
        super.setUp();
        task = demo();
        openCommitting(task);
        vote(task, allScores(task, 50_000));
        valid = attestationOf(task, viewOf(task).voters[0], AGGREGATE, 10_000);
    }

    function testFuzz_AnyoneRelaysAnAttestation(address relayer, bytes32 digest, int32 score) public {
        vm.assume(digest != 0);
        Attestation memory message = valid;
        (message.aggregateDigest, message.score) = (digest, score % 8_000_001);
        bytes memory signature = sign(message.node, hashOf(message));

        vm.expectEmit();
        emit IRounds.Attested(task, 1, message.node, digest, message.score);
        vm.prank(relayer);
        rounds.attest(message, signature);

        vm.assertTrue(viewOf(task).attestations[0].attested);
        vm.assertEq(viewOf(task).attestations[0].aggregateDigest, digest);
        vm.assertEq(viewOf(task).attestations[0].score, message.score);
    }

    function test_OncePerNode() public {
        attest(valid);
        Attestation memory second = valid;
        second.aggregateDigest = OTHER;
        _refused(second, abi.encodeWithSelector(AlreadySent.selector, valid.node));
    }

    function testFuzz_OutOfRangeIsRefused(int32 score) public {
        vm.assume(score > 8_000_000 || score < -8_000_000);
        Attestation memory message = valid;
        message.score = score;
        _refused(message, abi.encodeWithSelector(ScoreOutOfRange.selector, score));
    }

    function testFuzz_AnotherContextIsRefused(bytes16 context) public {
        vm.assume(context != valid.context);
        Attestation memory message = valid;
        message.context = context;
        _refused(message, abi.encodeWithSelector(WrongContext.selector, valid.context));
    }

    function testFuzz_UpToTheDeadline(uint256 time) public {
        uint256 deadline = viewOf(task).deadline;
        time = bound(time, block.timestamp, deadline + 1000);
        vm.warp(time);
        Attestation memory message = valid;
        if (time > deadline) vm.expectRevert(abi.encodeWithSelector(DeadlinePassed.selector, deadline));
        attest(message);
    }

    function test_NoDigestNoDrawNoKeyNoPhase() public {
        Attestation memory message = valid;
        message.aggregateDigest = 0;
        _refused(message, abi.encodeWithSelector(ZeroDigest.selector));
        message = valid;
        message.node = admitNode(50, TOKEN);
        _refused(message, abi.encodeWithSelector(NotDrawn.selector, message.node));
        vm.expectRevert(abi.encodeWithSelector(WrongSignature.selector, registry.signerOf(valid.node)));
        rounds.attest(valid, signWith(99, hashOf(valid), address(rounds), block.chainid));
        passDeadline(task);
        rounds.advance(task);
        _refused(valid, abi.encodeWithSelector(WrongPhase.selector, Phase.Rejected));
    }

    function test_MoreThanTheQuorumMakesFinal() public {
        // Stakes 100 … 400 of 1000; the quorum is more than 500.
        _attest(4, AGGREGATE, 0);
        _attest(2, AGGREGATE, 5);
        _closesAs(Phase.Final, AGGREGATE);
    }

    function test_ExactlyTheQuorumIsNotEnough() public {
        _attest(4, AGGREGATE, 1);
        _attest(1, AGGREGATE, 1);
        _closesAs(Phase.Rejected, GENESIS);
    }

    function test_TheQuorumIsOfAllDrawnAndOnOneDigest() public {
        _attest(4, AGGREGATE, 1);
        _attest(3, OTHER, 1);
        _attest(2, OTHER, 1);
        _closesAs(Phase.Rejected, GENESIS);
    }

    function test_OnlyTheWinnersScoresCount() public {
        _attest(4, AGGREGATE, 1);
        _attest(2, AGGREGATE, 1);
        _attest(3, OTHER, -8_000_000);
        _attest(1, OTHER, -8_000_000);
        _closesAs(Phase.Final, AGGREGATE);
    }

    function test_AWorseAggregateIsRejected() public {
        _attest(4, AGGREGATE, -1);
        _attest(2, AGGREGATE, 8_000_000);
        _closesAs(Phase.Rejected, GENESIS);
    }

    /// forge-config: default.fuzz.runs = 50
    function testFuzz_TheAttestedMedianDecides(int32[4] memory scores) public {
        uint256 below;
        for (uint256 i; i < 4; ++i) {
            scores[i] = scores[i] % 10;
            if (scores[i] < 0) below += (i + 1) * 100 * TOKEN;
            _attest(i + 1, AGGREGATE, scores[i]);
        }
        // The median is negative when those below 0 hold half of the stake.
        if (2 * below >= 1000 * TOKEN) _closesAs(Phase.Rejected, GENESIS);
        else _closesAs(Phase.Final, AGGREGATE);
    }

    function _attest(uint256 number, bytes32 digest, int32 score) private {
        attest(attestationOf(task, admitted[number - 1], digest, score));
    }

    function _closesAs(Phase phase, bytes32 parentDigest) private {
        if (!rounds.isDue(task)) passDeadline(task);
        rounds.advance(task);
        vm.assertEq(uint256(viewOf(task).phase), uint256(phase));
        vm.assertEq(lens.taskOf(task).parentDigest, parentDigest);
        vm.assertEq(viewOf(task).aggregateDigest, phase == Phase.Final ? parentDigest : bytes32(0));
    }

    function _refused(Attestation memory message, bytes memory reason) private {
        bytes memory signature = sign(message.node, hashOf(message));
        vm.expectRevert(reason);
        rounds.attest(message, signature);
    }
}
