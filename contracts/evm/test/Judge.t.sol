// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {SettlementMath} from "../src/libraries/SettlementMath.sol";
import {Attendance, Fault, TaskConfig} from "../src/Types.sol";
import {bound, vm} from "./helpers/Vm.sol";

/// The rule of faults, and what they cost.
contract JudgeTest {
    /// Every combination of what a node owed and gave, against the protocol's order of faults.
    function test_OneFaultTheGravest() public pure {
        for (uint256 bits; bits < 128; ++bits) {
            SettlementMath.Duties memory duties = SettlementMath.Duties({
                owesProposal: bits & 1 != 0,
                owesCommit: bits & 2 != 0,
                owesReveal: bits & 4 != 0,
                proposed: bits & 8 != 0,
                committed: bits & 16 != 0,
                revealed: bits & 32 != 0,
                provenInvalid: bits & 64 != 0
            });
            (Attendance attendance, Fault fault) = SettlementMath.judge(duties);

            bool missedProposal = bits & 9 == 1;
            bool missedCommit = bits & 18 == 2;
            Fault expected;
            if (missedProposal || missedCommit) expected = Fault.Absent;
            if (bits & 36 == 4) expected = Fault.Unrevealed;
            if (bits & 64 != 0) expected = Fault.Invalid;
            vm.assertEq(uint256(fault), uint256(expected));

            Attendance came = bits & 3 == 0 ? Attendance.NotAsked : Attendance.Attended;
            if (missedProposal || missedCommit) came = Attendance.Absent;
            vm.assertEq(uint256(attendance), uint256(came));
        }
    }

    function testFuzz_AFaultCostsItsPartOfTheFrozenStake(uint96 stake, uint16[3] memory bps) public pure {
        TaskConfig memory config;
        config.absentBps = uint16(bound(bps[0], 0, 10_000));
        config.unrevealedBps = uint16(bound(bps[1], 0, 10_000));
        config.invalidBps = uint16(bound(bps[2], 0, 10_000));
        vm.assertEq(SettlementMath.slashOf(Fault.None, stake, config), 0);
        vm.assertEq(SettlementMath.slashOf(Fault.Absent, stake, config), uint256(stake) * config.absentBps / 10_000);
        vm.assertEq(
            SettlementMath.slashOf(Fault.Unrevealed, stake, config), uint256(stake) * config.unrevealedBps / 10_000
        );
        vm.assertEq(SettlementMath.slashOf(Fault.Invalid, stake, config), uint256(stake) * config.invalidBps / 10_000);
    }
}
