// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";

import {InexactTransfer, SlashesPending} from "../src/Errors.sol";
import {IRegistry} from "../src/interfaces/IRegistry.sol";
import {ITasks} from "../src/interfaces/ITasks.sol";
import {Migration} from "../src/Messages.sol";
import {SlashStatus, TaskConfig} from "../src/Types.sol";
import {Consortium, IMintable} from "./helpers/Consortium.sol";
import {FeeToken, NoZeroToken, ReentrantToken} from "./helpers/Tokens.sol";
import {bound, vm} from "./helpers/Vm.sol";

/// A token that keeps a part of what it moves is refused wherever tokens come in.
contract FeeTokenTest is Consortium {
    FeeToken private fee;

    function setUp() public {
        fee = new FeeToken();
        deployOn(IMintable(address(fee)));
    }

    function testFuzz_DepositFundAndTopUpRefuseIt(uint256 amount) public {
        amount = bound(amount, 1, 1e28);
        address node = admitNode(1, 0);
        uint64 task = createTask(demoConfig(), 0);
        fee.charge();
        bytes memory reason = abi.encodeWithSelector(InexactTransfer.selector, amount, amount - (amount + 99) / 100);
        vm.expectRevert(reason);
        registry.deposit(node, amount);
        vm.expectRevert(reason);
        registry.depositWithPermit(node, amount, block.timestamp, 0, 0, 0);
        vm.expectRevert(reason);
        tasks.fund(task, amount);
        vm.expectRevert(reason);
        tasks.topUp(task, amount);
        vm.assertEq(registry.totalOwed(), 0);
        vm.assertEq(tasks.totalOwed(), 0);
    }

    /// Also when it begins to charge later: a slash stays pending, and the books stay true.
    function test_ASlashIsNotExecutedShort() public {
        absentRound(demo());
        vm.warp(block.timestamp + APPEAL_SECONDS);
        fee.charge();
        uint256 amount = registry.slashOf(0).amount;
        vm.expectRevert(abi.encodeWithSelector(InexactTransfer.selector, amount, amount - (amount + 99) / 100));
        registry.execute(0);
        vm.assertEq(registry.totalOwed(), token.balanceOf(address(registry)));
    }
}

/// A token that refuses to move nothing does not lock a node in whose fault costs nothing.
contract NoZeroTokenTest is Consortium {
    function setUp() public {
        deployOn(IMintable(address(new NoZeroToken())));
    }

    function test_ASlashOfNothingIsExecutedWithoutATransfer() public {
        admitFour();
        TaskConfig memory config = demoConfig();
        config.absentBps = 0;
        uint64 task = createTask(config, 3000 * TOKEN);
        approveAll(task);
        absentRound(task);
        address node = registry.slashOf(0).node;
        vm.assertEq(registry.slashOf(0).amount, 0);
        exit(node, 100 * TOKEN);
        vm.warp(block.timestamp + UNBONDING_SECONDS);
        vm.expectRevert(abi.encodeWithSelector(SlashesPending.selector, 1));
        registry.withdraw(node);

        vm.expectEmit();
        emit IRegistry.SlashExecuted(0, node, task, 0);
        registry.execute(0);

        vm.assertEq(uint256(registry.slashOf(0).status), uint256(SlashStatus.Executed));
        vm.assertEq(registry.nodeOf(node).pendingSlashes, 0);
        vm.assertEq(tasks.poolOf(task).pool, 3000 * TOKEN);
        vm.assertEq(registry.withdraw(node), 100 * TOKEN);
    }
}

/// A token that calls back in the midst of a transfer gets nowhere.
contract ReentrantTokenTest is Consortium {
    ReentrantToken private evil;
    uint64 private task;
    uint64 private over;
    address private node;
    IRegistry private next;

    /// Everything is due at once: an exit, a slash, a claim, a refund.
    function setUp() public {
        evil = new ReentrantToken();
        deployOn(IMintable(address(evil)));
        task = demo();
        over = createTask(demoConfig(), 100 * TOKEN);
        approveAll(over);
        finalRound(task);
        node = admitted[3];
        exit(node, 100 * TOKEN);
        vm.warp(block.timestamp + UNBONDING_SECONDS);
        absentRound(over);
        cancel(over);
        next = deployRegistry(address(0xBEEF));
        vm.startPrank(council);
        next.admit(node, vm.addr(4), 4);
        registry.nameSuccessor(address(next));
        vm.stopPrank();
        vm.warp(block.timestamp + APPEAL_SECONDS);
        while (registry.nodeOf(node).pendingSlashes != 0) {
            for (uint256 i; i < 3; ++i) {
                if (registry.slashOf(i).node == node) registry.execute(i);
            }
        }
    }

    function test_DuringEveryTransferOfTheRegistry() public {
        bytes[5] memory inner = _registryCalls();
        for (uint256 i; i < 5; ++i) {
            for (uint256 outer; outer < 5; ++outer) {
                uint256 snapshot = vm.snapshotState();
                // `depositWithPermit` moves tokens as `deposit` does.
                _stopped(address(registry), inner[outer], address(registry), inner[i]);
                vm.revertToState(snapshot);
            }
        }
    }

    function test_DuringEveryTransferOfTheTasks() public {
        bytes[4] memory inner = _tasksCalls();
        for (uint256 i; i < 4; ++i) {
            for (uint256 outer; outer < 4; ++outer) {
                uint256 snapshot = vm.snapshotState();
                _stopped(address(tasks), inner[outer], address(tasks), inner[i]);
                vm.revertToState(snapshot);
            }
        }
    }

    /// A slash passes through both contracts, and both are shut while it does.
    function test_WhileASlashIsExecutedBothAreShut() public {
        bytes memory execute = _registryCalls()[3];
        for (uint256 i; i < 4; ++i) {
            uint256 snapshot = vm.snapshotState();
            _stopped(address(registry), execute, address(tasks), _tasksCalls()[i]);
            vm.revertToState(snapshot);
        }
    }

    /// The other contract is open meanwhile, and its books are its own.
    function test_AcrossContractsTheBooksStayTrue() public {
        evil.arm(address(tasks), _tasksCalls()[2]);
        registry.withdraw(node);
        vm.assertTrue(evil.taken());
        _booksAreTrue();
        evil.arm(address(registry), _registryCalls()[0]);
        tasks.refund(over, address(this));
        vm.assertTrue(evil.called());
        _booksAreTrue();
    }

    function _stopped(address outer, bytes memory call, address target, bytes memory inner) private {
        evil.arm(target, inner);
        (bool taken,) = outer.call(call);
        vm.assertTrue(taken);
        vm.assertTrue(evil.called());
        vm.assertFalse(evil.taken());
        vm.assertEq(
            evil.refusal(), abi.encodeWithSelector(ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector)
        );
        _booksAreTrue();
    }

    function _booksAreTrue() private view {
        vm.assertEq(registry.totalOwed(), token.balanceOf(address(registry)));
        vm.assertEq(tasks.totalOwed(), token.balanceOf(address(tasks)));
    }

    function _registryCalls() private view returns (bytes[5] memory) {
        Migration memory migration = migrationOf(node, address(next));
        uint256 pending;
        while (registry.slashOf(pending).node == node) ++pending;
        return [
            abi.encodeCall(IRegistry.deposit, (node, 1)),
            abi.encodeCall(IRegistry.withdraw, (node)),
            abi.encodeCall(IRegistry.migrate, (migration, signAsOwner(node, hashOf(migration)))),
            abi.encodeCall(IRegistry.execute, (pending)),
            abi.encodeCall(IRegistry.depositWithPermit, (node, 1, block.timestamp, 0, 0, 0))
        ];
    }

    function _tasksCalls() private view returns (bytes[4] memory) {
        return [
            abi.encodeCall(ITasks.fund, (task, 1)),
            abi.encodeCall(ITasks.topUp, (task, 1)),
            abi.encodeCall(ITasks.claim, (node)),
            abi.encodeCall(ITasks.refund, (over, address(this)))
        ];
    }
}
