// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Attestation, Commit, Proposal} from "../src/Messages.sol";
import {Phase, RoundView, TaskConfig} from "../src/Types.sol";
import {ConsortiumTest} from "./helpers/Consortium.sol";
import {vm} from "./helpers/Vm.sol";

/// What transactions cost, against the committed gas.json and the protocol's targets. Isolated, so that every call is a
/// transaction of its own: storage is cold, the 21,000 and the calldata are counted. The same round, on a real node, is
/// in tests/bench/gas.py; run that to write gas.json anew.
contract GasSnapshotTest is ConsortiumTest {
    struct Costs {
        uint256 proposal;
        uint256 commit;
        uint256 reveal4;
        uint256 attestation;
        uint256 round8;
    }

    /// forge-config: default.isolate = true
    function test_NoFigureIsExceededNorAPercentOff() public {
        uint64 task = _prepare();
        Costs memory costs = _wholeRound(task);
        string memory snapshot = vm.readFile("gas.json");
        _check(snapshot, ".proposal", costs.proposal, 130_000);
        _check(snapshot, ".commit", costs.commit, 70_000);
        _check(snapshot, ".reveal4", costs.reveal4, 110_000);
        _check(snapshot, ".attestation", costs.attestation, 90_000);
        _check(snapshot, ".round8", costs.round8, 4_500_000);
    }

    function _prepare() private returns (uint64 task) {
        for (uint256 i = 1; i <= 8; ++i) {
            admitNode(i, i * 100 * TOKEN);
        }
        TaskConfig memory config = demoConfig();
        (config.proposers, config.voters) = (4, 8);
        task = createTask(config, 3000 * TOKEN);
        approveAll(task);
    }

    function _wholeRound(uint64 task) private returns (Costs memory costs) {
        rounds.requestRound(task);
        costs.round8 += _spent();
        vm.roll(viewOf(task).seedBlock + 1);
        vm.setBlockhash(viewOf(task).seedBlock, keccak256("seed"));
        _advance(task, costs);
        RoundView memory round = viewOf(task);
        for (uint256 i; i < 4; ++i) {
            Proposal memory message = proposalOf(task, round.proposers[i]);
            bytes memory signature = sign(message.node, hashOf(message));
            rounds.propose(message, signature);
            costs.proposal = _count(costs, costs.proposal);
        }
        _advance(task, costs);
        int32[][] memory scores = _scores();
        for (uint256 v; v < 8; ++v) {
            Commit memory message = commitTo(revealOf(task, round.voters[v], scores[v]));
            bytes memory signature = sign(message.node, hashOf(message));
            rounds.commit(message, signature);
            costs.commit = _count(costs, costs.commit);
        }
        _advance(task, costs);
        for (uint256 v; v < 8; ++v) {
            rounds.reveal(revealOf(task, round.voters[v], scores[v]));
            costs.reveal4 = _count(costs, costs.reveal4);
        }
        _advance(task, costs);
        for (uint256 v; v < 8; ++v) {
            Attestation memory message = attestationOf(task, round.voters[v], AGGREGATE, int32(int256(1000 * v)));
            bytes memory signature = sign(message.node, hashOf(message));
            rounds.attest(message, signature);
            costs.attestation = _count(costs, costs.attestation);
        }
        _advance(task, costs);
        assertPhase(task, Phase.Final);
        for (uint256 i; i < 8; ++i) {
            tasks.claim(admitted[i]);
            costs.round8 += _spent();
        }
    }

    function _scores() private pure returns (int32[][] memory scores) {
        scores = new int32[][](8);
        for (uint256 v; v < 8; ++v) {
            scores[v] = new int32[](4);
            for (uint256 p; p < 4; ++p) {
                scores[v][p] = 50_000 + 1000 * int32(int256(v)) - 70_000 * int32(int256(p));
            }
        }
    }

    function _advance(uint64 task, Costs memory costs) private {
        rounds.advance(task);
        costs.round8 += _spent();
    }

    /// Adds the last call to the round; the dearer of it and `dearest`.
    function _count(Costs memory costs, uint256 dearest) private view returns (uint256) {
        uint256 spent = _spent();
        costs.round8 += spent;
        return spent > dearest ? spent : dearest;
    }

    function _spent() private view returns (uint256) {
        return vm.lastCallGas().gasTotalUsed;
    }

    function _check(string memory snapshot, string memory key, uint256 measured, uint256 target) private pure {
        uint256 noted = vm.parseJsonUint(snapshot, key);
        vm.assertLe(measured, target);
        vm.assertLe(measured, noted + noted / 100);
        vm.assertLe(noted, measured + measured / 100);
    }
}
