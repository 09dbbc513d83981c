// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {TaskConfig} from "../Types.sol";

/// What is fine-tuned, who pays for it, and what nodes may claim.
interface ITasks {
    event TaskCreated(uint64 indexed task, bytes32 indexed specDigest, TaskConfig config);
    event TaskFunded(uint64 indexed task, address indexed funder, uint256 amount, uint256 pool);
    event Rewarded(uint64 indexed task, uint32 indexed round, address[] nodes, uint256[] amounts, uint256 returned);
    event Claimed(address indexed node, address indexed to, uint256 amount);

    /// Creates a task, numbered from 1; council only.
    function createTask(TaskConfig calldata config) external returns (uint64 task);
    /// Adds to a task's pool; anyone.
    function fund(uint64 task, uint256 amount) external;
    /// Pays what `node` has earned to the account it was admitted with; anyone may trigger it.
    function claim(address node) external returns (uint256 amount);

    function configOf(uint64 task) external view returns (TaskConfig memory);
    function poolOf(uint64 task) external view returns (uint256);
    function claimableOf(address node) external view returns (uint256);
    function taskCount() external view returns (uint64);
}
