// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {SeedStatus} from "../Types.sol";

/// Where the seeds of the draws come from. A consortium whose members seal the blocks replaces the block hash by a
/// verifiable random function or a beacon.
interface IRandomness {
    /// The seed that belongs to `seedBlock`, a block that was in the future when the round was requested. It must never
    /// change once Ready, and a seed that is Lost stays Lost.
    function seedOf(uint64 seedBlock) external view returns (SeedStatus status, bytes32 seed);
}
