// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Arrays} from "@openzeppelin/contracts/utils/Arrays.sol";

import {Attestation, Proposal, Reveal} from "../src/Messages.sol";
import {INVALID_SCORE, Phase, RoundView, TaskConfig} from "../src/Types.sol";
import {ConsortiumTest} from "./helpers/Consortium.sol";
import {GasUsed, vm} from "./helpers/Vm.sol";

/// The largest rounds that the bounds allow: 256 eligible nodes, 16 proposers and 64 voters that are 80 different nodes, and
/// who is slashed is on its way out in four parts. Isolated, so that every call is a transaction of its own and storage is
/// cold. Refunds do not count: a transaction must be sent with what it takes before them. `forge test --match-contract
/// '^GasTest$' -vv` prints the figures.
contract GasTest is ConsortiumTest {
    uint256 private constant MOST_GAS = 10_000_000;
    uint256 private constant MOST_EXITS = 4;
    uint256 private constant NODES = 256;
    /// Draws no node for both roles, and this one of the ascending nodes as the last voter.
    bytes32 private constant SEED = bytes32(uint256(8));
    uint256 private constant LAST_VOTER = 186;
    int32 private constant GOOD = 100_000;

    /// The last voter; it has most of the stake.
    address private _whale;

    /// Forge prints it.
    event log_named_uint(string key, uint256 val);

    /// All of them accepted, and all eighty paid.
    /// forge-config: default.isolate = true
    function test_ARoundInWhichAllGoesWell() public {
        uint64 task = _openRound();
        _vote(task, _scores(GOOD), true);
        _advance(task, Phase.Attesting);
        _attest(task, true, true);
        _advance(task, Phase.Final);
        vm.assertEq(registry.slashCount(), 0);
    }

    /// One proposes and nobody commits.
    /// forge-config: default.isolate = true
    function test_AlmostEverybodyIsAbsent() public {
        uint64 task = _openTraining();
        _propose(task, 1);
        passDeadline(task);
        _advance(task, Phase.Committing);
        passDeadline(task);
        _advance(task, Phase.Aborted);
        vm.assertEq(registry.slashCount(), 79);
    }

    /// One voter with most of the stake proves every adapter invalid; the others committed and keep silent.
    /// forge-config: default.isolate = true
    function test_ATallyThatSlashesAllButOne() public {
        uint64 task = _openRound();
        _vote(task, _scores(INVALID_SCORE), false);
        passDeadline(task);
        _advance(task, Phase.Rejected);
        vm.assertEq(registry.slashCount(), 79);
    }

    /// The same voter says so; the others give numbers, so that there are medians, and all who voted are paid.
    /// forge-config: default.isolate = true
    function test_ATallyThatPaysAllVotersAndSlashesAllProposers() public {
        uint64 task = _openRound();
        _vote(task, _scores(INVALID_SCORE), true);
        _advance(task, Phase.Rejected);
        vm.assertEq(registry.slashCount(), 16);
    }

    /// One voter accepts one adapter, proves the others invalid and has the final word; every other voter keeps its vote
    /// back and attests a digest of its own.
    /// forge-config: default.isolate = true
    function test_AnEndThatSlashesAllButTwo() public {
        uint64 task = _openRound();
        _vote(task, _oneGood(), false);
        passDeadline(task);
        _advance(task, Phase.Attesting);
        _attest(task, false, true);
        _advance(task, Phase.Final);
        vm.assertEq(registry.slashCount(), 78);
    }

    /// The same, but the others voted, and the one with most of the stake attests nothing.
    /// forge-config: default.isolate = true
    function test_AnEndThatPaysAllVotersAndSlashesAllProposersButOne() public {
        uint64 task = _openRound();
        _vote(task, _oneGood(), true);
        _advance(task, Phase.Attesting);
        _attest(task, false, false);
        passDeadline(task);
        _advance(task, Phase.Rejected);
        vm.assertEq(registry.slashCount(), 15);
    }

    // -------------------------------------------------------------------------------------------------------- steps

    /// A drawn round of a new task. Any one proposal, vote and score is enough; approved in ascending order.
    function _openTraining() private returns (uint64 task) {
        address[] memory nodes = new address[](NODES);
        for (uint256 i; i < NODES; ++i) {
            nodes[i] = vm.addr(i + 1 + 1e9);
        }
        _whale = Arrays.sort(nodes)[LAST_VOTER];
        for (uint256 i = 1; i <= NODES; ++i) {
            admitNode(i, vm.addr(i + 1e9) == _whale ? 1000 * TOKEN : TOKEN);
        }
        TaskConfig memory config = demoConfig();
        (config.proposers, config.voters, config.stakeCap) = (16, 64, type(uint96).max);
        (config.minProposals, config.minReveals, config.minScorers) = (1, 1, 1);
        task = createTask(config, 3000 * TOKEN);
        for (uint256 i; i < NODES; ++i) {
            approve(task, nodes[i]);
        }
        rounds.requestRound(task);
        _assertCheap("request");
        vm.roll(viewOf(task).seedBlock + 1);
        vm.setBlockhash(viewOf(task).seedBlock, SEED);
        _advance(task, Phase.Training);
        RoundView memory round = viewOf(task);
        vm.assertEq(round.voters[63], _whale);
        _exitAll(round.proposers);
        _exitAll(round.voters);
    }

    /// … in which everybody has proposed.
    function _openRound() private returns (uint64 task) {
        task = _openTraining();
        _propose(task, 16);
        _advance(task, Phase.Committing);
    }

    function _exitAll(address[] memory nodes) private {
        for (uint256 i; i < nodes.length; ++i) {
            exit(nodes[i], stakeOf(nodes[i]) - MOST_EXITS + 1);
            for (uint256 k = 1; k < MOST_EXITS; ++k) {
                exit(nodes[i], 1);
            }
        }
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

    /// Everybody commits; the one with most of the stake says what `scores` says, the others give numbers that ascend
    /// with the order of the draw, or keep silent.
    function _vote(uint64 task, int32[] memory scores, bool allReveal) private {
        RoundView memory round = viewOf(task);
        Reveal[] memory reveals = new Reveal[](64);
        for (uint256 v; v < 64; ++v) {
            address node = round.voters[v];
            reveals[v] = Reveal({
                node: node,
                task: task,
                round: 1,
                context: round.context,
                scores: node == _whale ? scores : _scores(int32(int256(v))),
                salt: SALT
            });
            commit(commitTo(reveals[v]));
        }
        _advance(task, Phase.Revealing);
        for (uint256 v; v < 64; ++v) {
            if (allReveal || reveals[v].node == _whale) rounds.reveal(reveals[v]);
        }
    }

    /// Every voter attests, each a digest of its own or all the same; the one with most of the stake is the last.
    function _attest(uint64 task, bool isSame, bool withWhale) private {
        RoundView memory round = viewOf(task);
        for (uint256 v; v < (withWhale ? 64 : 63); ++v) {
            attest(
                Attestation({
                    node: round.voters[v],
                    task: task,
                    round: 1,
                    context: round.context,
                    aggregateDigest: isSame || round.voters[v] == _whale ? AGGREGATE : keccak256(abi.encode(v)),
                    score: int32(int256(v))
                })
            );
        }
    }

    function _advance(uint64 task, Phase phase) private {
        rounds.advance(task);
        _assertCheap(string.concat("advance to ", _name(phase)));
        assertPhase(task, phase);
    }

    function _assertCheap(string memory step) private {
        GasUsed memory used = vm.lastCallGas();
        uint256 beforeRefunds = used.gasTotalUsed + uint256(int256(used.gasRefunded));
        emit log_named_uint(step, beforeRefunds);
        vm.assertLt(beforeRefunds, MOST_GAS);
    }

    // -------------------------------------------------------------------------------------------------------- reads

    function _scores(int32 score) private pure returns (int32[] memory scores) {
        scores = new int32[](16);
        for (uint256 p; p < 16; ++p) {
            scores[p] = score;
        }
    }

    function _oneGood() private pure returns (int32[] memory scores) {
        scores = _scores(INVALID_SCORE);
        scores[0] = GOOD;
    }

    function _name(Phase phase) private pure returns (string memory) {
        string[9] memory names =
            ["None", "Requested", "Training", "Committing", "Revealing", "Attesting", "Final", "Rejected", "Aborted"];
        return names[uint256(phase)];
    }
}
