// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Nonces} from "@openzeppelin/contracts/utils/Nonces.sol";

import {Expired, InsufficientStake, NodeUnknown, WrongSignature, ZeroAmount} from "../src/Errors.sol";
import {IRegistry} from "../src/interfaces/IRegistry.sol";
import {Exit} from "../src/Messages.sol";
import {NodeView, UnbondingView} from "../src/Types.sol";
import {ConsortiumTest} from "./helpers/Consortium.sol";
import {bound, vm} from "./helpers/Vm.sol";

contract ExitTest is ConsortiumTest {
    address private node;

    function setUp() public override {
        super.setUp();
        node = admitNode(1, 100 * TOKEN);
    }

    function testFuzz_AnyoneRelaysAnExit(address relayer, uint256 amount) public {
        amount = bound(amount, 1, 100 * TOKEN);
        uint64 maturesAt = uint64(block.timestamp) + UNBONDING_SECONDS;
        Exit memory message = exitOf(node, amount);
        bytes memory signature = signAsOwner(node, hashOf(message));

        vm.expectEmit();
        emit IRegistry.ExitRequested(node, amount, maturesAt, 100 * TOKEN - amount);
        vm.prank(relayer);
        registry.exit(message, signature);

        NodeView memory left = registry.nodeOf(node);
        vm.assertEq(left.stake, 100 * TOKEN - amount);
        vm.assertEq(left.eligibleStake, 100 * TOKEN - amount);
        vm.assertEq(left.unbonding, amount);
        UnbondingView[] memory entries = registry.unbondingOf(node);
        vm.assertEq(entries.length, 1);
        vm.assertEq(entries[0].amount, amount);
        vm.assertEq(entries[0].maturesAt, maturesAt);
        vm.assertEq(registry.totalOwed(), 100 * TOKEN);
        vm.assertEq(token.balanceOf(address(registry)), 100 * TOKEN);
    }

    function test_TheAccountItselfSendsItUnsigned() public {
        Exit memory message = exitOf(node, TOKEN);
        vm.prank(node);
        registry.exit(message, "");
        vm.assertEq(registry.nodeOf(node).unbonding, TOKEN);
    }

    function test_TheSigningKeyCannotMoveMoney() public {
        Exit memory message = exitOf(node, TOKEN);
        bytes memory signature = signTo(address(registry), keyOf[node], hashOf(message));
        _refused(message, signature, abi.encodeWithSelector(WrongSignature.selector, node));
        vm.expectRevert(abi.encodeWithSelector(WrongSignature.selector, node));
        vm.prank(vm.addr(keyOf[node]));
        registry.exit(message, "");
    }

    function testFuzz_MoreThanTheStakeIsRefused(uint256 amount) public {
        amount = bound(amount, 100 * TOKEN + 1, type(uint256).max);
        _refused(exitOf(node, amount), abi.encodeWithSelector(InsufficientStake.selector, 100 * TOKEN));
    }

    function test_NothingIsRefused() public {
        _refused(exitOf(node, 0), abi.encodeWithSelector(ZeroAmount.selector));
    }

    function test_UnknownNodesAreRefused() public {
        Exit memory message = exitOf(node, TOKEN);
        message.node = address(77);
        vm.expectRevert(abi.encodeWithSelector(NodeUnknown.selector, address(77)));
        vm.prank(address(77));
        registry.exit(message, "");
    }

    function testFuzz_ExpiredIsRefused(uint64 expiry) public {
        Exit memory message = exitOf(node, TOKEN);
        message.expiry = uint64(bound(expiry, 0, block.timestamp - 1));
        _refused(message, abi.encodeWithSelector(Expired.selector, message.expiry));
    }

    function test_ASignatureCountsOnce() public {
        Exit memory message = exitOf(node, TOKEN);
        exit(message);
        _refused(message, abi.encodeWithSelector(Nonces.InvalidAccountNonce.selector, node, 1));
    }

    function testFuzz_AlteredAmountsAreRefused(uint256 amount) public {
        amount = bound(amount, 1, 100 * TOKEN);
        vm.assume(amount != TOKEN);
        Exit memory message = exitOf(node, TOKEN);
        bytes memory signature = signAsOwner(node, hashOf(message));
        message.amount = amount;
        _refused(message, signature, abi.encodeWithSelector(WrongSignature.selector, node));
    }

    function test_AnotherDomainIsRefused() public {
        Exit memory message = exitOf(node, TOKEN);
        bytes memory reason = abi.encodeWithSelector(WrongSignature.selector, node);
        bytes32 structHash = hashOf(message);
        _refused(message, signTo(address(rounds), ownerKeyOf[node], structHash), reason);
        _refused(message, signTo(address(tasks), ownerKeyOf[node], structHash), reason);
        _refused(message, signWith(ownerKeyOf[node], structHash, address(registry), block.chainid + 1), reason);
    }

    function testFuzz_AFifthAmountJoinsTheLatest(uint256 fifth) public {
        fifth = bound(fifth, 1, 90 * TOKEN);
        uint64 start = uint64(block.timestamp);
        for (uint64 i; i < 4; ++i) {
            vm.warp(start + i);
            exit(node, TOKEN + i);
        }
        vm.warp(start + 4);
        exit(node, fifth);

        UnbondingView[] memory entries = registry.unbondingOf(node);
        vm.assertEq(entries.length, 4);
        for (uint64 i; i < 3; ++i) {
            vm.assertEq(entries[i].amount, TOKEN + i);
            vm.assertEq(entries[i].maturesAt, start + i + UNBONDING_SECONDS);
        }
        vm.assertEq(entries[3].amount, TOKEN + 3 + fifth);
        vm.assertEq(entries[3].maturesAt, start + 4 + UNBONDING_SECONDS);

        vm.warp(start + 3 + UNBONDING_SECONDS);
        vm.assertEq(registry.withdraw(node), 3 * TOKEN + 3);
        vm.warp(start + 4 + UNBONDING_SECONDS);
        vm.assertEq(registry.withdraw(node), TOKEN + 3 + fifth);
    }

    function test_TheStakeThatWasFrozenForARoundStaysFrozen() public {
        for (uint256 i = 2; i <= 4; ++i) {
            admitNode(i, i * 100 * TOKEN);
        }
        uint64 task = createTask(demoConfig(), 0);
        approveAll(task);
        rounds.requestRound(task);
        exit(node, 100 * TOKEN);
        vm.assertEq(registry.eligibleStakeOf(node), 0);
        uint256[] memory stakes = viewOf(task).stakes;
        uint256 total;
        for (uint256 i; i < stakes.length; ++i) {
            total += stakes[i];
        }
        vm.assertEq(total, 1000 * TOKEN);
    }

    function _refused(Exit memory message, bytes memory reason) private {
        _refused(message, signAsOwner(node, hashOf(message)), reason);
    }

    function _refused(Exit memory message, bytes memory signature, bytes memory reason) private {
        uint256 nonce = nonceAt(address(registry), node);
        vm.expectRevert(reason);
        registry.exit(message, signature);
        vm.assertEq(nonceAt(address(registry), node), nonce);
    }
}
