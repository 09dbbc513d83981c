// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IRegistry} from "../src/interfaces/IRegistry.sol";
import {IRounds} from "../src/interfaces/IRounds.sol";
import {ITasks} from "../src/interfaces/ITasks.sol";
import {Attestation, Commit, Proposal, Reveal} from "../src/Messages.sol";
import {RoundHeader} from "../src/RoundState.sol";
import {
    INVALID_SCORE,
    NodeView,
    Phase,
    PoolView,
    RoundView,
    SlashStatus,
    SlashView,
    TaskConfig,
    UNAVAILABLE_SCORE
} from "../src/Types.sol";
import {Consortium, IMintable} from "./helpers/Consortium.sol";
import {bound, vm} from "./helpers/Vm.sol";

/// What has gone in and out, counted beside the contracts.
struct Ghost {
    uint256 deposited;
    uint256 withdrawn;
    uint256 executed;
    uint256 funded;
    uint256 claimed;
    uint256 refunded;
}

/// How often what the invariants are about has happened.
struct Reached {
    uint256 finalRounds;
    uint256 rejectedRounds;
    uint256 abortedRounds;
    uint256 slashes;
    uint256 waived;
    uint256 executed;
    uint256 exits;
    uint256 withdrawals;
    uint256 refunds;
    uint256 repeats;
}

/// Random calls that mostly make sense, on a consortium with five nodes and a few tasks.
contract Handler is Consortium {
    uint256 private constant NODES = 5;
    uint256 private constant MOST_TASKS = 4;

    /// Set once a phase of a round moved back, or a closed round changed.
    bool public movedBack;
    /// Set once a round took the same kind of message from the same node again.
    bool public tookTwice;

    Ghost private _ghost;
    Reached private _reached;
    mapping(uint64 task => mapping(uint32 round => Phase)) private _seen;

    /// Time and height, kept here: whatever Forge does between calls, they never move back.
    uint256 private _time;
    uint256 private _height;

    modifier timed() {
        vm.warp(_time);
        vm.roll(_height);
        _;
        (_time, _height) = (block.timestamp, block.number);
    }

    constructor() {
        deploy();
        (_time, _height) = (block.timestamp, block.number);
        for (uint256 i = 1; i <= NODES; ++i) {
            _ghost.deposited += i * 100 * TOKEN;
            admitNode(i, i * 100 * TOKEN);
        }
        _create(1000);
        _create(1000);
    }

    function contracts() external view returns (IMintable, IRegistry, ITasks, IRounds) {
        return (token, registry, tasks, rounds);
    }

    function ghost() external view returns (Ghost memory) {
        return _ghost;
    }

    function reached() external view returns (Reached memory) {
        return _reached;
    }

    // ------------------------------------------------------------------------------------------------------ stakes

    function deposit(uint256 number, uint256 amount) external timed {
        address node = _node(number);
        if (!registry.nodeOf(node).admitted) return;
        amount = bound(amount, 1, 1e24);
        registry.deposit(node, amount);
        _ghost.deposited += amount;
    }

    function exitSome(uint256 number, uint256 amount) external timed {
        address node = _node(number);
        uint256 stake = stakeOf(node);
        if (stake == 0) return;
        // Often all of it.
        exit(node, amount % 3 == 0 ? stake : bound(amount, 1, stake));
        ++_reached.exits;
    }

    function withdraw(uint256 number) external timed {
        address node = _node(number);
        uint256 before = token.balanceOf(node);
        try registry.withdraw(node) returns (uint256 amount) {
            vm.assertEq(token.balanceOf(node), before + amount);
            _ghost.withdrawn += amount;
            ++_reached.withdrawals;
        } catch {}
    }

    function donate(uint256 amount, bool toTasks) external timed {
        token.transfer(toTasks ? address(tasks) : address(registry), bound(amount, 1, 1e20));
    }

    function passTime(uint256 duration) external timed {
        vm.warp(block.timestamp + bound(duration, 0, 20 days));
    }

    function settle(uint256 number, bool waives) external timed {
        uint256 count = registry.slashCount();
        if (count == 0) return;
        number %= count;
        SlashView memory slash = registry.slashOf(number);
        if (slash.status != SlashStatus.Pending) return;
        if (waives && block.timestamp < slash.executableAt) {
            vm.prank(council);
            registry.waive(number);
            ++_reached.waived;
        } else {
            if (block.timestamp < slash.executableAt) vm.warp(slash.executableAt);
            registry.execute(number);
            _ghost.executed += slash.amount;
            ++_reached.executed;
        }
    }

    // --------------------------------------------------------------------------------------------- keys, membership

    function rotate(uint256 number, uint256 key) external timed {
        address node = _node(number);
        keyOf[node] = bound(key, 1, 1e60);
        rotate(node, vm.addr(keyOf[node]));
    }

    function comeBack(uint256 number) external timed {
        if (registry.nodeOf(_node(number)).admitted) comeBack(returnOf(_node(number)));
    }

    function dismissOrAdmit(uint256 number, uint64 group) external timed {
        NodeView memory node = registry.nodeOf(_node(number));
        if (!node.admitted) {
            vm.prank(council);
            registry.admit(node.node, node.signer, uint64(bound(group, 1, NODES)));
        } else if (group % 4 == 0) {
            dismiss(node.node);
        }
    }

    function approveOrRevoke(uint256 number, uint256 taskNumber, uint256 entropy) external timed {
        uint64 task = _task(taskNumber);
        address node = _node(number);
        bool isApproved;
        address[] memory approved = tasks.approvedOf(task);
        for (uint256 i; i < approved.length; ++i) {
            isApproved = isApproved || approved[i] == node;
        }
        if (isApproved && entropy % 4 == 0) revoke(task, node);
        else if (!isApproved) approve(task, node);
    }

    // ------------------------------------------------------------------------------------------------------- tasks

    function create(uint256 count) external timed {
        if (tasks.taskCount() < MOST_TASKS) _create(uint32(bound(count, 1, 5)));
    }

    function fund(uint256 number, uint256 amount) external timed {
        uint64 task = _task(number);
        amount = bound(amount, 1, 1e30);
        PoolView memory money = tasks.poolOf(task);
        bool isFundable =
            !money.isOver && !money.isCancelled && lens.taskOf(task).roundsRequested < tasks.configOf(task).rounds;
        if (isFundable) tasks.fund(task, amount);
        else tasks.topUp(task, amount);
        _ghost.funded += amount;
    }

    function claim(uint256 number) external timed {
        address node = _node(number);
        if (tasks.claimableOf(node) != 0) _ghost.claimed += tasks.claim(node);
    }

    function refund(uint256 number) external timed {
        uint64 task = _task(number);
        if (tasks.refundableOf(task, address(this)) == 0) return;
        _ghost.refunded += tasks.refund(task, address(this));
        ++_reached.refunds;
    }

    function pauseOrNot(uint256 number, uint256 entropy) external timed {
        uint64 task = _task(number);
        PoolView memory pool = tasks.poolOf(task);
        if (pool.isOver) return;
        if (pool.isPaused) {
            vm.prank(council);
            tasks.unpause(task);
        } else if (entropy % 4 == 0) {
            pause(task);
        }
        _watch(task);
    }

    function cancel(uint256 number, uint256 entropy) external timed {
        // Not the first, so that rounds go on.
        uint64 task = _task(number);
        PoolView memory pool = tasks.poolOf(task);
        if (task == 1 || pool.isOver || pool.isCancelled || entropy % 8 != 0) return;
        cancel(task);
        _watch(task);
    }

    // ------------------------------------------------------------------------------------------------------ rounds

    /// What the phase of a task's round asks for, by one node, or by all; now and then again by who has spoken.
    function take(uint256 number, uint256 nodeNumber, uint256 entropy) external timed {
        _take(_task(number), nodeNumber, entropy);
    }

    /// The same a few times, so that rounds get somewhere.
    function takeOn(uint256 number, uint256 nodeNumber, uint256 entropy) external timed {
        for (uint256 i; i < 6; ++i) {
            _take(_task(number), nodeNumber, uint256(keccak256(abi.encode(entropy, i))));
        }
    }

    /// Nobody speaks until the deadline.
    function wait(uint256 number) external timed {
        uint64 task = _task(number);
        RoundView memory round = viewOf(task);
        if (round.deadline == 0) return;
        passDeadline(task);
        rounds.advance(task);
        _watch(task);
    }

    function _take(uint64 task, uint256 nodeNumber, uint256 entropy) private {
        RoundView memory round = viewOf(task);
        if (round.phase == Phase.None || round.phase >= Phase.Final) {
            // Refused while paused, over, or with too few nodes.
            try rounds.requestRound(task) {} catch {}
        } else if (round.phase == Phase.Requested) {
            vm.roll(round.seedBlock + 1 + (entropy % 10 == 0 ? 300 : 0));
            if (entropy % 10 != 0) vm.setBlockhash(round.seedBlock, keccak256(abi.encode(entropy)));
            rounds.advance(task);
        } else {
            bool all = entropy % 4 != 0;
            uint256 first = all ? 0 : nodeNumber % 4;
            for (uint256 i = first; block.timestamp <= round.deadline && i < (all ? 4 : first + 1); ++i) {
                _speak(task, round, i, uint256(keccak256(abi.encode(entropy, i))));
            }
            if (entropy % 16 == 1) passDeadline(task);
            if (rounds.isDue(task)) rounds.advance(task);
        }
        _watch(task);
    }

    function _speak(uint64 task, RoundView memory round, uint256 i, uint256 entropy) private {
        bool again;
        bytes memory call;
        if (round.phase == Phase.Training) {
            if (i >= round.proposers.length) return;
            for (uint256 p; p < round.proposals.length; ++p) {
                again = again || round.proposals[p].node == round.proposers[i];
            }
            Proposal memory message = proposalOf(task, round.proposers[i]);
            call = abi.encodeCall(IRounds.propose, (message, sign(message.node, hashOf(message))));
        } else if (round.phase == Phase.Committing) {
            Commit memory message = commitTo(_reveal(task, round, i));
            again = round.votes[i].commitment != 0;
            call = abi.encodeCall(IRounds.commit, (message, sign(message.node, hashOf(message))));
        } else if (round.phase == Phase.Revealing) {
            // Some keep silent.
            if (round.votes[i].commitment == 0 || uint256(keccak256(abi.encode(round.context, i))) % 12 == 0) return;
            again = round.votes[i].revealed;
            call = abi.encodeCall(IRounds.reveal, (_reveal(task, round, i)));
        } else {
            int32 score = int32(int256(entropy % 1000)) - 200;
            bytes32 digest = entropy % 5 == 0 ? SALT : keccak256(abi.encode(round.context));
            Attestation memory message = attestationOf(task, round.voters[i], digest, score);
            again = round.attestations[i].attested;
            call = abi.encodeCall(IRounds.attest, (message, sign(message.node, hashOf(message))));
        }
        (bool taken,) = address(rounds).call(call);
        if (again) ++_reached.repeats;
        if (again && taken) tookTwice = true;
        vm.assertTrue(again || taken);
    }

    /// Scores that depend on the round and the voter only, so that a reveal fits its commitment. Every tenth proposal is
    /// called INVALID or UNAVAILABLE by nearly all.
    function _reveal(uint64 task, RoundView memory round, uint256 i) private view returns (Reveal memory) {
        int32[] memory scores = new int32[](round.proposals.length);
        for (uint256 p; p < scores.length; ++p) {
            uint256 bad = uint256(keccak256(abi.encode(round.context, p))) % 20;
            uint256 entropy = uint256(keccak256(abi.encode(round.context, i, p)));
            scores[p] = int32(int256(entropy % 2_000_000)) - 600_000;
            if (bad == 0 || entropy % 40 == 0) scores[p] = INVALID_SCORE;
            if (bad == 1 || entropy % 40 == 1) scores[p] = UNAVAILABLE_SCORE;
        }
        return revealOf(task, round.voters[i], scores);
    }

    function _create(uint32 count) private {
        TaskConfig memory config = demoConfig();
        config.rounds = count;
        approveAll(createTask(config, 0));
    }

    function _watch(uint64 task) private {
        uint32 number = lens.taskOf(task).roundsRequested;
        Phase phase = lens.roundOf(task, number).phase;
        Phase last = _seen[task][number];
        if (phase < last || (last >= Phase.Final && phase != last)) movedBack = true;
        if (phase != last) {
            if (phase == Phase.Final) ++_reached.finalRounds;
            if (phase == Phase.Rejected) ++_reached.rejectedRounds;
            if (phase == Phase.Aborted) ++_reached.abortedRounds;
        }
        _seen[task][number] = phase;
        _reached.slashes = registry.slashCount();
    }

    // --------------------------------------------------------------------------------------------------- the way out

    /// From the state reached, a node leaves with all it has, by its own exit and calls that anyone may make, while
    /// others open what rounds they can and keep silent: in the unbonding time, a round's durations and an appeal window.
    function mustLetGo(uint256 number) external timed {
        address node = _node(number);
        uint256 start = block.timestamp;
        NodeView memory before = registry.nodeOf(node);
        if (before.stake != 0) exit(node, before.stake);
        uint256 balance = token.balanceOf(node);

        _closeOpenRounds();
        for (uint64 task = 1; task <= tasks.taskCount(); ++task) {
            // What others open now is without the node.
            try rounds.requestRound(task) {
                vm.roll(viewOf(task).seedBlock + 1);
                vm.setBlockhash(viewOf(task).seedBlock, keccak256(abi.encode(task, start)));
                rounds.advance(task);
            } catch {}
        }
        vm.assertEq(registry.nodeOf(node).openRounds, 0);
        vm.assertLe(block.timestamp, start + 1004);

        for (uint256 i; i < registry.slashCount(); ++i) {
            SlashView memory slash = registry.slashOf(i);
            if (slash.node != node || slash.status != SlashStatus.Pending) continue;
            if (block.timestamp < slash.executableAt) vm.warp(slash.executableAt);
            registry.execute(i);
        }
        vm.assertEq(registry.nodeOf(node).pendingSlashes, 0);
        vm.assertLe(block.timestamp, start + 1004 + APPEAL_SECONDS);

        if (block.timestamp < start + UNBONDING_SECONDS) vm.warp(start + UNBONDING_SECONDS);
        uint256 left = registry.nodeOf(node).unbonding;
        if (left != 0) registry.withdraw(node);
        vm.assertEq(token.balanceOf(node), balance + left);
        vm.assertEq(registry.nodeOf(node).stake + registry.nodeOf(node).unbonding, 0);
        vm.assertLe(block.timestamp, start + UNBONDING_SECONDS + 1004 + APPEAL_SECONDS);
    }

    /// Anyone moves every open round on, as soon as it is due.
    function _closeOpenRounds() private {
        for (uint256 next = 1; next != 0;) {
            next = 0;
            for (uint64 task = 1; task <= tasks.taskCount(); ++task) {
                (uint32 requested, uint32 closed,) = rounds.progressOf(task);
                if (requested == closed) continue;
                RoundHeader memory header = rounds.headerOf(task, requested);
                // A seed is found in time, or lost.
                if (header.phase == Phase.Requested) vm.roll(header.seedBlock + 257);
                if (rounds.isDue(task)) rounds.advance(task);
                header = rounds.headerOf(task, requested);
                if (header.phase < Phase.Final && (next == 0 || header.deadline < next)) next = header.deadline;
            }
            if (next > block.timestamp) vm.warp(next);
            else if (next != 0) vm.warp(block.timestamp + 1);
        }
    }

    function _node(uint256 number) private view returns (address) {
        return admitted[number % NODES];
    }

    function _task(uint256 number) private view returns (uint64) {
        return uint64(number % tasks.taskCount()) + 1;
    }
}

/// As Forge reads it.
struct FuzzSelector {
    address addr;
    bytes4[] selectors;
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

    /// And what not to: the way out is tried at the end.
    function excludeSelectors() public view returns (FuzzSelector[] memory excluded) {
        excluded = new FuzzSelector[](1);
        bytes4[] memory selectors = new bytes4[](1);
        selectors[0] = Handler.mustLetGo.selector;
        excluded[0] = FuzzSelector({addr: address(handler), selectors: selectors});
    }

    /// The random calls must reach what the invariants are about.
    function test_TheHandlerReachesWhatMatters() public {
        for (uint256 i; i < 150; ++i) {
            uint256 entropy = uint256(keccak256(abi.encode(i)));
            handler.takeOn(entropy >> 8, entropy >> 16, entropy >> 24);
            if (i % 2 == 0) handler.comeBack(i / 2);
            if (i % 7 == 0) handler.settle(entropy, i % 3 == 0);
            if (i % 9 == 0) handler.exitSome(entropy, entropy >> 3);
            if (i % 30 == 29) _letSomeLeave();
            handler.deposit(i, entropy >> 180);
            if (i % 11 == 0) handler.dismissOrAdmit(entropy, uint64(entropy));
            if (i % 12 == 0) handler.approveOrRevoke(entropy, entropy >> 4, entropy >> 9);
            if (i % 13 == 0) handler.pauseOrNot(entropy, entropy >> 7);
            if (i % 17 == 0) handler.fund(entropy, entropy >> 7);
            if (i % 19 == 0) handler.create(entropy);
            if (i % 20 == 0) handler.cancel(entropy, 0);
            if (i % 21 == 0) handler.refund(entropy);
            if (i % 23 == 0) handler.claim(entropy);
        }
        invariant_AllThatMustHold();
        Reached memory reached = handler.reached();
        vm.assertLt(3, reached.finalRounds);
        vm.assertLt(3, reached.rejectedRounds);
        vm.assertLt(3, reached.abortedRounds);
        vm.assertLt(3, reached.slashes);
        vm.assertLt(0, reached.waived);
        vm.assertLt(3, reached.executed);
        vm.assertLt(3, reached.exits);
        vm.assertLt(0, reached.withdrawals);
        vm.assertLt(0, reached.refunds);
        vm.assertLt(3, reached.repeats);
        afterInvariant();
    }

    /// Rounds end, slashes are settled, time passes: who has left is paid.
    function _letSomeLeave() private {
        for (uint256 task; task < 4; ++task) {
            handler.wait(task);
            handler.wait(task);
        }
        for (uint256 i; i < registry.slashCount(); ++i) {
            handler.settle(i, false);
        }
        handler.passTime(15 days);
        for (uint256 i; i < 5; ++i) {
            handler.withdraw(i);
        }
    }

    function invariant_AllThatMustHold() public view {
        _stakesAreAccountedForAndHeld();
        _poolsOpenRewardsAndClaimsAreAccountedForAndHeld();
        _noMoreIsPaidThanFundedAndSlashed();
        _seatsAndSlashesAreCounted();
        _onlyAnOpenRoundHoldsAReward();
        vm.assertFalse(handler.movedBack());
        vm.assertFalse(handler.tookTwice());
    }

    /// At the end of every sequence: whoever wants to leave can.
    function afterInvariant() public {
        for (uint256 i; i < 5; ++i) {
            uint256 snapshot = vm.snapshotState();
            handler.mustLetGo(i);
            vm.revertToState(snapshot);
        }
        // And one after the other.
        for (uint256 i; i < 5; ++i) {
            handler.mustLetGo(i);
        }
    }

    function _stakesAreAccountedForAndHeld() private view {
        address[] memory nodes = registry.nodes();
        uint256 sum;
        for (uint256 i; i < nodes.length; ++i) {
            NodeView memory node = registry.nodeOf(nodes[i]);
            sum += node.stake + node.unbonding;
            uint256 unbonding;
            for (uint256 e; e < registry.unbondingOf(nodes[i]).length; ++e) {
                unbonding += registry.unbondingOf(nodes[i])[e].amount;
            }
            vm.assertEq(node.unbonding, unbonding);
        }
        for (uint256 i; i < registry.slashCount(); ++i) {
            SlashView memory slash = registry.slashOf(i);
            if (slash.status == SlashStatus.Pending) sum += slash.amount;
        }
        Ghost memory ghost = handler.ghost();
        vm.assertEq(registry.totalOwed(), sum);
        vm.assertEq(ghost.deposited, sum + ghost.withdrawn + ghost.executed);
        vm.assertLe(sum, token.balanceOf(address(registry)));
    }

    function _poolsOpenRewardsAndClaimsAreAccountedForAndHeld() private view {
        uint256 sum = _claimable();
        for (uint64 task = 1; task <= tasks.taskCount(); ++task) {
            sum += tasks.poolOf(task).pool + tasks.poolOf(task).openReward;
        }
        Ghost memory ghost = handler.ghost();
        vm.assertEq(tasks.totalOwed(), sum);
        vm.assertEq(ghost.funded + ghost.executed, sum + ghost.claimed + ghost.refunded);
        vm.assertLe(sum, token.balanceOf(address(tasks)));
    }

    function _noMoreIsPaidThanFundedAndSlashed() private view {
        Ghost memory ghost = handler.ghost();
        vm.assertLe(_claimable() + ghost.claimed + ghost.refunded, ghost.funded + ghost.executed);
    }

    function _claimable() private view returns (uint256 sum) {
        address[] memory nodes = registry.nodes();
        for (uint256 i; i < nodes.length; ++i) {
            sum += tasks.claimableOf(nodes[i]);
        }
    }

    /// A node's open rounds are those in which it has a seat, and its pending slashes those that are pending.
    function _seatsAndSlashesAreCounted() private view {
        address[] memory nodes = registry.nodes();
        for (uint256 i; i < nodes.length; ++i) {
            uint256 open;
            for (uint64 task = 1; task <= tasks.taskCount(); ++task) {
                (uint32 requested, uint32 closed,) = rounds.progressOf(task);
                if (requested == closed) continue;
                bool isDrawn = rounds.seatOf(task, requested, nodes[i]).isProposer
                    || rounds.seatOf(task, requested, nodes[i]).isVoter;
                if (isDrawn) ++open;
            }
            uint256 pending;
            for (uint256 s; s < registry.slashCount(); ++s) {
                SlashView memory slash = registry.slashOf(s);
                if (slash.node == nodes[i] && slash.status == SlashStatus.Pending) ++pending;
            }
            vm.assertEq(registry.nodeOf(nodes[i]).openRounds, open);
            vm.assertEq(registry.nodeOf(nodes[i]).pendingSlashes, pending);
        }
    }

    function _onlyAnOpenRoundHoldsAReward() private view {
        for (uint64 task = 1; task <= tasks.taskCount(); ++task) {
            (uint32 requested, uint32 closed,) = rounds.progressOf(task);
            Phase phase = rounds.headerOf(task, requested).phase;
            bool open = closed != requested;
            vm.assertLe(requested - closed, 1);
            vm.assertEq(open, phase != Phase.None && phase < Phase.Final);
            vm.assertEq(tasks.poolOf(task).openReward, open ? rounds.headerOf(task, requested).reward : 0);
        }
    }
}
