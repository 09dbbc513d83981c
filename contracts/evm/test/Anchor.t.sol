// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {MerkleProof} from "@openzeppelin/contracts/utils/cryptography/MerkleProof.sol";

import {RowsOutOfOrder} from "../src/Errors.sol";
import {IAnchors} from "../src/interfaces/IAnchors.sol";
import {bound, vm} from "./helpers/Vm.sol";

/// Anchoring epochs of a log.
contract AnchorTest {
    IAnchors private anchors;

    function setUp() public {
        anchors = IAnchors(vm.deployCode("Anchors.sol:Anchors"));
    }

    function testFuzz_EpochsFollowOneAnother(bytes32 root, uint64 first, uint64 last, uint64 next) public {
        first = uint64(bound(first, 1, type(uint64).max - 2));
        last = uint64(bound(last, first, type(uint64).max - 2));
        next = uint64(bound(next, last + 1, type(uint64).max - 1));
        vm.expectEmit(address(anchors));
        emit IAnchors.Anchored(address(this), 1, root, first, last);
        vm.assertEq(anchors.anchor(root, first, last), 1);
        vm.expectEmit(address(anchors));
        emit IAnchors.Anchored(address(this), 2, ~root, last + 1, next);
        vm.assertEq(anchors.anchor(~root, last + 1, next), 2);
        _assertHead(address(this), 2, next);
    }

    function testFuzz_AnEpochIsNeverReplacedNorSkipped(uint64 last, uint64 first, uint64 until) public {
        last = uint64(bound(last, 1, type(uint64).max - 1));
        anchors.anchor("root", 1, last);
        vm.assume(first != last + 1);
        vm.expectRevert(abi.encodeWithSelector(RowsOutOfOrder.selector, last + 1));
        anchors.anchor("other", first, until);
        vm.expectRevert(abi.encodeWithSelector(RowsOutOfOrder.selector, last + 1));
        anchors.anchor("root", 1, last);
        _assertHead(address(this), 1, last);
    }

    function testFuzz_AnEpochHasRows(uint64 first, uint64 last) public {
        vm.expectRevert(abi.encodeWithSelector(RowsOutOfOrder.selector, 1));
        anchors.anchor("root", 0, last);
        first = uint64(bound(first, 1, type(uint64).max));
        last = uint64(bound(last, 0, first - 1));
        vm.expectRevert(abi.encodeWithSelector(RowsOutOfOrder.selector, 1));
        anchors.anchor("root", first, last);
        _assertHead(address(this), 0, 0);
    }

    function testFuzz_EverybodyHasALogOfTheirOwn(address other, uint64 first, uint64 last) public {
        vm.assume(other != address(this));
        first = uint64(bound(first, 1, type(uint64).max));
        last = uint64(bound(last, first, type(uint64).max));
        anchors.anchor("mine", 1, 7);
        vm.prank(other);
        vm.assertEq(anchors.anchor("theirs", first, last), 1);
        _assertHead(address(this), 1, 7);
        _assertHead(other, 1, last);
    }

    function test_BehindTheLastNumberThereIsNothing() public {
        anchors.anchor("root", 1, type(uint64).max);
        vm.expectRevert();
        anchors.anchor("root", 1, 1);
        vm.expectRevert();
        anchors.anchor("root", type(uint64).max, type(uint64).max);
    }

    /// The same rows as in `tests/unit/test_contracts_audit.py`: both make this root of them.
    function test_OpenZeppelinTakesTheProofsOfARow() public pure {
        bytes32 root = 0x9544b10ea0a481893975a1ebea3bc89ba48dfed4cd8dd5bd11bb4602f5aeda2f;
        bytes32[] memory leaves = new bytes32[](3);
        for (uint64 number = 1; number <= 3; ++number) {
            leaves[number - 1] = _leaf(number, bytes32(uint256(number) << 248));
        }
        bytes32[] memory proof = new bytes32[](2);
        (proof[0], proof[1]) = (leaves[1], leaves[2]);
        vm.assertTrue(MerkleProof.verify(proof, root, leaves[0]));
        vm.assertFalse(MerkleProof.verify(proof, root, _leaf(2, bytes32(uint256(1) << 248))));
        bytes32[] memory short = new bytes32[](1);
        short[0] = leaves[2];
        vm.assertFalse(MerkleProof.verify(short, root, leaves[0]));
    }

    function _leaf(uint64 number, bytes32 rowHash) private pure returns (bytes32) {
        return keccak256(bytes.concat(keccak256(abi.encode(number, rowHash))));
    }

    function _assertHead(address sender, uint64 epochs, uint64 last) private view {
        (uint64 foundEpochs, uint64 foundLast) = anchors.headOf(sender);
        vm.assertEq(foundEpochs, epochs);
        vm.assertEq(foundLast, last);
    }
}
