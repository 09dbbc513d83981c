// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {NodeView} from "../Types.sol";

/// Who takes part: nodes admitted by the council, their signing keys, groups and stakes.
interface IRegistry {
    event NodeAdmitted(address indexed node, address indexed signer, uint64 group);
    event SignerRotated(address indexed node, address indexed signer);
    event StakeDeposited(address indexed node, uint256 amount, uint256 stake);
    event StakeWithdrawn(address indexed node, uint256 amount, uint256 stake);

    /// Admits `node`; council only. `node` is its identity for ever, `signer` signs its messages, `group` (not 0) is
    /// shared by sister networks.
    function admit(address node, address signer, uint64 group) external;

    /// Replaces the caller's own signing key.
    function rotateSigner(address signer) external;

    /// Adds to a node's stake; anyone may pay for it (ERC-20 allowance needed).
    function deposit(address node, uint256 amount) external;

    /// Takes back part of the caller's own stake. Stakes frozen in rounds already requested are not changed by it.
    function withdraw(uint256 amount) external;

    function nodeOf(address node) external view returns (NodeView memory);
    /// 0 for an account that was never admitted.
    function signerOf(address node) external view returns (address);
    function groupOf(address node) external view returns (uint64);
    function stakeOf(address node) external view returns (uint256);
    /// All nodes ever admitted, in the order of admission.
    function nodes() external view returns (address[] memory);
    /// The ERC-20 that stakes are in. It must move exactly the amounts it is asked to.
    function token() external view returns (address);
    /// The sum of all stakes: what this contract owes.
    function totalStake() external view returns (uint256);
}
