// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Arrays} from "@openzeppelin/contracts/utils/Arrays.sol";

import {Attestation, Proposal, Reveal} from "../src/Messages.sol";
import {Phase, RoundView, TaskConfig} from "../src/Types.sol";
import {ConsortiumTest} from "./helpers/Consortium.sol";
import {vm} from "./helpers/Vm.sol";

/// The largest round that the bounds allow. Isolated, so that every call is a transaction of its own and storage is cold.
contract GasTest is ConsortiumTest {
    uint256 private constant MOST_GAS = 10_000_000;
    uint256 private constant MOST_EXITS = 4;

    /// forge-config: default.isolate = true
    function test_EveryStepOfTheLargestRoundStaysUnderTenMillionGas() public {
        uint64 task = _largest(1);
        _request(task);
        _advance(task, Phase.Training);
        RoundView memory round = viewOf(task);
        _propose(task, 16);
        _advance(task, Phase.Committing);
        Reveal[] memory reveals = _reveals(task, round.voters);
        for (uint256 v; v < 64; ++v) {
            commit(commitTo(reveals[v]));
        }
        _advance(task, Phase.Revealing);
        for (uint256 v; v < 64; ++v) {
            rounds.reveal(reveals[v]);
        }
        _advance(task, Phase.Attesting);
        bytes16 context = viewOf(task).context;
        for (uint256 v; v < 64; ++v) {
            attest(
                Attestation({
                    node: round.voters[v],
                    task: task,
                    round: 1,
                    context: context,
                    aggregateDigest: AGGREGATE,
                    score: int32(int256(v))
                })
            );
        }
        _advance(task, Phase.Final);
    }

    /// All nodes were on their way out, in as many parts as can be; nobody commits, and each slash takes apart what it can.
    /// forge-config: default.isolate = true
    function test_SlashingEverybodyOnTheWayOutStaysUnderTenMillionGas() public {
        uint64 task = _largest(1);
        _request(task);
        _exitAll();
        _advance(task, Phase.Training);
        _propose(task, 2);
        passDeadline(task);
        _advance(task, Phase.Committing);
        passDeadline(task);
        _advance(task, Phase.Aborted);
        vm.assertLt(70, registry.slashCount());
    }

    /// As many as can be are slashed in the transaction that tallies: a few voters with most of the stake prove every adapter
    /// invalid, the others
    /// committed and keep silent.
    /// forge-config: default.isolate = true
    function test_TallyingAndSlashingInOneStepStaysUnderTenMillionGas() public {
        uint64 task = _largest(8);
        _request(task);
        _exitAll();
        _advance(task, Phase.Training);
        _propose(task, 16);
        _advance(task, Phase.Committing);
        address[] memory voters = viewOf(task).voters;
        Reveal[] memory reveals = _reveals(task, voters);
        for (uint256 v; v < 64; ++v) {
            for (uint256 p; p < 16; ++p) {
                reveals[v].scores[p] = type(int32).min;
            }
            commit(commitTo(reveals[v]));
        }
        _advance(task, Phase.Revealing);
        for (uint256 v; v < 64; ++v) {
            if (keyOf[voters[v]] > 220) rounds.reveal(reveals[v]);
        }
        passDeadline(task);
        _advance(task, Phase.Rejected);
        vm.assertLt(60, registry.slashCount());
    }

    /// 256 eligible nodes, the i-th with a stake of i ^ `power`, approved in ascending order, which is the worst for sorting them.
    function _largest(uint256 power) private returns (uint64 task) {
        for (uint256 i = 1; i <= 256; ++i) {
            admitNode(i, i ** power * 1e9);
        }
        TaskConfig memory config = demoConfig();
        (config.proposers, config.voters, config.stakeCap) = (16, 64, type(uint96).max);
        task = createTask(config, 3000 * TOKEN);
        address[] memory nodes = Arrays.sort(admitted);
        for (uint256 i; i < 256; ++i) {
            approve(task, nodes[i]);
        }
    }

    function _exitAll() private {
        for (uint256 i; i < 256; ++i) {
            address node = admitted[i];
            exit(node, stakeOf(node) - MOST_EXITS + 1);
            for (uint256 k = 1; k < MOST_EXITS; ++k) {
                exit(node, 1);
            }
        }
    }

    function _request(uint64 task) private {
        rounds.requestRound(task);
        vm.assertLt(vm.lastCallGas().gasTotalUsed, MOST_GAS);
        vm.roll(viewOf(task).seedBlock + 1);
        vm.setBlockhash(viewOf(task).seedBlock, keccak256("seed"));
    }

    function _propose(uint64 task, uint256 count) private {
        RoundView memory round = viewOf(task);
        for (uint256 i; i < count; ++i) {
            propose(
                Proposal({
                    node: round.proposers[i],
                    task: task,
                    round: 1,
                    context: round.context,
                    parentDigest: GENESIS,
                    adapterDigest: adapterOf(round.proposers[i], round.context),
                    reportDigest: SALT
                })
            );
        }
    }

    function _reveals(uint64 task, address[] memory voters) private view returns (Reveal[] memory reveals) {
        bytes16 context = viewOf(task).context;
        reveals = new Reveal[](voters.length);
        for (uint256 v; v < voters.length; ++v) {
            int32[] memory scores = new int32[](16);
            for (uint256 p; p < 16; ++p) {
                scores[p] = int32(int256(uint256(keccak256(abi.encode(v, p))) % 1_000_000));
            }
            reveals[v] = Reveal({node: voters[v], task: task, round: 1, context: context, scores: scores, salt: SALT});
        }
    }

    function _advance(uint64 task, Phase phase) private {
        rounds.advance(task);
        vm.assertLt(vm.lastCallGas().gasTotalUsed, MOST_GAS);
        vm.assertEq(uint256(viewOf(task).phase), uint256(phase));
    }
}
