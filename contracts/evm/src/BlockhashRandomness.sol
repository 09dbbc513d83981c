// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IRandomness} from "./interfaces/IRandomness.sol";
import {SeedStatus} from "./Types.sol";

/// Seeds from block hashes. Who seals the block can bias its hash; the EVM remembers the last 256 blocks only.
contract BlockhashRandomness is IRandomness {
    /// @inheritdoc IRandomness
    function seedOf(uint64 seedBlock) external view returns (SeedStatus status, bytes32 seed) {
        if (block.number <= seedBlock) return (SeedStatus.Pending, 0);
        seed = blockhash(seedBlock);
        return (seed == 0 ? SeedStatus.Lost : SeedStatus.Ready, seed);
    }
}
