// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {
    AlreadySent,
    DeadlinePassed,
    NotCommitted,
    NotDrawn,
    ScoreOutOfRange,
    WrongCommitment,
    WrongContext,
    WrongPhase,
    WrongScoreCount
} from "../src/Errors.sol";
import {IRounds} from "../src/interfaces/IRounds.sol";
import {Reveal} from "../src/Messages.sol";
import {INVALID_SCORE, Phase, UNAVAILABLE_SCORE} from "../src/Types.sol";
import {ConsortiumTest} from "./helpers/Consortium.sol";
import {bound, vm} from "./helpers/Vm.sol";

contract RevealTest is ConsortiumTest {
    uint64 private task;
    address[] private voters;

    function setUp() public override {
        super.setUp();
        task = demo();
        voters = openCommitting(task).voters;
    }

    /// forge-config: default.fuzz.runs = 100
    function testFuzz_AnyoneShowsWhatWasCommitted(address relayer, int32 first, int32 second, bytes32 salt) public {
        int32[] memory scores = _three(_inRange(first), _inRange(second), UNAVAILABLE_SCORE);
        Reveal memory message = revealOf(task, voters[0], scores);
        message.salt = salt;
        _commitAndMoveOn(message);

        vm.expectEmit();
        emit IRounds.Revealed(task, 1, voters[0], scores, salt);
        vm.prank(relayer);
        rounds.reveal(message);

        vm.assertTrue(viewOf(task).votes[0].revealed);
        vm.assertEq(keccak256(abi.encode(viewOf(task).votes[0].scores)), keccak256(abi.encode(scores)));
    }

    /// forge-config: default.fuzz.runs = 100
    function testFuzz_OtherScoresOrSaltAreRefused(int32 score, bytes32 salt) public {
        Reveal memory message = revealOf(task, voters[0], _three(1, 2, 3));
        vm.assume(score != 2 || salt != SALT);
        bytes32 commitment = commitTo(message).commitment;
        _commitAndMoveOn(message);
        message.scores = _three(1, score, 3);
        message.salt = salt;
        vm.expectRevert(abi.encodeWithSelector(WrongCommitment.selector, commitment));
        rounds.reveal(message);
    }

    function test_AnotherVotersCommitmentCannotBeOpened() public {
        Reveal memory message = revealOf(task, voters[0], _three(1, 2, 3));
        bytes32 copied = commitTo(message).commitment;
        commit(commitTo(message));
        Reveal memory copy = revealOf(task, voters[1], _three(1, 2, 3));
        bytes32 own = commitTo(copy).commitment;
        vm.assertFalse(own == copied);
        _commitAndMoveOn(copy);
        rounds.reveal(copy);
    }

    /// forge-config: default.fuzz.runs = 100
    function testFuzz_OutOfRangeIsRefused(int32 score) public {
        vm.assume(score > 8_000_000 || score < -8_000_000);
        vm.assume(score != INVALID_SCORE && score != UNAVAILABLE_SCORE);
        Reveal memory message = revealOf(task, voters[0], _three(0, score, 0));
        _commitAndMoveOn(message);
        vm.expectRevert(abi.encodeWithSelector(ScoreOutOfRange.selector, score));
        rounds.reveal(message);
    }

    function test_TheLimitsAreInRange() public {
        Reveal memory message = revealOf(task, voters[0], _three(8_000_000, -8_000_000, INVALID_SCORE));
        _commitAndMoveOn(message);
        rounds.reveal(message);
    }

    /// forge-config: default.fuzz.runs = 100
    function testFuzz_AnotherLengthIsRefused(uint256 length) public {
        length = bound(length, 0, 20);
        vm.assume(length != 3);
        Reveal memory message = revealOf(task, voters[0], new int32[](length));
        _commitAndMoveOn(message);
        vm.expectRevert(abi.encodeWithSelector(WrongScoreCount.selector, 3));
        rounds.reveal(message);
    }

    function test_OncePerNode() public {
        Reveal memory message = revealOf(task, voters[0], _three(1, 2, 3));
        _commitAndMoveOn(message);
        rounds.reveal(message);
        vm.expectRevert(abi.encodeWithSelector(AlreadySent.selector, voters[0]));
        rounds.reveal(message);
    }

    function test_WhoDidNotCommitOrWasNotDrawnIsRefused() public {
        _commitAndMoveOn(revealOf(task, voters[0], _three(1, 2, 3)));
        Reveal memory message = revealOf(task, voters[3], _three(1, 2, 3));
        vm.expectRevert(abi.encodeWithSelector(NotCommitted.selector, voters[3]));
        rounds.reveal(message);
        message.node = address(77);
        vm.expectRevert(abi.encodeWithSelector(NotDrawn.selector, address(77)));
        rounds.reveal(message);
    }

    /// forge-config: default.fuzz.runs = 100
    function testFuzz_AnotherContextIsRefused(bytes16 context) public {
        Reveal memory message = revealOf(task, voters[0], _three(1, 2, 3));
        vm.assume(context != message.context);
        _commitAndMoveOn(message);
        bytes16 expected = message.context;
        message.context = context;
        vm.expectRevert(abi.encodeWithSelector(WrongContext.selector, expected));
        rounds.reveal(message);
    }

    /// forge-config: default.fuzz.runs = 100
    function testFuzz_UpToTheDeadline(uint256 time) public {
        Reveal memory message = revealOf(task, voters[0], _three(1, 2, 3));
        _commitAndMoveOn(message);
        uint256 deadline = viewOf(task).deadline;
        time = bound(time, deadline - 50, deadline + 1000);
        vm.warp(time);
        if (time > deadline) vm.expectRevert(abi.encodeWithSelector(DeadlinePassed.selector, deadline));
        rounds.reveal(message);
    }

    function test_NotBeforeAllHaveCommitted() public {
        Reveal memory message = revealOf(task, voters[0], _three(1, 2, 3));
        commit(commitTo(message));
        vm.expectRevert(abi.encodeWithSelector(WrongPhase.selector, Phase.Committing));
        rounds.reveal(message);
    }

    /// Commits the message, and for as many others as the quorum needs; then the round moves on to Revealing.
    function _commitAndMoveOn(Reveal memory message) private {
        commit(commitTo(message));
        uint256 commits;
        for (uint256 v; v < 3; ++v) {
            if (viewOf(task).votes[v].commitment != 0) ++commits;
        }
        for (uint256 v; commits < 3; ++v) {
            if (viewOf(task).votes[v].commitment != 0) continue;
            commit(commitTo(revealOf(task, voters[v], _three(0, 0, 0))));
            ++commits;
        }
        passDeadline(task);
        rounds.advance(task);
    }

    function _three(int32 a, int32 b, int32 c) private pure returns (int32[] memory scores) {
        scores = new int32[](3);
        (scores[0], scores[1], scores[2]) = (a, b, c);
    }

    function _inRange(int32 score) private pure returns (int32) {
        return score % 8_000_001;
    }
}
