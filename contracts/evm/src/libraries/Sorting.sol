// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

/// Sorts by merging: about n · log n steps whatever the order. A quicksort takes n² for some orders, and others choose the
/// order here.
library Sorting {
    /// The same addresses, ascending.
    function ascending(address[] memory items) internal pure returns (address[] memory sorted) {
        uint256[] memory words;
        // An address in memory is a word whose upper bits are 0.
        assembly ("memory-safe") {
            words := items
        }
        words = ascending(words);
        assembly ("memory-safe") {
            sorted := words
        }
    }

    /// The same numbers, ascending.
    function ascending(uint256[] memory items) internal pure returns (uint256[] memory) {
        uint256 length = items.length;
        uint256[] memory from = items;
        uint256[] memory to = new uint256[](length);
        unchecked {
            for (uint256 width = 1; width < length; width *= 2) {
                for (uint256 start; start < length; start += 2 * width) {
                    uint256 middle = start + width < length ? start + width : length;
                    uint256 end = middle + width < length ? middle + width : length;
                    _merge(from, to, start, middle, end);
                }
                (from, to) = (to, from);
            }
        }
        return from;
    }

    /// Merges two ascending runs of `from`, start … middle and middle … end, into the same places of `to`. By addresses in
    /// memory: checking each place against the lengths would cost more than the sorting, and sixteen medians are taken in one
    /// transaction.
    function _merge(uint256[] memory from, uint256[] memory to, uint256 start, uint256 middle, uint256 end)
        private
        pure
    {
        assembly ("memory-safe") {
            let left := add(add(from, 0x20), shl(5, start))
            let right := add(add(from, 0x20), shl(5, middle))
            let leftEnd := right
            let rightEnd := add(add(from, 0x20), shl(5, end))
            let next := add(add(to, 0x20), shl(5, start))
            for {} and(lt(left, leftEnd), lt(right, rightEnd)) { next := add(next, 0x20) } {
                let first := mload(left)
                let second := mload(right)
                switch lt(first, second)
                case 1 {
                    mstore(next, first)
                    left := add(left, 0x20)
                }
                default {
                    mstore(next, second)
                    right := add(right, 0x20)
                }
            }
            // One run is used up; the rest of the other follows as it is.
            if lt(left, leftEnd) { mcopy(next, left, sub(leftEnd, left)) }
            if lt(right, rightEnd) { mcopy(next, right, sub(rightEnd, right)) }
        }
    }
}
