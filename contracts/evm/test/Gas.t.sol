// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Attestation, Proposal, Reveal} from "../src/Messages.sol";
import {Phase, RoundView, TaskConfig} from "../src/Types.sol";
import {ConsortiumTest} from "./helpers/Consortium.sol";
import {vm} from "./helpers/Vm.sol";

/// The largest round that the bounds allow.
contract GasTest is ConsortiumTest {
    uint256 private constant MOST_GAS = 10_000_000;

    function test_EveryStepOfTheLargestRoundStaysUnderTenMillionGas() public {
        for (uint256 i = 1; i <= 256; ++i) {
            admitNode(i, i * TOKEN);
        }
        TaskConfig memory config = demoConfig();
        (config.proposers, config.voters) = (16, 64);
        uint64 task = createTask(config, 3000 * TOKEN);
        approveAll(task);

        uint256 before = gasleft();
        rounds.requestRound(task);
        vm.assertLt(before - gasleft(), MOST_GAS);
        vm.roll(viewOf(task).seedBlock + 1);
        vm.setBlockhash(viewOf(task).seedBlock, keccak256("seed"));
        _advance(task, Phase.Training);
        RoundView memory round = viewOf(task);
        for (uint256 i; i < 16; ++i) {
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
        uint256 before = gasleft();
        rounds.advance(task);
        vm.assertLt(before - gasleft(), MOST_GAS);
        vm.assertEq(uint256(viewOf(task).phase), uint256(phase));
    }
}
