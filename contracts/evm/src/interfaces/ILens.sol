// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {RoundView, TaskView} from "../Types.sol";
import {IRounds} from "./IRounds.sol";

/// What validators and nodes read: whole tasks and rounds, in one call each.
interface ILens {
    /// Reverts `TaskUnknown` for a task that was never created.
    function taskOf(uint64 task) external view returns (TaskView memory);
    /// An empty view (phase None) for a round that was never requested.
    function roundOf(uint64 task, uint32 round) external view returns (RoundView memory);
    /// The contract that it reads.
    function rounds() external view returns (IRounds);
    /// Whether a message of `account` with this EIP-712 digest and signature would be taken as its own now: signed by its
    /// key, or accepted by its contract (ERC-1271) within the gas that it is given. For who relays; the call needs
    /// 400,000 gas for signatures of up to a kilobyte.
    function isSignedBy(address account, bytes32 digest, bytes calldata signature) external view returns (bool);
}
