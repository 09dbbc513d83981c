// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Approval, Revocation} from "../Messages.sol";
import {PoolView, TaskConfig} from "../Types.sol";

/// What is fine-tuned, who agrees to it, who pays for it, what nodes may claim and funders get back. Claims and refunds
/// work whatever the council does, pause included.
///
/// Approvals and revocations are signed by the node's signing key and may be relayed by anyone; from the key's own
/// account an empty signature will do. EIP-712: domain `Collegium`, version `1`, this contract.
interface ITasks {
    /// The council has created a task; nothing of `config` changes any more.
    event TaskCreated(uint64 indexed task, bytes32 indexed specDigest, TaskConfig config);
    /// A node approves the task; again, it changes nothing but the policy that is stated.
    event Approved(uint64 indexed task, address indexed node, bytes32 policyDigest);
    /// A node is not eligible from the next round on.
    event Revoked(uint64 indexed task, address indexed node);
    /// `pool` is what the task then has.
    event TaskFunded(uint64 indexed task, address indexed funder, uint256 amount, uint256 pool);
    /// The pool grew by a slash or a gift; nobody gets this back as its own.
    event TaskToppedUp(uint64 indexed task, address indexed giver, uint256 amount, uint256 pool);
    /// Paused or not, from now on.
    event TaskPauseChanged(uint64 indexed task, bool isPaused);
    /// The task ends with its open round, or at once.
    event TaskCancelled(uint64 indexed task);
    /// No round will be opened any more; `pool` can be refunded.
    event TaskEnded(uint64 indexed task, uint256 pool);
    /// A round was closed: `nodes` ascend, each once, with amounts above 0; `returned` went back to the pool.
    event Rewarded(uint64 indexed task, uint32 indexed round, address[] nodes, uint256[] amounts, uint256 returned);
    /// A node's rewards were paid to its own account.
    event Claimed(address indexed node, uint256 amount);
    /// A funder got back a part of an ended task's pool.
    event Refunded(uint64 indexed task, address indexed funder, uint256 amount);

    /// Creates a task, numbered from 1; council only. The durations of its phases, Training's twice because a draw may take
    /// as long, plus the appeal window are at most the unbonding time.
    function createTask(TaskConfig calldata config) external returns (uint64 task);
    /// Aborts the open round, without faults, and opens no other until `unpause`; council only.
    function pause(uint64 task) external;
    /// Lets rounds be requested again; council only.
    function unpause(uint64 task) external;
    /// Ends the task, after its open round if there is one; council only.
    function cancel(uint64 task) external;

    /// Puts `approval.node` among the task's eligible nodes; `expiry` ends the life of the signature, not of the approval.
    function approve(Approval calldata approval, bytes calldata signature) external;

    /// Takes the node off the task's eligible nodes, from the next request on.
    function revoke(Revocation calldata revocation, bytes calldata signature) external;

    /// Adds to a task's pool; anyone (ERC-20 allowance needed). Refused once no round is left to pay it: after the request
    /// of the last round, and of a cancelled task. Refuses a token that keeps a part.
    function fund(uint64 task, uint256 amount) external;
    /// Adds to a task's pool without a claim to get it back; slashes come this way. Anyone, and after the end too.
    function topUp(uint64 task, uint256 amount) external;
    /// Pays what `node` has earned to the account it was admitted with; anyone may trigger it.
    function claim(address node) external returns (uint256 amount);
    /// Pays a funder its part, by what it put in, of what is left of the pool of a task that is over; anyone may
    /// trigger it.
    function refund(uint64 task, address funder) external returns (uint256 amount);

    /// Takes the reward of a round that opens, pool / roundsLeft rounded down, out of the pool; the rounds contract only.
    function openRound(uint64 task, uint256 roundsLeft) external returns (uint256 reward);
    /// Credits the amounts of a round that closes and returns the rest of its reward to the pool; the rounds contract
    /// only. The task ends with its last round.
    function settleRound(uint64 task, uint32 round, address[] calldata nodes, uint256[] calldata amounts, bool isLast)
        external;

    /// Reverts `TaskUnknown` for a task that was never created.
    function configOf(uint64 task) external view returns (TaskConfig memory);
    /// The nodes that approve the task, ascending.
    function approvedOf(uint64 task) external view returns (address[] memory);
    /// A task's money, and whether it is paused, cancelled or over.
    function poolOf(uint64 task) external view returns (PoolView memory);
    /// What `claim` would pay now.
    function claimableOf(address node) external view returns (uint256);
    /// What `refund` would pay now.
    function refundableOf(uint64 task, address funder) external view returns (uint256);
    /// How many tasks there are; they are numbered from 1.
    function taskCount() external view returns (uint64);
    /// The ERC-20 that pools and rewards are in. It must move exactly the amounts it is asked to, and its supply must stay below
    /// 2^96 units.
    function token() external view returns (address);
    /// The only contract that may open and settle rounds.
    function rounds() external view returns (address);
    /// The sum of pools, open rewards and claimable amounts: what this contract owes.
    function totalOwed() external view returns (uint256);
}
