// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {TaskConfig} from "../Types.sol";

/// What is fine-tuned, who pays for it, and what nodes may claim.
interface ITasks {
    event TaskCreated(uint64 indexed task, bytes32 indexed specDigest, TaskConfig config);
    event TaskFunded(uint64 indexed task, address indexed funder, uint256 amount, uint256 pool);
    /// A round was closed: `nodes` ascend, each once, with amounts above 0; `returned` went back to the pool.
    event Rewarded(uint64 indexed task, uint32 indexed round, address[] nodes, uint256[] amounts, uint256 returned);
    event Claimed(address indexed node, address indexed to, uint256 amount);

    /// Creates a task, numbered from 1; council only.
    function createTask(TaskConfig calldata config) external returns (uint64 task);
    /// Adds to a task's pool; anyone (ERC-20 allowance needed).
    function fund(uint64 task, uint256 amount) external;
    /// Pays what `node` has earned to the account it was admitted with; anyone may trigger it.
    function claim(address node) external returns (uint256 amount);

    /// Takes the reward of a round that opens, pool / roundsLeft rounded down, out of the pool; the rounds contract only.
    function openRound(uint64 task, uint256 roundsLeft) external returns (uint256 reward);
    /// Credits the amounts of a round that closes and returns the rest of its reward to the pool; the rounds contract
    /// only.
    function settleRound(uint64 task, uint32 round, address[] calldata nodes, uint256[] calldata amounts) external;

    /// Reverts `TaskUnknown` for a task that was never created.
    function configOf(uint64 task) external view returns (TaskConfig memory);
    function poolOf(uint64 task) external view returns (uint256);
    /// The reward held for the task's open round, 0 when none is open.
    function openRewardOf(uint64 task) external view returns (uint256);
    function claimableOf(address node) external view returns (uint256);
    function taskCount() external view returns (uint64);
    /// The ERC-20 that pools and rewards are in. It must move exactly the amounts it is asked to.
    function token() external view returns (address);
    /// The only contract that may open and settle rounds.
    function rounds() external view returns (address);
    /// The sum of pools, open rewards and claimable amounts: what this contract owes.
    function totalOwed() external view returns (uint256);
}
