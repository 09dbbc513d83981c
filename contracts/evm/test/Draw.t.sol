// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {SettlementMath} from "../src/libraries/SettlementMath.sol";
import {bound, vm} from "./helpers/Vm.sol";

contract DrawTest {
    function testFuzz_DrawsDistinctMembers(bytes32 seed, uint256 role, uint256 size, uint256 count) public pure {
        size = bound(size, 1, 256);
        count = bound(count, 1, size < 64 ? size : 64);
        uint8[] memory drawn = SettlementMath.draw(seed, role, size, count);
        vm.assertEq(drawn.length, count);
        bool[256] memory seen;
        for (uint256 i; i < count; ++i) {
            vm.assertLt(drawn[i], size);
            vm.assertFalse(seen[drawn[i]]);
            seen[drawn[i]] = true;
        }
    }

    function testFuzz_IsTheSwapOfTheProtocol(bytes32 seed, uint256 role, uint256 size) public pure {
        size = bound(size, 1, 40);
        uint256[] memory list = new uint256[](size);
        for (uint256 i; i < size; ++i) {
            list[i] = i;
        }
        for (uint256 i; i < size; ++i) {
            uint256 j = i + uint256(keccak256(abi.encode(seed, role, i))) % (size - i);
            (list[i], list[j]) = (list[j], list[i]);
        }
        uint8[] memory drawn = SettlementMath.draw(seed, role, size, size);
        for (uint256 i; i < size; ++i) {
            vm.assertEq(drawn[i], list[i]);
        }
    }

    function testFuzz_FewerAreAPrefix(bytes32 seed, uint256 size, uint256 count) public pure {
        size = bound(size, 1, 256);
        count = bound(count, 0, size);
        uint8[] memory all = SettlementMath.draw(seed, 0, size, size);
        uint8[] memory few = SettlementMath.draw(seed, 0, size, count);
        for (uint256 i; i < count; ++i) {
            vm.assertEq(few[i], all[i]);
        }
    }

    /// Each of eight members is drawn about as often as the others.
    function test_IsFair() public pure {
        uint256[8] memory counts;
        for (uint256 i; i < 8000; ++i) {
            uint8[] memory drawn = SettlementMath.draw(keccak256(abi.encode(i)), 1, 8, 2);
            ++counts[drawn[0]];
            ++counts[drawn[1]];
        }
        for (uint256 i; i < 8; ++i) {
            // Expected 2000, standard deviation 39.
            vm.assertLe(1800, counts[i]);
            vm.assertLe(counts[i], 2200);
        }
    }
}
