// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {TaskUnknown} from "../src/Errors.sol";
import {Member, RoundHeader, Seat} from "../src/RoundState.sol";
import {INVALID_SCORE, Phase, RoundView, Standing, TaskView} from "../src/Types.sol";
import {ConsortiumTest} from "./helpers/Consortium.sol";
import {vm} from "./helpers/Vm.sol";

/// What the lens shows is what is stored, in every phase.
contract LensTest is ConsortiumTest {
    uint64 private task;

    function setUp() public override {
        super.setUp();
        task = demo();
    }

    function test_ARoundThatWasNeverRequestedIsEmpty() public view {
        RoundView memory empty;
        vm.assertEq(abi.encode(lens.roundOf(task, 1)), abi.encode(empty));
        vm.assertEq(abi.encode(lens.roundOf(99, 1)), abi.encode(empty));
        vm.assertEq(address(lens.rounds()), address(rounds));
    }

    function test_UnknownTasksAreRefused() public {
        vm.expectRevert(abi.encodeWithSelector(TaskUnknown.selector, task + 1));
        lens.taskOf(task + 1);
    }

    function test_InEveryPhaseOfARound() public {
        _agrees();
        rounds.requestRound(task);
        _agrees();
        RoundView memory round = _draw();
        _agrees();
        propose(proposalOf(task, round.proposers[2]));
        _agrees();
        propose(proposalOf(task, round.proposers[0]));
        _agrees();
        passAndAdvance(task);
        _agrees();
        int32[][] memory scores = allScores(task, 60_000);
        scores[1] = new int32[](0);
        scores[0][0] = INVALID_SCORE;
        for (uint256 v; v < 4; ++v) {
            if (scores[v].length == 0) continue;
            commit(commitTo(revealOf(task, round.voters[v], scores[v])));
            _agrees();
        }
        passAndAdvance(task);
        _agrees();
        for (uint256 v; v < 4; ++v) {
            if (scores[v].length == 0) continue;
            rounds.reveal(revealOf(task, round.voters[v], scores[v]));
            _agrees();
        }
        rounds.advance(task);
        _agrees();
        assertPhase(task, Phase.Attesting);
        for (uint256 v; v < 4; ++v) {
            attest(attestationOf(task, round.voters[v], v == 0 ? SALT : AGGREGATE, int32(int256(v))));
            _agrees();
        }
        rounds.advance(task);
        _agrees();
        vm.assertTrue(viewOf(task).phase == Phase.Final || viewOf(task).phase == Phase.Rejected);
        rounds.requestRound(task);
        _agrees();
        vm.roll(viewOf(task).seedBlock + 257);
        rounds.advance(task);
        _agrees();
        cancel(task);
        _agrees();
        tasks.refund(task, address(this));
        _agrees();
    }

    function _draw() private returns (RoundView memory) {
        uint256 seedBlock = viewOf(task).seedBlock;
        vm.roll(seedBlock + 1);
        vm.setBlockhash(seedBlock, keccak256("seed"));
        rounds.advance(task);
        return viewOf(task);
    }

    function _agrees() private view {
        TaskView memory shown = lens.taskOf(task);
        (uint32 requested, uint32 closed, bytes32 parentDigest) = rounds.progressOf(task);
        vm.assertEq(shown.roundsRequested, requested);
        vm.assertEq(shown.roundsClosed, closed);
        vm.assertEq(shown.parentDigest, parentDigest);
        vm.assertEq(abi.encode(shown.config), abi.encode(demoConfig()));
        vm.assertEq(shown.approved, tasks.approvedOf(task));
        vm.assertEq(abi.encode(shown.money), abi.encode(tasks.poolOf(task)));
        for (uint32 number = 1; number <= requested; ++number) {
            _roundAgrees(number);
        }
    }

    function _roundAgrees(uint32 number) private view {
        RoundView memory shown = lens.roundOf(task, number);
        RoundHeader memory header = rounds.headerOf(task, number);
        vm.assertEq(
            abi.encode(
                shown.phase,
                shown.parentDigest,
                shown.aggregateDigest,
                shown.requestBlock,
                shown.seedBlock,
                shown.seed,
                shown.context,
                shown.deadline,
                shown.reward
            ),
            abi.encode(
                header.phase,
                header.parentDigest,
                header.aggregateDigest,
                header.requestBlock,
                header.seedBlock,
                header.seed,
                header.context,
                header.deadline,
                uint256(header.reward)
            )
        );
        Member[] memory members = rounds.membersOf(task, number);
        vm.assertEq(shown.eligible.length, members.length);
        vm.assertEq(shown.stakes.length, members.length);
        for (uint256 i; i < members.length; ++i) {
            vm.assertEq(shown.eligible[i], members[i].node);
            vm.assertEq(shown.stakes[i], members[i].stake);
        }
        _seatsAgree(number, shown, header, members);
    }

    function _seatsAgree(uint32 number, RoundView memory shown, RoundHeader memory header, Member[] memory members)
        private
        view
    {
        (uint8[] memory proposers, uint8[] memory voters) = rounds.rolesOf(task, number);
        vm.assertEq(shown.proposers.length, proposers.length);
        for (uint256 i; i < proposers.length; ++i) {
            vm.assertEq(shown.proposers[i], members[proposers[i]].node);
        }
        uint256 next;
        for (uint256 i; i < members.length; ++i) {
            Seat memory seat = rounds.seatOf(task, number, members[i].node);
            if (seat.adapterDigest == 0) continue;
            vm.assertEq(
                abi.encode(shown.proposals[next++]),
                abi.encode(
                    members[i].node,
                    seat.group,
                    seat.adapterDigest,
                    seat.standing,
                    seat.medianMicronats,
                    seat.provenInvalid
                )
            );
            if (header.phase < Phase.Attesting) vm.assertEq(uint256(seat.standing), uint256(Standing.None));
        }
        vm.assertEq(shown.proposals.length, next);
        vm.assertEq(next, header.proposalCount);
        uint256[3] memory counts;
        vm.assertEq(shown.voters.length, voters.length);
        vm.assertEq(shown.votes.length, voters.length);
        vm.assertEq(shown.attestations.length, voters.length);
        for (uint256 v; v < voters.length; ++v) {
            address node = members[voters[v]].node;
            Seat memory seat = rounds.seatOf(task, number, node);
            vm.assertEq(shown.voters[v], node);
            bool revealed = seat.scores.length != 0;
            vm.assertEq(
                keccak256(abi.encode(shown.votes[v])),
                keccak256(
                    bytes.concat(
                        bytes32(uint256(32)),
                        abi.encode(node, seat.group, uint256(seat.stake), seat.commitment, revealed, seat.scores)
                    )
                )
            );
            vm.assertEq(
                abi.encode(shown.attestations[v]),
                abi.encode(node, seat.attestedDigest != 0, seat.attestedDigest, seat.attestedScoreMicronats)
            );
            if (seat.commitment != 0) ++counts[0];
            if (revealed) ++counts[1];
            if (seat.attestedDigest != 0) ++counts[2];
        }
        vm.assertEq(counts[0], header.commitCount);
        vm.assertEq(counts[1], header.revealCount);
        vm.assertEq(counts[2], header.attestationCount);
    }
}
