// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IRegistry} from "../src/interfaces/IRegistry.sol";
import {IRounds} from "../src/interfaces/IRounds.sol";
import {ITasks} from "../src/interfaces/ITasks.sol";
import {Reveal} from "../src/Messages.sol";
import {Phase, RoundView, TaskConfig} from "../src/Types.sol";
import {Consortium, IMintable} from "./helpers/Consortium.sol";
import {bound, vm} from "./helpers/Vm.sol";

/// Random calls that mostly make sense, on a consortium with four nodes and two tasks, and a tally of what was paid.
contract Handler is Consortium {
    uint256 public funded;
    uint256 public claimed;
    uint256 public finalRounds;
    /// Set once a phase of a round moved back, or a closed round changed.
    bool public movedBack;

    mapping(uint64 task => mapping(uint32 round => Phase)) private _seen;

    constructor() {
        deploy();
        admitFour();
        TaskConfig memory config = demoConfig();
        config.rounds = 1000;
        for (uint256 i; i < 2; ++i) {
            approveAll(createTask(config, 0));
        }
    }

    function contracts() external view returns (IMintable, IRegistry, ITasks, IRounds) {
        return (token, registry, tasks, rounds);
    }

    function deposit(uint256 number, uint256 amount) external {
        registry.deposit(_node(number), bound(amount, 1, 1e30));
    }

    function withdraw(uint256 number, uint256 amount) external {
        address node = _node(number);
        uint256 stake = registry.stakeOf(node);
        // At least one token stays, so that rounds go on.
        if (stake <= TOKEN) return;
        vm.prank(node);
        registry.withdraw(bound(amount, 1, stake - TOKEN));
    }

    function fund(uint256 number, uint256 amount) external {
        amount = bound(amount, 1, 1e30);
        tasks.fund(_task(number), amount);
        funded += amount;
    }

    function donate(uint256 amount) external {
        token.transfer(address(tasks), bound(amount, 1, 1e20));
    }

    function claim(uint256 number) external {
        if (tasks.claimableOf(_node(number)) != 0) claimed += tasks.claim(_node(number));
    }

    function rotate(uint256 number, uint256 key) external {
        address node = _node(number);
        keyOf[node] = bound(key, 1, 1e60);
        vm.prank(node);
        registry.rotateSigner(vm.addr(keyOf[node]));
    }

    /// What the phase of a task's round asks for, by one node, or by all.
    function take(uint256 number, uint256 nodeNumber, uint256 entropy) external {
        uint64 task = _task(number);
        RoundView memory round = viewOf(task);
        if (round.phase == Phase.None || round.phase >= Phase.Final) {
            rounds.requestRound(task);
        } else if (round.phase == Phase.Requested) {
            vm.roll(round.seedBlock + 1 + (entropy % 10 == 0 ? 300 : 0));
            if (entropy % 10 != 0) vm.setBlockhash(round.seedBlock, keccak256(abi.encode(entropy)));
            rounds.advance(task);
        } else {
            bool all = entropy % 4 != 0;
            for (
                uint256 i = all ? 0 : nodeNumber % 4;
                block.timestamp <= round.deadline && i < (all ? 4 : nodeNumber % 4 + 1);
                ++i
            ) {
                _speak(task, round, i, uint256(keccak256(abi.encode(entropy, i))));
            }
            if (entropy % 16 == 1) passDeadline(task);
            if (rounds.isDue(task)) rounds.advance(task);
        }
        _watch(task);
    }

    /// Nobody speaks until the deadline.
    function wait(uint256 number) external {
        uint64 task = _task(number);
        RoundView memory round = viewOf(task);
        if (round.deadline == 0) return;
        passDeadline(task);
        rounds.advance(task);
        _watch(task);
    }

    function _speak(uint64 task, RoundView memory round, uint256 i, uint256 entropy) private {
        if (round.phase == Phase.Training) {
            for (uint256 p; p < round.proposals.length; ++p) {
                if (i < 3 && round.proposals[p].node == round.proposers[i]) return;
            }
            if (i < 3) propose(proposalOf(task, round.proposers[i]));
        } else if (round.phase == Phase.Committing) {
            if (round.votes[i].commitment == 0) commit(commitTo(_reveal(task, round, i)));
        } else if (round.phase == Phase.Revealing) {
            if (round.votes[i].commitment != 0 && !round.votes[i].revealed) rounds.reveal(_reveal(task, round, i));
        } else if (round.phase == Phase.Attesting && !round.attestations[i].attested) {
            int32 score = int32(int256(entropy % 1000)) - 200;
            attest(attestationOf(task, round.voters[i], entropy % 5 == 0 ? SALT : AGGREGATE, score));
        }
    }

    /// Scores that depend on the round and the voter only, so that a reveal fits its commitment.
    function _reveal(uint64 task, RoundView memory round, uint256 i) private view returns (Reveal memory) {
        int32[] memory scores = new int32[](round.proposals.length);
        for (uint256 p; p < scores.length; ++p) {
            uint256 entropy = uint256(keccak256(abi.encode(round.context, i, p)));
            scores[p] = entropy % 20 == 0
                ? type(int32).min + int32(int256((entropy >> 32) % 2))
                : int32(int256(entropy % 2_000_000)) - 600_000;
        }
        return revealOf(task, round.voters[i], scores);
    }

    function _watch(uint64 task) private {
        uint32 number = rounds.taskOf(task).roundsRequested;
        Phase phase = rounds.roundOf(task, number).phase;
        Phase last = _seen[task][number];
        if (phase < last || (last >= Phase.Final && phase != last)) movedBack = true;
        if (phase == Phase.Final && last != phase) ++finalRounds;
        _seen[task][number] = phase;
    }

    function _node(uint256 number) private view returns (address) {
        return admitted[number % 4];
    }

    function _task(uint256 number) private pure returns (uint64) {
        return uint64(number % 2) + 1;
    }
}

/// What must always hold.
contract InvariantsTest {
    Handler private handler;
    IMintable private token;
    IRegistry private registry;
    ITasks private tasks;
    IRounds private rounds;

    function setUp() public {
        handler = new Handler();
        (token, registry, tasks, rounds) = handler.contracts();
    }

    /// Tells Forge what to call.
    function targetContracts() public view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(handler);
    }

    /// The random calls must reach what the invariants are about.
    function test_TheHandlerReachesFinalRounds() public {
        for (uint256 i; i < 100; ++i) {
            handler.take(0, 0, uint256(keccak256(abi.encode(i))) | 2);
        }
        vm.assertLt(3, handler.finalRounds());
        invariant_AllThatMustHold();
    }

    function invariant_AllThatMustHold() public view {
        _stakesAreAccountedForAndHeld();
        _poolsOpenRewardsAndClaimsAreAccountedForAndHeld();
        _noMoreIsPaidThanFunded();
        _aPhaseNeverMovesBack();
        _onlyAnOpenRoundHoldsAReward();
    }

    function _stakesAreAccountedForAndHeld() private view {
        address[] memory nodes = registry.nodes();
        uint256 sum;
        for (uint256 i; i < nodes.length; ++i) {
            sum += registry.stakeOf(nodes[i]);
        }
        vm.assertEq(registry.totalStake(), sum);
        vm.assertEq(token.balanceOf(address(registry)), sum);
    }

    function _poolsOpenRewardsAndClaimsAreAccountedForAndHeld() private view {
        address[] memory nodes = registry.nodes();
        uint256 sum;
        for (uint64 task = 1; task <= tasks.taskCount(); ++task) {
            sum += tasks.poolOf(task) + tasks.openRewardOf(task);
        }
        for (uint256 i; i < nodes.length; ++i) {
            sum += tasks.claimableOf(nodes[i]);
        }
        vm.assertEq(tasks.totalOwed(), sum);
        vm.assertLe(sum, token.balanceOf(address(tasks)));
    }

    function _noMoreIsPaidThanFunded() private view {
        vm.assertEq(handler.funded(), tasks.totalOwed() + handler.claimed());
    }

    function _aPhaseNeverMovesBack() private view {
        vm.assertFalse(handler.movedBack());
    }

    function _onlyAnOpenRoundHoldsAReward() private view {
        for (uint64 task = 1; task <= tasks.taskCount(); ++task) {
            uint32 number = rounds.taskOf(task).roundsRequested;
            RoundView memory round = rounds.roundOf(task, number);
            bool open = rounds.taskOf(task).roundsClosed != number;
            vm.assertEq(open, round.phase != Phase.None && round.phase < Phase.Final);
            vm.assertEq(tasks.openRewardOf(task), open ? round.reward : 0);
        }
    }
}
