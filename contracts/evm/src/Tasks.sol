// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Ownable, Ownable2Step} from "@openzeppelin/contracts/access/Ownable2Step.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {Nonces} from "@openzeppelin/contracts/utils/Nonces.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {EnumerableSet} from "@openzeppelin/contracts/utils/structs/EnumerableSet.sol";

import {
    InvalidConfig,
    NoRoundsLeft,
    NodeUnknown,
    NotApproved,
    NothingToClaim,
    NothingToRefund,
    OnlyRounds,
    OverspentReward,
    TaskNotOver,
    TaskNotPaused,
    TaskOver,
    TaskPaused,
    TaskUnknown,
    TooManyApproved,
    WrongSpecDigest,
    ZeroAddress,
    ZeroAmount
} from "./Errors.sol";
import {IRegistry} from "./interfaces/IRegistry.sol";
import {IRounds} from "./interfaces/IRounds.sol";
import {ITasks} from "./interfaces/ITasks.sol";
import {ExactTransfer} from "./libraries/ExactTransfer.sol";
import {MessageHash} from "./libraries/MessageHash.sol";
import {Signatures} from "./libraries/Signatures.sol";
import {Sorting} from "./libraries/Sorting.sol";
import {Approval, Revocation} from "./Messages.sol";
import {
    BASIS_POINTS,
    MAX_ELIGIBLE,
    MAX_PROPOSERS,
    MAX_VOTERS,
    PoolView,
    SCORE_LIMIT_MICRONATS,
    TaskConfig
} from "./Types.sol";

/// Task parameters, approvals, pools, claims and refunds; the owner is the council.
contract Tasks is ITasks, Ownable2Step, EIP712, Nonces, ReentrancyGuardTransient {
    using EnumerableSet for EnumerableSet.AddressSet;
    using MessageHash for Approval;
    using MessageHash for Revocation;
    using SafeERC20 for IERC20;

    /// The last round of a task takes all that is left of its pool.
    enum OpenRound {
        None,
        Earlier,
        Last
    }

    /// `contributed` is what funders put in; `refunded` what they got back after the task's end. What every round
    /// changes, `pool` to `isOver`, shares a slot.
    struct Task {
        TaskConfig config;
        EnumerableSet.AddressSet approved;
        uint256 contributed;
        uint256 refunded;
        uint112 pool;
        uint112 openReward;
        OpenRound openRound;
        bool isPaused;
        bool isCancelled;
        bool isOver;
        mapping(address funder => Contribution) contributions;
    }

    struct Contribution {
        uint256 amount;
        uint256 refunded;
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
    constructor(address token_, address council, address rounds_) Ownable(council) EIP712("Collegium", "1") {
        if (token_ == address(0) || rounds_ == address(0)) revert ZeroAddress();
        token = token_;
        rounds = rounds_;
    }

    modifier onlyRounds() {
        if (msg.sender != rounds) revert OnlyRounds();
        _;
    }

    // -------------------------------------------------------------------------------------------------- council

    /// @inheritdoc ITasks
    function createTask(TaskConfig calldata config) external onlyOwner returns (uint64 task) {
        _requireValid(config);

        task = ++taskCount;
        _tasks[task].config = config;

        emit TaskCreated(task, config.specDigest, config);
    }

    /// @inheritdoc ITasks
    function pause(uint64 task) external onlyOwner {
        Task storage state = _running(task);
        if (state.isPaused) revert TaskPaused(task);

        state.isPaused = true;

        emit TaskPauseChanged(task, true);

        if (state.openRound != OpenRound.None) IRounds(rounds).abort(task);
    }

    /// @inheritdoc ITasks
    function unpause(uint64 task) external onlyOwner {
        Task storage state = _running(task);
        if (!state.isPaused) revert TaskNotPaused(task);

        state.isPaused = false;

        emit TaskPauseChanged(task, false);
    }

    /// @inheritdoc ITasks
    function cancel(uint64 task) external onlyOwner {
        Task storage state = _running(task);
        if (state.isCancelled) revert TaskOver(task);

        state.isCancelled = true;

        emit TaskCancelled(task);

        if (state.openRound == OpenRound.None) _end(task, state);
    }

    // -------------------------------------------------------------------------------------------------- approvals

    /// @inheritdoc ITasks
    function approve(Approval calldata approval, bytes calldata signature) external {
        Task storage state = _known(approval.task);
        bytes32 specDigest = state.config.specDigest;
        if (approval.specDigest != specDigest) revert WrongSpecDigest(specDigest);
        _requireSpoken(approval.node, approval.hash(), approval.nonce, approval.expiry, signature);

        state.approved.add(approval.node);
        if (state.approved.length() > MAX_ELIGIBLE) revert TooManyApproved();

        emit Approved(approval.task, approval.node, approval.policyDigest);
    }

    /// @inheritdoc ITasks
    function revoke(Revocation calldata revocation, bytes calldata signature) external {
        Task storage state = _known(revocation.task);
        _requireSpoken(revocation.node, revocation.hash(), revocation.nonce, revocation.expiry, signature);

        if (!state.approved.remove(revocation.node)) revert NotApproved(revocation.node);

        emit Revoked(revocation.task, revocation.node);
    }

    // ------------------------------------------------------------------------------------------------------ money

    /// @inheritdoc ITasks
    function fund(uint64 task, uint256 amount) external nonReentrant {
        if (amount == 0) revert ZeroAmount();
        Task storage state = _running(task);
        // What no round can pay any more would only be shared with those who funded before.
        if (state.isCancelled) revert TaskOver(task);
        if (state.openRound == OpenRound.Last) revert NoRoundsLeft();

        state.contributed += amount;
        state.contributions[msg.sender].amount += amount;
        _addToPool(state, amount);

        emit TaskFunded(task, msg.sender, amount, state.pool);

        ExactTransfer.pull(IERC20(token), amount);
    }

    /// @inheritdoc ITasks
    function topUp(uint64 task, uint256 amount) external nonReentrant {
        Task storage state = _known(task);

        _addToPool(state, amount);

        emit TaskToppedUp(task, msg.sender, amount, state.pool);

        ExactTransfer.pull(IERC20(token), amount);
    }

    /// @inheritdoc ITasks
    function claim(address node) external nonReentrant returns (uint256 amount) {
        amount = _claimable[node];
        if (amount == 0) revert NothingToClaim(node);

        _claimable[node] = 0;
        totalOwed -= amount;

        emit Claimed(node, amount);

        IERC20(token).safeTransfer(node, amount);
    }

    /// @inheritdoc ITasks
    function refund(uint64 task, address funder) external nonReentrant returns (uint256 amount) {
        Task storage state = _known(task);
        if (!state.isOver) revert TaskNotOver(task);
        amount = _refundable(state, funder);
        if (amount == 0) revert NothingToRefund(funder);

        state.contributions[funder].refunded += amount;
        state.refunded += amount;
        // forge-lint: disable-next-line(unsafe-typecast) at most the pool
        state.pool -= uint112(amount);
        totalOwed -= amount;

        emit Refunded(task, funder, amount);

        IERC20(token).safeTransfer(funder, amount);
    }

    // ------------------------------------------------------------------------------------------------------ rounds

    /// @inheritdoc ITasks
    function openRound(uint64 task, uint256 roundsLeft) external onlyRounds returns (uint256 reward) {
        Task storage state = _running(task);
        if (state.isPaused) revert TaskPaused(task);

        reward = state.pool / roundsLeft;
        // forge-lint: disable-next-line(unsafe-typecast) at most the pool
        uint112 part = uint112(reward);
        state.pool -= part;
        state.openReward = part;
        state.openRound = roundsLeft == 1 ? OpenRound.Last : OpenRound.Earlier;
    }

    /// @inheritdoc ITasks
    function settleRound(uint64 task, uint32 round, address[] calldata nodes, uint256[] calldata amounts, bool isLast)
        external
        onlyRounds
    {
        Task storage state = _known(task);
        uint256 reward = state.openReward;

        uint256 spent;
        for (uint256 i; i < nodes.length; ++i) {
            _claimable[nodes[i]] += amounts[i];
            spent += amounts[i];
        }
        if (spent > reward) revert OverspentReward(reward, spent);
        state.openReward = 0;
        // forge-lint: disable-next-line(unsafe-typecast) at most the reward
        state.pool += uint112(reward - spent);
        state.openRound = OpenRound.None;

        emit Rewarded(task, round, nodes, amounts, reward - spent);

        if (isLast || state.isCancelled) _end(task, state);
    }

    // ------------------------------------------------------------------------------------------------------- views

    /// @inheritdoc ITasks
    function configOf(uint64 task) external view returns (TaskConfig memory) {
        return _known(task).config;
    }

    /// @inheritdoc ITasks
    function approvedOf(uint64 task) external view returns (address[] memory) {
        return Sorting.ascending(_known(task).approved.values());
    }

    /// @inheritdoc ITasks
    function poolOf(uint64 task) external view returns (PoolView memory) {
        Task storage state = _known(task);
        return PoolView({
            pool: state.pool,
            openReward: state.openReward,
            contributed: state.contributed,
            refunded: state.refunded,
            isPaused: state.isPaused,
            isCancelled: state.isCancelled,
            isOver: state.isOver
        });
    }

    /// @inheritdoc ITasks
    function claimableOf(address node) external view returns (uint256) {
        return _claimable[node];
    }

    /// @inheritdoc ITasks
    function refundableOf(uint64 task, address funder) external view returns (uint256) {
        Task storage state = _known(task);
        return state.isOver ? _refundable(state, funder) : 0;
    }

    // ------------------------------------------------------------------------------------------------------- steps

    function _addToPool(Task storage state, uint256 amount) private {
        state.pool += SafeCast.toUint112(amount);
        totalOwed += amount;
    }

    function _end(uint64 task, Task storage state) private {
        state.isOver = true;

        emit TaskEnded(task, state.pool);
    }

    /// The funder's part of all that is or was to be refunded, less what it got. Slashes executed after the end add to
    /// it. Rounded down; what no funder can have stays in the pool.
    function _refundable(Task storage state, address funder) private view returns (uint256) {
        Contribution storage contribution = state.contributions[funder];
        if (contribution.amount == 0) return 0;
        uint256 total = uint256(state.pool) + state.refunded;
        return Math.mulDiv(total, contribution.amount, state.contributed) - contribution.refunded;
    }

    // ------------------------------------------------------------------------------------------------------ checks

    function _known(uint64 task) private view returns (Task storage) {
        if (task == 0 || task > taskCount) revert TaskUnknown(task);
        return _tasks[task];
    }

    function _running(uint64 task) private view returns (Task storage state) {
        state = _known(task);
        if (state.isOver) revert TaskOver(task);
    }

    /// Refuses a message that the node's signing key did not give, gave before, or gave too long ago.
    function _requireSpoken(address node, bytes32 structHash, uint256 nonce, uint64 expiry, bytes calldata signature)
        private
    {
        address signer = _registry().signerOf(node);
        if (signer == address(0)) revert NodeUnknown(node);
        Signatures.requireNotExpired(expiry);
        // As at the registry: who sends for itself needs no nonce.
        if (msg.sender == signer) {
            _useNonce(node);
            return;
        }
        _useCheckedNonce(node, nonce);
        Signatures.requireFrom(signer, _hashTypedDataV4(structHash), signature);
    }

    function _requireValid(TaskConfig calldata config) private view {
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
        _require(config.absentBps <= config.unrevealedBps, "absentBps");
        _require(config.unrevealedBps <= config.invalidBps, "unrevealedBps");
        _require(config.invalidBps <= BASIS_POINTS, "invalidBps");
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
        _requireSlashable(config);
    }

    /// A stake that leaves when a round is requested must still be there when the round's slashes are due. A request
    /// waits for its draw as long as Training lasts.
    function _requireSlashable(TaskConfig calldata config) private view {
        IRegistry registry = _registry();
        uint256 durationSeconds = 2 * uint256(config.trainingSeconds) + config.committingSeconds
            + config.revealingSeconds + config.attestingSeconds;
        _require(durationSeconds + registry.appealSeconds() <= registry.unbondingSeconds(), "durations");
    }

    function _registry() private view returns (IRegistry) {
        return IRegistry(IRounds(rounds).registry());
    }

    function _require(bool valid, string memory field) private pure {
        if (!valid) revert InvalidConfig(field);
    }
}
