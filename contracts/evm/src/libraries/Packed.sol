// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

/// Short lists as bytes: up to 31 of them share one storage slot with their length, where an array takes two.
library Packed {
    /// One byte each.
    function packIndices(uint8[] memory indices) internal pure returns (bytes memory packed) {
        packed = new bytes(indices.length);
        for (uint256 i; i < indices.length; ++i) {
            packed[i] = bytes1(indices[i]);
        }
    }

    /// The indices from `start` up to but without `end`.
    function unpackIndices(bytes memory packed, uint256 start, uint256 end)
        internal
        pure
        returns (uint8[] memory indices)
    {
        indices = new uint8[](end - start);
        for (uint256 i; i < indices.length; ++i) {
            indices[i] = uint8(packed[start + i]);
        }
    }

    /// Four bytes each.
    function packScores(int32[] calldata scores) internal pure returns (bytes memory packed) {
        uint256 size = 4 * scores.length;
        // A whole word is written at a time, the last one past the end.
        packed = new bytes(size + 28);
        for (uint256 i; i < scores.length; ++i) {
            int32 score = scores[i];
            assembly ("memory-safe") {
                mstore(add(add(packed, 0x20), mul(4, i)), shl(224, score))
            }
        }
        assembly ("memory-safe") {
            mstore(packed, size)
        }
    }

    function unpackScores(bytes memory packed) internal pure returns (int32[] memory scores) {
        scores = new int32[](packed.length / 4);
        for (uint256 i; i < scores.length; ++i) {
            // The upper 32 of 256 bits, with their sign.
            assembly ("memory-safe") {
                mstore(add(add(scores, 0x20), mul(32, i)), sar(224, mload(add(add(packed, 0x20), mul(4, i)))))
            }
        }
    }
}
