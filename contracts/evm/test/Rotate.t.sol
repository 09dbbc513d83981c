// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Nonces} from "@openzeppelin/contracts/utils/Nonces.sol";

import {Expired, NodeUnknown, WrongSignature, ZeroAddress} from "../src/Errors.sol";
import {IRegistry} from "../src/interfaces/IRegistry.sol";
import {Proposal, Rotation} from "../src/Messages.sol";
import {ConsortiumTest} from "./helpers/Consortium.sol";
import {vm} from "./helpers/Vm.sol";

contract RotateTest is ConsortiumTest {
    address private node;

    function setUp() public override {
        super.setUp();
        node = admitNode(1, 100 * TOKEN);
    }

    function testFuzz_AnyoneRelaysARotation(address relayer, address signer) public {
        vm.assume(signer != address(0));
        Rotation memory message = rotationOf(node, signer);
        bytes memory signature = signAsOwner(node, hashOf(message));

        vm.expectEmit();
        emit IRegistry.SignerRotated(node, signer);
        vm.prank(relayer);
        registry.rotate(message, signature);

        vm.assertEq(registry.signerOf(node), signer);
    }

    function testFuzz_TheAccountItselfSendsItUnsigned(address signer) public {
        vm.assume(signer != address(0));
        Rotation memory message = rotationOf(node, signer);
        vm.prank(node);
        registry.rotate(message, "");
        vm.assertEq(registry.signerOf(node), signer);
    }

    /// A stolen signing key cannot lock its owner out.
    function test_TheSigningKeyCannotReplaceItself() public {
        Rotation memory message = rotationOf(node, address(9));
        bytes memory signature = signTo(address(registry), keyOf[node], hashOf(message));
        vm.expectRevert(abi.encodeWithSelector(WrongSignature.selector, node));
        registry.rotate(message, signature);
    }

    function test_FromThenOnOnlyTheNewKeySpeaks() public {
        for (uint256 i = 2; i <= 4; ++i) {
            admitNode(i, i * 100 * TOKEN);
        }
        uint64 task = createTask(demoConfig(), 0);
        approveAll(task);
        address proposer = openTraining(task).proposers[0];
        rotate(proposer, vm.addr(99));
        Proposal memory proposal = proposalOf(task, proposer);
        bytes memory old = sign(proposer, hashOf(proposal));
        vm.expectRevert(abi.encodeWithSelector(WrongSignature.selector, vm.addr(99)));
        rounds.propose(proposal, old);
        rounds.propose(proposal, signTo(address(rounds), 99, hashOf(proposal)));
    }

    function test_ADismissedNodeMayRotate() public {
        dismiss(node);
        rotate(node, address(9));
        vm.assertEq(registry.signerOf(node), address(9));
    }

    function test_ASignerIsNeverZero() public {
        _refused(rotationOf(node, address(0)), abi.encodeWithSelector(ZeroAddress.selector));
    }

    function test_UnknownNodesAreRefused() public {
        Rotation memory message = rotationOf(address(77), address(9));
        _refused(message, abi.encodeWithSelector(NodeUnknown.selector, address(77)));
    }

    function test_OnceAndInTime() public {
        Rotation memory message = rotationOf(node, address(9));
        rotate(message);
        _refused(message, abi.encodeWithSelector(Nonces.InvalidAccountNonce.selector, node, 1));
        message = rotationOf(node, address(10));
        message.expiry = uint64(block.timestamp) - 1;
        _refused(message, abi.encodeWithSelector(Expired.selector, message.expiry));
    }

    function testFuzz_AlteredOrGarbageIsRefused(address signer, bytes calldata garbage) public {
        vm.assume(signer != address(9) && signer != address(0));
        Rotation memory message = rotationOf(node, address(9));
        bytes memory signature = signAsOwner(node, hashOf(message));
        message.signer = signer;
        vm.expectRevert(abi.encodeWithSelector(WrongSignature.selector, node));
        registry.rotate(message, signature);
        vm.expectRevert(abi.encodeWithSelector(WrongSignature.selector, node));
        registry.rotate(message, garbage);
    }

    function _refused(Rotation memory message, bytes memory reason) private {
        bytes memory signature = signAsOwner(node, hashOf(message));
        vm.expectRevert(reason);
        registry.rotate(message, signature);
    }
}
