// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Ownable, Ownable2Step} from "@openzeppelin/contracts/access/Ownable2Step.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";

import {
    InvalidConfig,
    NothingToClaim,
    OnlyRounds,
    OverspentReward,
    TaskUnknown,
    ZeroAddress,
    ZeroAmount
} from "./Errors.sol";
import {ITasks} from "./interfaces/ITasks.sol";
import {BASIS_POINTS, MAX_PROPOSERS, MAX_VOTERS, SCORE_LIMIT_MICRONATS, TaskConfig} from "./Types.sol";

/// Task parameters, pools and claims; the owner is the council.
contract Tasks is ITasks, Ownable2Step {
    using SafeERC20 for IERC20;

    struct Task {
        TaskConfig config;
        uint256 pool;
        uint256 openReward;
    }

    /// @inheritdoc ITasks
    address public immutable token;
    /// @inheritdoc ITasks
    address public immutable rounds;
    /// @inheritdoc ITasks
    uint64 public taskCount;
    /// @inheritdoc ITasks
    uint256 public totalOwed;

    mapping(uint64 task => Task) private _tasks;
    mapping(address node => uint256) private _claimable;

    /// `rounds_` is the address at which the rounds contract is about to be created; it checks this wiring.
    constructor(address token_, address council, address rounds_) Ownable(council) {
        if (token_ == address(0) || rounds_ == address(0)) revert ZeroAddress();
        token = token_;
        rounds = rounds_;
    }

    modifier onlyRounds() {
        if (msg.sender != rounds) revert OnlyRounds();
        _;
    }

    modifier known(uint64 task) {
        if (task == 0 || task > taskCount) revert TaskUnknown(task);
        _;
    }

    /// @inheritdoc ITasks
    function createTask(TaskConfig calldata config) external onlyOwner returns (uint64 task) {
        _requireValid(config);

        task = ++taskCount;
        _tasks[task].config = config;

        emit TaskCreated(task, config.specDigest, config);
    }

    /// @inheritdoc ITasks
    function fund(uint64 task, uint256 amount) external known(task) {
        if (amount == 0) revert ZeroAmount();

        _tasks[task].pool += amount;
        totalOwed += amount;

        emit TaskFunded(task, msg.sender, amount, _tasks[task].pool);

        IERC20(token).safeTransferFrom(msg.sender, address(this), amount);
    }

    /// @inheritdoc ITasks
    function claim(address node) external returns (uint256 amount) {
        amount = _claimable[node];
        if (amount == 0) revert NothingToClaim(node);

        _claimable[node] = 0;
        totalOwed -= amount;

        emit Claimed(node, node, amount);

        IERC20(token).safeTransfer(node, amount);
    }

    /// @inheritdoc ITasks
    function openRound(uint64 task, uint256 roundsLeft) external onlyRounds known(task) returns (uint256 reward) {
        Task storage state = _tasks[task];

        reward = state.pool / roundsLeft;
        state.pool -= reward;
        state.openReward += reward;
    }

    /// @inheritdoc ITasks
    function settleRound(uint64 task, uint32 round, address[] calldata nodes, uint256[] calldata amounts)
        external
        onlyRounds
        known(task)
    {
        Task storage state = _tasks[task];
        uint256 reward = state.openReward;

        uint256 spent;
        for (uint256 i; i < nodes.length; ++i) {
            _claimable[nodes[i]] += amounts[i];
            spent += amounts[i];
        }
        if (spent > reward) revert OverspentReward(reward, spent);
        state.openReward = 0;
        state.pool += reward - spent;

        emit Rewarded(task, round, nodes, amounts, reward - spent);
    }

    /// @inheritdoc ITasks
    function configOf(uint64 task) external view known(task) returns (TaskConfig memory) {
        return _tasks[task].config;
    }

    /// @inheritdoc ITasks
    function poolOf(uint64 task) external view returns (uint256) {
        return _tasks[task].pool;
    }

    /// @inheritdoc ITasks
    function openRewardOf(uint64 task) external view returns (uint256) {
        return _tasks[task].openReward;
    }

    /// @inheritdoc ITasks
    function claimableOf(address node) external view returns (uint256) {
        return _claimable[node];
    }

    function _requireValid(TaskConfig calldata config) private pure {
        _require(config.specDigest != 0, "specDigest");
        _require(config.genesisDigest != 0, "genesisDigest");
        _require(config.rounds != 0, "rounds");
        _require(config.proposers != 0 && config.proposers <= MAX_PROPOSERS, "proposers");
        _require(config.voters != 0 && config.voters <= MAX_VOTERS, "voters");
        _require(config.minProposals != 0 && config.minProposals <= config.proposers, "minProposals");
        _require(config.minReveals != 0 && config.minReveals <= config.voters, "minReveals");
        _require(config.minScorers != 0 && config.minScorers <= config.minReveals, "minScorers");
        // At least half, so that no two digests can both win.
        _require(
            config.attestationQuorumBps >= BASIS_POINTS / 2 && config.attestationQuorumBps < BASIS_POINTS,
            "attestationQuorumBps"
        );
        _require(config.proposerShareBps <= BASIS_POINTS, "proposerShareBps");
        _require(
            config.acceptanceThresholdMicronats >= -SCORE_LIMIT_MICRONATS
                && config.acceptanceThresholdMicronats <= SCORE_LIMIT_MICRONATS,
            "acceptanceThresholdMicronats"
        );
        _require(config.trainingSeconds != 0, "trainingSeconds");
        _require(config.committingSeconds != 0, "committingSeconds");
        _require(config.revealingSeconds != 0, "revealingSeconds");
        _require(config.attestingSeconds != 0, "attestingSeconds");
        _require(config.stakeCap != 0, "stakeCap");
    }

    function _require(bool valid, string memory field) private pure {
        if (!valid) revert InvalidConfig(field);
    }
}
