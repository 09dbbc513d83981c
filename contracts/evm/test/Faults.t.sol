// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Fault, INVALID_SCORE, Phase, RoundView, SlashView, TaskConfig, UNAVAILABLE_SCORE} from "../src/Types.sol";
import {ConsortiumTest} from "./helpers/Consortium.sol";
import {vm} from "./helpers/Vm.sol";

/// What nodes answer for, by the phase in which their round ended.
contract FaultsTest is ConsortiumTest {
    uint64 private task;

    function setUp() public override {
        super.setUp();
        task = demo();
    }

    // ------------------------------------------------------------------------------------------- by last phase

    function test_ALostSeedIsNobodysFault() public {
        rounds.requestRound(task);
        vm.roll(viewOf(task).seedBlock + 257);
        rounds.advance(task);
        _ended(Phase.Aborted);
        _allFree(0);
    }

    function test_AfterTrainingTheSilentProposersAreAbsent() public {
        RoundView memory round = openTraining(task);
        propose(proposalOf(task, round.proposers[1]));
        passAndAdvance(task);
        _ended(Phase.Aborted);
        _allFree(2);
        _fault(round.proposers[0], Fault.Absent, 100);
        _fault(round.proposers[2], Fault.Absent, 100);
        for (uint256 i; i < 4; ++i) {
            bool silent = admitted[i] == round.proposers[0] || admitted[i] == round.proposers[2];
            vm.assertEq(registry.nodeOf(admitted[i]).absences, silent ? 1 : 0);
        }
    }

    function test_AfterCommittingTheSilentVotersAreAbsent() public {
        openCommitting(task);
        int32[][] memory scores = allScores(task, 1);
        address[] memory voters = viewOf(task).voters;
        (scores[0], scores[2]) = (new int32[](0), new int32[](0));
        commitAll(task, scores);
        _ended(Phase.Aborted);
        _allFree(2);
        _fault(voters[0], Fault.Absent, 100);
        _fault(voters[2], Fault.Absent, 100);
    }

    /// Who was absent as a proposer and attended as a voter was absent, and has one fault.
    function test_OneFaultPerNodeAndRound() public {
        RoundView memory round = openTraining(task);
        propose(proposalOf(task, round.proposers[0]));
        propose(proposalOf(task, round.proposers[1]));
        passAndAdvance(task);
        int32[][] memory scores = allScores(task, 1);
        for (uint256 v; v < 4; ++v) {
            if (viewOf(task).voters[v] == round.proposers[2]) scores[v] = new int32[](0);
        }
        commitAll(task, scores);
        for (uint256 v; v < 4; ++v) {
            if (scores[v].length != 0) rounds.reveal(revealOf(task, viewOf(task).voters[v], scores[v]));
        }
        rounds.advance(task);
        attestAll(task, 1);
        _ended(Phase.Final);
        _allFree(1);
        _fault(round.proposers[2], Fault.Absent, 100);
        vm.assertEq(registry.nodeOf(round.proposers[2]).absences, 1);
    }

    function test_AfterRevealingWhoCommittedAndKeptSilentPaysMore() public {
        openCommitting(task);
        int32[][] memory scores = allScores(task, 1);
        address[] memory voters = viewOf(task).voters;
        scores[3] = new int32[](0);
        commitAll(task, scores);
        rounds.reveal(revealOf(task, voters[1], scores[1]));
        passAndAdvance(task);
        _ended(Phase.Aborted);
        _allFree(3);
        _fault(voters[0], Fault.Unrevealed, 500);
        _fault(voters[2], Fault.Unrevealed, 500);
        _fault(voters[3], Fault.Absent, 100);
        vm.assertEq(registry.nodeOf(voters[0]).absences, 0);
        vm.assertEq(registry.nodeOf(voters[3]).absences, 1);
    }

    /// Two thirds of the stake that may score it call one proposal INVALID, in a round whose others are refused.
    function test_ARejectedRoundSlashesWhatWasProvenInvalid() public {
        RoundView memory round = openCommitting(task);
        int32[][] memory scores = allScores(task, -900_000);
        for (uint256 v; v < 4; ++v) {
            scores[v][1] = INVALID_SCORE;
        }
        RoundView memory tallied = vote(task, scores);
        _ended(Phase.Rejected);
        vm.assertTrue(tallied.proposals[1].provenInvalid);
        _allFree(1);
        _fault(round.proposals[1].node, Fault.Invalid, 2000);
        vm.assertEq(registry.nodeOf(round.proposals[1].node).absences, 0);
    }

    function test_AFinalRoundSlashesWhatWasProvenInvalid() public {
        RoundView memory round = _voteInvalid(INVALID_SCORE);
        attestAll(task, 1);
        _ended(Phase.Final);
        _allFree(1);
        _fault(round.proposals[1].node, Fault.Invalid, 2000);
    }

    function test_WithoutAttestationsItIsSlashedToo() public {
        RoundView memory round = _voteInvalid(INVALID_SCORE);
        passAndAdvance(task);
        _ended(Phase.Rejected);
        _allFree(1);
        _fault(round.proposals[1].node, Fault.Invalid, 2000);
    }

    function test_UnavailableBlocksAndNeverSlashes() public {
        _voteInvalid(UNAVAILABLE_SCORE);
        vm.assertFalse(viewOf(task).proposals[1].provenInvalid);
        attestAll(task, 1);
        _ended(Phase.Final);
        _allFree(0);
    }

    function test_NotAttestingIsNoFault() public {
        openCommitting(task);
        vote(task, allScores(task, 50_000));
        passAndAdvance(task);
        _ended(Phase.Rejected);
        _allFree(0);
    }

    function test_AttestingToAnotherDigestIsNoFaultAndEarnsNothingAsAVoter() public {
        RoundView memory round = openCommitting(task);
        vote(task, allScores(task, 50_000));
        address dissenter = _notAProposer(round);
        for (uint256 v; v < 4; ++v) {
            bytes32 digest = round.voters[v] == dissenter ? SALT : AGGREGATE;
            attest(attestationOf(task, round.voters[v], digest, 1));
        }
        rounds.advance(task);
        _ended(Phase.Final);
        vm.assertEq(tasks.claimableOf(dissenter), 0);
        _allFree(0);
    }

    function test_AProvenInvalidProposerWhoDidNotRevealHasTheGraverFault() public {
        RoundView memory round = openCommitting(task);
        address node = round.proposals[1].node;
        int32[][] memory scores = allScores(task, 50_000);
        for (uint256 v; v < 4; ++v) {
            scores[v][1] = INVALID_SCORE;
        }
        commitAll(task, scores);
        for (uint256 v; v < 4; ++v) {
            if (round.voters[v] != node) rounds.reveal(revealOf(task, round.voters[v], scores[v]));
        }
        passAndAdvance(task);
        passAndAdvance(task);
        _allFree(1);
        _fault(node, Fault.Invalid, 2000);
    }

    /// The stake that was frozen under the cap is what counts.
    function test_ASlashIsAPartOfTheCappedStake() public {
        TaskConfig memory config = demoConfig();
        config.stakeCap = uint96(150 * TOKEN);
        uint64 capped = createTask(config, 0);
        approveAll(capped);
        absentRound(capped);
        for (uint256 i; i < registry.slashCount(); ++i) {
            SlashView memory slash = registry.slashOf(i);
            uint256 stake = keyOf[slash.node] == 1 ? 100 * TOKEN : 150 * TOKEN;
            vm.assertEq(slash.amount, stake / 100);
        }
    }

    /// Three honest votes, one proposal marked by all who may.
    function _voteInvalid(int32 mark) private returns (RoundView memory round) {
        round = openCommitting(task);
        int32[][] memory scores = allScores(task, 50_000);
        for (uint256 v; v < 4; ++v) {
            scores[v][1] = mark;
        }
        vote(task, scores);
        assertPhase(task, Phase.Attesting);
    }

    function _notAProposer(RoundView memory round) private view returns (address) {
        for (uint256 i; i < 4; ++i) {
            bool proposes;
            for (uint256 p; p < 3; ++p) {
                proposes = proposes || round.proposers[p] == admitted[i];
            }
            if (!proposes) return admitted[i];
        }
        revert();
    }

    function _ended(Phase phase) private view {
        assertPhase(task, phase);
    }

    /// Nobody has a seat any more, and there are so many slashes.
    function _allFree(uint256 slashes) private view {
        vm.assertEq(registry.slashCount(), slashes);
        uint256 pending;
        for (uint256 i; i < 4; ++i) {
            vm.assertEq(registry.nodeOf(admitted[i]).openRounds, 0);
            pending += registry.nodeOf(admitted[i]).pendingSlashes;
        }
        vm.assertEq(pending, slashes);
    }

    /// The node has exactly this slash.
    function _fault(address node, Fault fault, uint256 bps) private view {
        uint256 found;
        uint256 frozen = keyOf[node] * 100 * TOKEN;
        for (uint256 i; i < registry.slashCount(); ++i) {
            SlashView memory slash = registry.slashOf(i);
            if (slash.node != node) continue;
            ++found;
            vm.assertEq(uint256(slash.fault), uint256(fault));
            vm.assertEq(slash.amount, frozen * bps / 10_000);
            vm.assertEq(slash.task, task);
            vm.assertEq(slash.round, 1);
        }
        vm.assertEq(found, 1);
        vm.assertEq(stakeOf(node), frozen - frozen * bps / 10_000);
    }
}
