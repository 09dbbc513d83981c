// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

/// Sorts addresses by merging: about n · log n steps whatever the order. A quicksort takes n² for some orders, and others
/// choose the order here.
library Sorting {
    /// The same addresses, ascending.
    function ascending(address[] memory items) internal pure returns (address[] memory) {
        uint256 length = items.length;
        address[] memory from = items;
        address[] memory to = new address[](length);
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

    /// Merges two ascending runs of `from`, start … middle and middle … end, into the same places of `to`.
    function _merge(address[] memory from, address[] memory to, uint256 start, uint256 middle, uint256 end)
        private
        pure
    {
        (uint256 left, uint256 right) = (start, middle);
        unchecked {
            for (uint256 next = start; next < end; ++next) {
                bool takesLeft = left < middle && (right == end || from[left] < from[right]);
                to[next] = takesLeft ? from[left++] : from[right++];
            }
        }
    }
}
