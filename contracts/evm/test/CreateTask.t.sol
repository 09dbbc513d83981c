// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";

import {InvalidConfig, TaskUnknown} from "../src/Errors.sol";
import {ITasks} from "../src/interfaces/ITasks.sol";
import {TaskConfig} from "../src/Types.sol";
import {ConsortiumTest} from "./helpers/Consortium.sol";
import {bound, vm} from "./helpers/Vm.sol";

contract CreateTaskTest is ConsortiumTest {
    function test_CouncilCreatesNumberedTasks() public {
        TaskConfig memory config = demoConfig();
        vm.expectEmit();
        emit ITasks.TaskCreated(1, SPEC, config);
        vm.prank(council);
        vm.assertEq(tasks.createTask(config), 1);
        config.rounds = 9;
        vm.prank(council);
        vm.assertEq(tasks.createTask(config), 2);

        vm.assertEq(tasks.taskCount(), 2);
        vm.assertEq(keccak256(abi.encode(tasks.configOf(1))), keccak256(abi.encode(demoConfig())));
        vm.assertEq(keccak256(abi.encode(tasks.configOf(2))), keccak256(abi.encode(config)));
        vm.assertEq(lens.taskOf(1).parentDigest, GENESIS);
    }

    function testFuzz_OnlyTheCouncilCreates(address stranger) public {
        vm.assume(stranger != council);
        vm.expectRevert(abi.encodeWithSelector(Ownable.OwnableUnauthorizedAccount.selector, stranger));
        vm.prank(stranger);
        tasks.createTask(demoConfig());
    }

    function test_UnknownTasksAreRefused() public {
        vm.expectRevert(abi.encodeWithSelector(TaskUnknown.selector, 0));
        tasks.configOf(0);
        vm.expectRevert(abi.encodeWithSelector(TaskUnknown.selector, 1));
        tasks.configOf(1);
    }

    function testFuzz_ProposersAndTheirQuorumAreBounded(uint8 proposers, uint8 minProposals) public {
        TaskConfig memory config = demoConfig();
        (config.proposers, config.minProposals) = (proposers, minProposals);
        if (proposers == 0 || proposers > 16) _refused(config, "proposers");
        else if (minProposals == 0 || minProposals > proposers) _refused(config, "minProposals");
        else createTask(config, 0);
    }

    function testFuzz_VotersAndTheirQuorumsAreBounded(uint8 voters, uint8 minReveals, uint8 minScorers) public {
        TaskConfig memory config = demoConfig();
        config.voters = uint8(bound(voters, 0, 70));
        config.minReveals = uint8(bound(minReveals, 0, 70));
        config.minScorers = uint8(bound(minScorers, 0, 70));
        if (config.voters == 0 || config.voters > 64) _refused(config, "voters");
        else if (config.minReveals == 0 || config.minReveals > config.voters) _refused(config, "minReveals");
        else if (config.minScorers == 0 || config.minScorers > config.minReveals) _refused(config, "minScorers");
        else createTask(config, 0);
    }

    function testFuzz_SharesAreBounded(uint16 quorumBps, uint16 proposerShareBps, int32 threshold) public {
        TaskConfig memory config = demoConfig();
        config.attestationQuorumBps = quorumBps;
        config.proposerShareBps = proposerShareBps;
        config.acceptanceThresholdMicronats = threshold;
        if (quorumBps < 5000 || quorumBps >= 10_000) _refused(config, "attestationQuorumBps");
        else if (proposerShareBps > 10_000) _refused(config, "proposerShareBps");
        else if (threshold < -8_000_000 || threshold > 8_000_000) _refused(config, "acceptanceThresholdMicronats");
        else createTask(config, 0);
    }

    function testFuzz_GraverFaultsCostNoLess(uint16 absentBps, uint16 unrevealedBps, uint16 invalidBps) public {
        TaskConfig memory config = demoConfig();
        config.absentBps = uint16(bound(absentBps, 0, 12_000));
        config.unrevealedBps = uint16(bound(unrevealedBps, 0, 12_000));
        config.invalidBps = uint16(bound(invalidBps, 0, 12_000));
        if (config.absentBps > config.unrevealedBps) _refused(config, "absentBps");
        else if (config.unrevealedBps > config.invalidBps) _refused(config, "unrevealedBps");
        else if (config.invalidBps > 10_000) _refused(config, "invalidBps");
        else createTask(config, 0);
    }

    /// A stake that leaves at the request is still there when the slashes of the round are due.
    function testFuzz_ARoundAndAnAppealFitIntoTheUnbondingTime(uint32[4] memory durations) public {
        TaskConfig memory config = demoConfig();
        uint256 sum = APPEAL_SECONDS;
        for (uint256 i; i < 4; ++i) {
            durations[i] = uint32(bound(durations[i], 1, i == 3 ? 14 days : 4 days));
            // A draw may take as long as Training.
            sum += i == 0 ? 2 * uint256(durations[i]) : durations[i];
        }
        (config.trainingSeconds, config.committingSeconds) = (durations[0], durations[1]);
        (config.revealingSeconds, config.attestingSeconds) = (durations[2], durations[3]);
        if (sum > UNBONDING_SECONDS) _refused(config, "durations");
        else createTask(config, 0);
    }

    function test_ToTheSecond() public {
        TaskConfig memory config = demoConfig();
        config.trainingSeconds = (UNBONDING_SECONDS - APPEAL_SECONDS - 600) / 2;
        createTask(config, 0);
        ++config.trainingSeconds;
        _refused(config, "durations");
        config.trainingSeconds = type(uint32).max;
        config.committingSeconds = type(uint32).max;
        _refused(config, "durations");
    }

    function test_NothingIsZeroThatMustNotBe() public {
        TaskConfig memory config = demoConfig();
        config.specDigest = 0;
        _refused(config, "specDigest");
        config = demoConfig();
        config.genesisDigest = 0;
        _refused(config, "genesisDigest");
        config = demoConfig();
        config.rounds = 0;
        _refused(config, "rounds");
        config = demoConfig();
        config.trainingSeconds = 0;
        _refused(config, "trainingSeconds");
        config = demoConfig();
        config.committingSeconds = 0;
        _refused(config, "committingSeconds");
        config = demoConfig();
        config.revealingSeconds = 0;
        _refused(config, "revealingSeconds");
        config = demoConfig();
        config.attestingSeconds = 0;
        _refused(config, "attestingSeconds");
        config = demoConfig();
        config.stakeCap = 0;
        _refused(config, "stakeCap");
    }

    function _refused(TaskConfig memory config, string memory field) private {
        vm.expectRevert(abi.encodeWithSelector(InvalidConfig.selector, field));
        vm.prank(council);
        tasks.createTask(config);
    }
}
