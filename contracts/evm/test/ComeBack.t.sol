// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Nonces} from "@openzeppelin/contracts/utils/Nonces.sol";

import {Expired, NodeDismissed, NodeUnknown, NotEnoughEligible, WrongSignature} from "../src/Errors.sol";
import {IRegistry} from "../src/interfaces/IRegistry.sol";
import {Return} from "../src/Messages.sol";
import {TaskConfig} from "../src/Types.sol";
import {ConsortiumTest} from "./helpers/Consortium.sol";
import {vm} from "./helpers/Vm.sol";

/// Nodes that were absent too many times running, and say that they are back.
contract ComeBackTest is ConsortiumTest {
    uint64 private task;
    address private node;

    function setUp() public override {
        super.setUp();
        admitFour();
        TaskConfig memory config = demoConfig();
        config.rounds = 100;
        // All propose, so that silence is everybody's absence.
        config.proposers = 4;
        task = createTask(config, 0);
        approveAll(task);
        node = admitted[0];
    }

    function test_AbsentTooManyTimesRunningIsNotEligible() public {
        for (uint256 i = 1; i <= MOST_ABSENCES; ++i) {
            vm.assertTrue(registry.eligibleStakeOf(node) != 0);
            absentRound(task);
            vm.assertEq(registry.nodeOf(node).absences, i);
        }
        vm.assertEq(registry.eligibleStakeOf(node), 0);
        vm.assertTrue(stakeOf(node) != 0);
        vm.expectRevert(abi.encodeWithSelector(NotEnoughEligible.selector, 0, 4));
        rounds.requestRound(task);
    }

    function test_AttendingStartsTheCountAnew() public {
        absentRound(task);
        absentRound(task);
        finalRound(task);
        vm.assertEq(registry.nodeOf(node).absences, 0);
    }

    function testFuzz_AnyoneRelaysAReturn(address relayer) public {
        _tooManyAbsences();
        Return memory message = returnOf(node);
        bytes memory signature = signTo(address(registry), keyOf[node], hashOf(message));

        vm.expectEmit();
        emit IRegistry.NodeReturned(node);
        vm.prank(relayer);
        registry.comeBack(message, signature);

        vm.assertEq(registry.nodeOf(node).absences, 0);
        vm.assertEq(registry.eligibleStakeOf(node), stakeOf(node));
    }

    function test_TheSigningKeyItselfSendsItUnsigned() public {
        _tooManyAbsences();
        Return memory message = returnOf(node);
        vm.prank(vm.addr(keyOf[node]));
        registry.comeBack(message, "");
        vm.assertEq(registry.nodeOf(node).absences, 0);
    }

    function test_AfterItRoundsGoOn() public {
        _tooManyAbsences();
        for (uint256 i; i < 4; ++i) {
            comeBack(returnOf(admitted[i]));
        }
        finalRound(task);
    }

    function test_OtherKeysAreRefused() public {
        Return memory message = returnOf(node);
        bytes memory signature = signAsOwner(node, hashOf(message));
        vm.expectRevert(abi.encodeWithSelector(WrongSignature.selector, vm.addr(keyOf[node])));
        registry.comeBack(message, signature);
    }

    function test_OnceAndInTime() public {
        Return memory message = returnOf(node);
        comeBack(message);
        _refused(message, abi.encodeWithSelector(Nonces.InvalidAccountNonce.selector, node, 1));
        message = returnOf(node);
        message.expiry = uint64(block.timestamp) - 1;
        _refused(message, abi.encodeWithSelector(Expired.selector, message.expiry));
    }

    function test_UnknownAndDismissedNodesAreRefused() public {
        Return memory message = returnOf(address(77));
        vm.expectRevert(abi.encodeWithSelector(NodeUnknown.selector, address(77)));
        registry.comeBack(message, "");
        dismiss(node);
        _refused(returnOf(node), abi.encodeWithSelector(NodeDismissed.selector, node));
    }

    function _tooManyAbsences() private {
        for (uint256 i; i < MOST_ABSENCES; ++i) {
            absentRound(task);
        }
    }

    function _refused(Return memory message, bytes memory reason) private {
        bytes memory signature = signTo(address(registry), keyOf[node], hashOf(message));
        vm.expectRevert(reason);
        registry.comeBack(message, signature);
    }
}
