// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Ownable, Ownable2Step} from "@openzeppelin/contracts/access/Ownable2Step.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";

import {InsufficientStake, NodeKnown, NodeUnknown, ZeroAddress, ZeroAmount, ZeroGroup} from "./Errors.sol";
import {IRegistry} from "./interfaces/IRegistry.sol";
import {NodeView} from "./Types.sol";

/// Nodes, signing keys, groups and stakes; the owner is the council.
contract Registry is IRegistry, Ownable2Step {
    using SafeERC20 for IERC20;

    struct Node {
        address signer;
        uint64 group;
        uint256 stake;
    }

    /// @inheritdoc IRegistry
    address public immutable token;
    /// @inheritdoc IRegistry
    uint256 public totalStake;

    mapping(address node => Node) private _nodes;
    address[] private _admitted;

    constructor(address token_, address council) Ownable(council) {
        if (token_ == address(0)) revert ZeroAddress();
        token = token_;
    }

    /// @inheritdoc IRegistry
    function admit(address node, address signer, uint64 group) external onlyOwner {
        if (node == address(0) || signer == address(0)) revert ZeroAddress();
        if (group == 0) revert ZeroGroup();
        if (_nodes[node].signer != address(0)) revert NodeKnown(node);

        _nodes[node] = Node({signer: signer, group: group, stake: 0});
        _admitted.push(node);

        emit NodeAdmitted(node, signer, group);
    }

    /// @inheritdoc IRegistry
    function rotateSigner(address signer) external {
        if (signer == address(0)) revert ZeroAddress();
        Node storage node = _admittedNode(msg.sender);

        node.signer = signer;

        emit SignerRotated(msg.sender, signer);
    }

    /// @inheritdoc IRegistry
    function deposit(address node, uint256 amount) external {
        if (amount == 0) revert ZeroAmount();
        Node storage staked = _admittedNode(node);

        staked.stake += amount;
        totalStake += amount;

        emit StakeDeposited(node, amount, staked.stake);

        IERC20(token).safeTransferFrom(msg.sender, address(this), amount);
    }

    /// @inheritdoc IRegistry
    function withdraw(uint256 amount) external {
        if (amount == 0) revert ZeroAmount();
        Node storage node = _admittedNode(msg.sender);
        if (amount > node.stake) revert InsufficientStake(node.stake);

        node.stake -= amount;
        totalStake -= amount;

        emit StakeWithdrawn(msg.sender, amount, node.stake);

        IERC20(token).safeTransfer(msg.sender, amount);
    }

    /// @inheritdoc IRegistry
    function nodeOf(address node) external view returns (NodeView memory) {
        Node storage known = _nodes[node];
        return NodeView({
            node: node,
            signer: known.signer,
            group: known.group,
            admitted: known.signer != address(0),
            stake: known.stake
        });
    }

    /// @inheritdoc IRegistry
    function signerOf(address node) external view returns (address) {
        return _nodes[node].signer;
    }

    /// @inheritdoc IRegistry
    function groupOf(address node) external view returns (uint64) {
        return _nodes[node].group;
    }

    /// @inheritdoc IRegistry
    function stakeOf(address node) external view returns (uint256) {
        return _nodes[node].stake;
    }

    /// @inheritdoc IRegistry
    function nodes() external view returns (address[] memory) {
        return _admitted;
    }

    function _admittedNode(address account) private view returns (Node storage node) {
        node = _nodes[account];
        if (node.signer == address(0)) revert NodeUnknown(account);
    }
}
