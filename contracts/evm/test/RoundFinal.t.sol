// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Phase, RoundView, Standing} from "../src/Types.sol";
import {ConsortiumTest} from "./helpers/Consortium.sol";
import {vm} from "./helpers/Vm.sol";

/// Whole rounds, start to end.
contract RoundFinalTest is ConsortiumTest {
    function test_ThreeRoundsBecomeFinal() public {
        uint64 task = demo();
        for (uint32 number = 1; number <= 3; ++number) {
            openCommitting(task);
            vote(task, allScores(task, 50_000));
            RoundView memory round = attestAll(task, 10_000);

            vm.assertEq(uint256(round.phase), uint256(Phase.Final));
            vm.assertEq(round.aggregateDigest, AGGREGATE);
            vm.assertEq(lens.taskOf(task).parentDigest, AGGREGATE);
            vm.assertEq(lens.taskOf(task).roundsClosed, number);
            vm.assertEq(round.parentDigest, number == 1 ? GENESIS : AGGREGATE);
            vm.assertEq(round.proposals.length, 3);
            vm.assertEq(uint256(round.proposals[2].standing), uint256(Standing.Accepted));
            vm.assertTrue(round.votes[3].revealed);
            vm.assertTrue(round.attestations[3].attested);
        }
        vm.assertLe(tasks.poolOf(task).pool, 3 * 20);
    }
}
