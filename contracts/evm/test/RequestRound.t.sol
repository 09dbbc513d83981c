// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {NoRoundsLeft, NotEnoughEligible, RoundOpen, TaskUnknown} from "../src/Errors.sol";
import {IRounds} from "../src/interfaces/IRounds.sol";
import {Phase, RoundView, TaskConfig} from "../src/Types.sol";
import {ConsortiumTest} from "./helpers/Consortium.sol";
import {bound, vm} from "./helpers/Vm.sol";

contract RequestRoundTest is ConsortiumTest {
    function test_FreezesCappedStakesAscending() public {
        admitFour();
        admitNode(5, 0);
        address unapproved = admitNode(6, TOKEN);
        TaskConfig memory config = demoConfig();
        config.stakeCap = uint96(250 * TOKEN);
        uint64 task = createTask(config, 3000 * TOKEN);
        approveAll(task);
        address late = admitNode(7, TOKEN);
        exit(unapproved, TOKEN);

        rounds.requestRound(task);
        registry.deposit(admitted[0], 50 * TOKEN);
        registry.deposit(unapproved, TOKEN);

        RoundView memory round = viewOf(task);
        vm.assertEq(uint256(round.phase), uint256(Phase.Requested));
        vm.assertEq(round.eligible.length, 4);
        for (uint256 i; i < 4; ++i) {
            if (i != 0) vm.assertTrue(round.eligible[i - 1] < round.eligible[i]);
            vm.assertTrue(round.eligible[i] != late);
            uint256 stake = keyOf[round.eligible[i]] * 100 * TOKEN;
            vm.assertEq(round.stakes[i], stake < 250 * TOKEN ? stake : 250 * TOKEN);
        }
        vm.assertEq(round.parentDigest, GENESIS);
        vm.assertEq(round.requestBlock, block.number);
        vm.assertEq(round.seedBlock, block.number + 1);
        vm.assertEq(bytes32(round.context), 0);
        vm.assertEq(round.deadline, block.timestamp + 400);
    }

    function testFuzz_TakesAnEqualPartOfThePool(uint256 pool, uint32 count) public {
        pool = bound(pool, 1, 1e30);
        admitFour();
        TaskConfig memory config = demoConfig();
        config.rounds = uint32(bound(count, 1, 1e6));
        uint64 task = createTask(config, pool);
        approveAll(task);

        rounds.requestRound(task);

        vm.assertEq(viewOf(task).reward, pool / config.rounds);
        vm.assertEq(tasks.poolOf(task).pool, pool - pool / config.rounds);
        vm.assertEq(tasks.poolOf(task).openReward, pool / config.rounds);
        vm.assertEq(tasks.totalOwed(), pool);
    }

    function test_AnUnfundedTaskRunsWithoutReward() public {
        admitFour();
        uint64 task = createTask(demoConfig(), 0);
        approveAll(task);
        openCommitting(task);
        vote(task, allScores(task, 1));
        vm.assertEq(uint256(attestAll(task, 1).phase), uint256(Phase.Final));
    }

    function test_NeedsEnoughEligibleNodes() public {
        admitFour();
        uint64 task = createTask(demoConfig(), 0);
        for (uint256 i; i < 3; ++i) {
            approve(task, admitted[i]);
        }
        vm.expectRevert(abi.encodeWithSelector(NotEnoughEligible.selector, 3, 4));
        rounds.requestRound(task);
    }

    function test_DismissedAndAbsentNodesAreLeftOut() public {
        admitFour();
        TaskConfig memory config = demoConfig();
        config.rounds = 10;
        config.voters = 3;
        uint64 other = createTask(config, 0);
        address gone = admitNode(5, TOKEN);
        approveAll(other);
        dismiss(gone);
        for (uint256 i; i < MOST_ABSENCES; ++i) {
            // Three of four are drawn to propose, and keep silent; the fourth stays eligible, or becomes so again.
            absentRound(other);
        }
        uint256 eligible;
        for (uint256 i; i < 4; ++i) {
            bool absent = registry.nodeOf(admitted[i]).absences == MOST_ABSENCES;
            vm.assertEq(registry.eligibleStakeOf(admitted[i]), absent ? 0 : stakeOf(admitted[i]));
            if (!absent) ++eligible;
        }
        vm.assertLt(eligible, 4);
        uint256 back;
        for (uint256 i; eligible + back < 3; ++i) {
            if (registry.eligibleStakeOf(admitted[i]) != 0) continue;
            comeBack(returnOf(admitted[i]));
            ++back;
        }
        rounds.requestRound(other);
        RoundView memory round = viewOf(other);
        vm.assertEq(round.eligible.length, 3);
        for (uint256 i; i < 3; ++i) {
            vm.assertTrue(round.eligible[i] != gone);
            vm.assertLt(registry.nodeOf(round.eligible[i]).absences, MOST_ABSENCES);
        }
    }

    function test_NeedsTheLastRoundClosed() public {
        uint64 task = demo();
        rounds.requestRound(task);
        vm.expectRevert(abi.encodeWithSelector(RoundOpen.selector, 1));
        rounds.requestRound(task);
    }

    function test_EveryRequestUsesUpARound() public {
        uint64 task = demo();
        for (uint256 i; i < 3; ++i) {
            openTraining(task, keccak256("seed"));
            passDeadline(task);
            rounds.advance(task);
            vm.assertEq(uint256(viewOf(task).phase), uint256(Phase.Aborted));
        }
        vm.expectRevert(NoRoundsLeft.selector);
        rounds.requestRound(task);
    }

    function test_UnknownTasksAreRefused() public {
        vm.expectRevert(abi.encodeWithSelector(TaskUnknown.selector, 1));
        rounds.requestRound(1);
    }
}
