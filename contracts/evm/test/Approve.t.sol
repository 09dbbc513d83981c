// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Nonces} from "@openzeppelin/contracts/utils/Nonces.sol";

import {Expired, NodeUnknown, TaskUnknown, TooManyApproved, WrongSignature, WrongSpecDigest} from "../src/Errors.sol";
import {ITasks} from "../src/interfaces/ITasks.sol";
import {Approval} from "../src/Messages.sol";
import {ConsortiumTest} from "./helpers/Consortium.sol";
import {Answer, ContractSigner} from "./helpers/ContractSigner.sol";
import {bound, vm} from "./helpers/Vm.sol";

contract ApproveTest is ConsortiumTest {
    uint64 private task;
    address private node;

    function setUp() public override {
        super.setUp();
        node = admitNode(1, TOKEN);
        task = createTask(demoConfig(), 0);
    }

    function testFuzz_AnyoneRelaysAnApproval(address relayer, bytes32 policyDigest, uint64 lifetime) public {
        Approval memory approval = approvalOf(task, node);
        approval.policyDigest = policyDigest;
        approval.expiry = uint64(block.timestamp + bound(lifetime, 0, 1e9));
        bytes memory signature = signTo(address(tasks), keyOf[node], hashOf(approval));

        vm.expectEmit();
        emit ITasks.Approved(task, node, policyDigest);
        vm.prank(relayer);
        tasks.approve(approval, signature);

        vm.assertEq(nonceAt(address(tasks), node), 1);
        vm.assertEq(lens.taskOf(task).approved[0], node);
    }

    function test_ApprovingAgainChangesNothingButTheNonce() public {
        approve(task, node);
        approve(task, node);
        vm.assertEq(nonceAt(address(tasks), node), 2);
        vm.assertEq(lens.taskOf(task).approved.length, 1);
    }

    function test_ASignatureCountsOnce() public {
        Approval memory approval = approvalOf(task, node);
        bytes memory signature = signTo(address(tasks), keyOf[node], hashOf(approval));
        tasks.approve(approval, signature);
        vm.expectRevert(abi.encodeWithSelector(Nonces.InvalidAccountNonce.selector, node, 1));
        tasks.approve(approval, signature);
    }

    function testFuzz_AnotherSpecIsRefused(bytes32 specDigest) public {
        vm.assume(specDigest != SPEC);
        Approval memory approval = approvalOf(task, node);
        approval.specDigest = specDigest;
        _refused(approval, abi.encodeWithSelector(WrongSpecDigest.selector, SPEC));
    }

    function testFuzz_ExpiredIsRefused(uint64 expiry) public {
        Approval memory approval = approvalOf(task, node);
        approval.expiry = uint64(bound(expiry, 0, block.timestamp - 1));
        _refused(approval, abi.encodeWithSelector(Expired.selector, approval.expiry));
    }

    function test_UnknownTasksAndNodesAreRefused() public {
        Approval memory approval = approvalOf(task, node);
        approval.task = task + 1;
        _refused(approval, abi.encodeWithSelector(TaskUnknown.selector, task + 1));
        approval = approvalOf(task, address(77));
        vm.expectRevert(abi.encodeWithSelector(NodeUnknown.selector, address(77)));
        tasks.approve(approval, signWith(1, hashOf(approval), address(tasks), block.chainid));
    }

    function testFuzz_AnotherKeyIsRefused(uint256 key) public {
        key = bound(key, 2, 1e60);
        Approval memory approval = approvalOf(task, node);
        _refusedSignature(approval, signWith(key, hashOf(approval), address(tasks), block.chainid));
    }

    function test_AnotherDomainIsRefused() public {
        Approval memory approval = approvalOf(task, node);
        _refusedSignature(approval, signWith(1, hashOf(approval), address(tasks), block.chainid + 1));
        _refusedSignature(approval, signWith(1, hashOf(approval), address(rounds), block.chainid));
    }

    function testFuzz_AlteredFieldsAreRefused(bytes32 policyDigest) public {
        Approval memory approval = approvalOf(task, node);
        bytes memory signature = signTo(address(tasks), keyOf[node], hashOf(approval));
        vm.assume(policyDigest != approval.policyDigest);
        approval.policyDigest = policyDigest;
        _refusedSignature(approval, signature);
    }

    function testFuzz_GarbageIsRefused(bytes calldata signature) public {
        _refusedSignature(approvalOf(task, node), signature);
    }

    function test_TheOldKeyIsRefusedAfterARotation() public {
        rotate(node, vm.addr(99));
        Approval memory approval = approvalOf(task, node);
        bytes memory old = signTo(address(tasks), keyOf[node], hashOf(approval));
        vm.expectRevert(abi.encodeWithSelector(WrongSignature.selector, vm.addr(99)));
        tasks.approve(approval, old);
        tasks.approve(approval, signWith(99, hashOf(approval), address(tasks), block.chainid));
    }

    function test_AContractMaySign() public {
        Approval memory approval = approvalOf(task, node);
        ContractSigner signer =
            new ContractSigner(digestOf(hashOf(approval), address(tasks), block.chainid), Answer.Honest);
        rotate(node, address(signer));

        tasks.approve(approval, "");

        approval = approvalOf(task, node);
        vm.expectRevert(abi.encodeWithSelector(WrongSignature.selector, address(signer)));
        tasks.approve(approval, "");
    }

    function test_AContractSignerCannotBurnTheRelayersGas() public {
        ContractSigner signer = new ContractSigner(0, Answer.Burn);
        rotate(node, address(signer));
        Approval memory approval = approvalOf(task, node);

        uint256 before = gasleft();
        vm.expectRevert(abi.encodeWithSelector(WrongSignature.selector, address(signer)));
        tasks.approve(approval, "");
        vm.assertLt(before - gasleft(), 200_000);
    }

    function test_AtMost256NodesApprove() public {
        approve(task, node);
        for (uint256 i = 2; i <= 256; ++i) {
            approve(task, admitNode(i, 0));
        }
        address last = admitNode(257, 0);
        Approval memory approval = approvalOf(task, last);
        vm.expectRevert(TooManyApproved.selector);
        tasks.approve(approval, signTo(address(tasks), keyOf[last], hashOf(approval)));
        approve(task, node);
    }

    function _refused(Approval memory approval, bytes memory reason) private {
        bytes memory signature = signTo(address(tasks), keyOf[node], hashOf(approval));
        vm.expectRevert(reason);
        tasks.approve(approval, signature);
    }

    function _refusedSignature(Approval memory approval, bytes memory signature) private {
        vm.expectRevert(abi.encodeWithSelector(WrongSignature.selector, vm.addr(1)));
        tasks.approve(approval, signature);
        vm.assertEq(nonceAt(address(tasks), node), 0);
    }
}
