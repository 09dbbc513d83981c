// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Ownable, Ownable2Step} from "@openzeppelin/contracts/access/Ownable2Step.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {Nonces} from "@openzeppelin/contracts/utils/Nonces.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";

import {
    AppealOpen,
    AppealOver,
    InOpenRounds,
    InsufficientStake,
    NodeDismissed,
    NodeKnown,
    NodeUnknown,
    NothingMature,
    OnlyRounds,
    SlashSettled,
    SlashUnknown,
    SlashesPending,
    WrongSuccessor,
    ZeroAddress,
    ZeroAmount,
    ZeroGroup
} from "./Errors.sol";
import {IRegistry} from "./interfaces/IRegistry.sol";
import {IRounds} from "./interfaces/IRounds.sol";
import {ITasks} from "./interfaces/ITasks.sol";
import {ExactTransfer} from "./libraries/ExactTransfer.sol";
import {MessageHash} from "./libraries/MessageHash.sol";
import {Signatures} from "./libraries/Signatures.sol";
import {Unbonding} from "./libraries/Unbonding.sol";
import {Exit, Migration, Return, Rotation} from "./Messages.sol";
import {Attendance, Conduct, Fault, NodeView, SlashStatus, SlashView, UnbondingView} from "./Types.sol";

/// Nodes, signing keys, groups, stakes and slashes; the owner is the council.
contract Registry is IRegistry, Ownable2Step, EIP712, Nonces, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;
    using MessageHash for Rotation;
    using MessageHash for Exit;
    using MessageHash for Migration;
    using MessageHash for Return;
    using Unbonding for Unbonding.Queue;

    /// Two slots and the queue; what changes with every round shares the first. `place` is that among all nodes ever
    /// admitted.
    struct Node {
        address signer;
        uint64 group;
        uint16 openRounds;
        uint8 absences;
        bool admitted;
        uint96 stake;
        uint32 pendingSlashes;
        uint32 place;
        Unbonding.Queue unbonding;
    }

    /// One slot, since a round may end with eighty: the node by its place, and without the time of execution, which all of a
    /// round share.
    struct Slash {
        uint32 place;
        uint64 task;
        uint32 round;
        Fault fault;
        SlashStatus status;
        uint96 amount;
    }

    /// @inheritdoc IRegistry
    address public immutable token;
    /// @inheritdoc IRegistry
    address public immutable rounds;
    /// @inheritdoc IRegistry
    uint32 public immutable unbondingSeconds;
    /// @inheritdoc IRegistry
    uint32 public immutable appealSeconds;
    /// @inheritdoc IRegistry
    uint8 public immutable mostAbsences;
    /// @inheritdoc IRegistry
    uint256 public totalOwed;
    /// @inheritdoc IRegistry
    address public successor;

    mapping(address node => Node) private _nodes;
    address[] private _known;
    Slash[] private _slashes;
    /// From when on a round's slashes may be executed; 0 for a round without any.
    mapping(uint64 task => mapping(uint32 round => uint64)) private _executableAt;

    /// `rounds_` is the address at which the rounds contract is about to be created; it checks this wiring.
    constructor(
        address token_,
        address council,
        address rounds_,
        uint32 unbondingSeconds_,
        uint32 appealSeconds_,
        uint8 mostAbsences_
    ) Ownable(council) EIP712("Collegium", "1") {
        if (token_ == address(0) || rounds_ == address(0)) revert ZeroAddress();
        if (mostAbsences_ == 0) revert ZeroAmount();
        token = token_;
        rounds = rounds_;
        unbondingSeconds = unbondingSeconds_;
        appealSeconds = appealSeconds_;
        mostAbsences = mostAbsences_;
    }

    modifier onlyRounds() {
        if (msg.sender != rounds) revert OnlyRounds();
        _;
    }

    // -------------------------------------------------------------------------------------------------- council

    /// @inheritdoc IRegistry
    function admit(address node, address signer, uint64 group) external onlyOwner {
        if (node == address(0) || signer == address(0)) revert ZeroAddress();
        if (group == 0) revert ZeroGroup();
        Node storage entry = _nodes[node];
        if (entry.admitted) revert NodeKnown(node);

        if (entry.signer == address(0)) {
            entry.place = SafeCast.toUint32(_known.length);
            _known.push(node);
        }
        (entry.signer, entry.group, entry.admitted) = (signer, group, true);

        emit NodeAdmitted(node, signer, group);
    }

    /// @inheritdoc IRegistry
    function dismiss(address node) external onlyOwner {
        Node storage entry = _admitted(node);

        entry.admitted = false;

        emit NodeLeft(node);
    }

    /// @inheritdoc IRegistry
    function nameSuccessor(address successor_) external onlyOwner {
        if (successor_ != address(0) && IRegistry(successor_).token() != token) revert WrongSuccessor(address(0));

        successor = successor_;

        emit SuccessorNamed(successor_);
    }

    /// @inheritdoc IRegistry
    function waive(uint256 slash) external onlyOwner {
        (Slash storage entry, address account, uint64 executableAt) = _pendingSlash(slash);
        if (block.timestamp >= executableAt) revert AppealOver(executableAt);
        Node storage node = _nodes[account];

        entry.status = SlashStatus.Waived;
        --node.pendingSlashes;
        node.stake += entry.amount;

        emit SlashWaived(slash, account, node.stake);
    }

    // ----------------------------------------------------------------------------------------------------- stake

    /// @inheritdoc IRegistry
    function deposit(address node, uint256 amount) external nonReentrant {
        _deposit(node, amount);
    }

    /// @inheritdoc IRegistry
    function depositWithPermit(address node, uint256 amount, uint256 deadline, uint8 v, bytes32 r, bytes32 s)
        external
        nonReentrant
    {
        // Who saw the permit may have used it already; then the allowance stands, or the transfer fails.
        try IERC20Permit(token).permit(msg.sender, address(this), amount, deadline, v, r, s) {} catch {}
        _deposit(node, amount);
    }

    /// @inheritdoc IRegistry
    function exit(Exit calldata message, bytes calldata signature) external {
        Node storage node = _spokenByOwner(message.node, message.hash(), message.nonce, message.expiry, signature);
        if (message.amount == 0) revert ZeroAmount();
        if (message.amount > node.stake) revert InsufficientStake(node.stake);
        uint64 maturesAt = uint64(block.timestamp) + unbondingSeconds;

        // forge-lint: disable-next-line(unsafe-typecast) at most the stake
        uint96 amount = uint96(message.amount);
        node.stake -= amount;
        node.unbonding.push(maturesAt, amount);

        emit ExitRequested(message.node, message.amount, maturesAt, node.stake);
    }

    /// @inheritdoc IRegistry
    function withdraw(address node) external nonReentrant returns (uint256 amount) {
        amount = _takeMature(node);

        emit Withdrawn(node, amount);

        IERC20(token).safeTransfer(node, amount);
    }

    /// @inheritdoc IRegistry
    function migrate(Migration calldata message, bytes calldata signature)
        external
        nonReentrant
        returns (uint256 amount)
    {
        _spokenByOwner(message.node, message.hash(), message.nonce, message.expiry, signature);
        if (message.successor == address(0) || message.successor != successor) revert WrongSuccessor(successor);
        amount = _takeMature(message.node);

        emit Migrated(message.node, message.successor, amount);

        IERC20(token).forceApprove(message.successor, amount);
        IRegistry(message.successor).deposit(message.node, amount);
    }

    // ------------------------------------------------------------------------------------------------------ keys

    /// @inheritdoc IRegistry
    function rotate(Rotation calldata message, bytes calldata signature) external {
        if (message.signer == address(0)) revert ZeroAddress();
        Node storage node = _spokenByOwner(message.node, message.hash(), message.nonce, message.expiry, signature);

        node.signer = message.signer;

        emit SignerRotated(message.node, message.signer);
    }

    /// @inheritdoc IRegistry
    function comeBack(Return calldata message, bytes calldata signature) external {
        Node storage node = _admitted(message.node);
        _requireSpoken(message.node, node.signer, message.hash(), message.nonce, message.expiry, signature);

        node.absences = 0;

        emit NodeReturned(message.node);
    }

    // ---------------------------------------------------------------------------------------- roles and slashes

    /// @inheritdoc IRegistry
    function openRoles(address[] calldata nodes_) external onlyRounds returns (uint64[] memory groups) {
        groups = new uint64[](nodes_.length);
        for (uint256 i; i < nodes_.length; ++i) {
            Node storage node = _nodes[nodes_[i]];
            ++node.openRounds;
            groups[i] = node.group;
        }
    }

    /// @inheritdoc IRegistry
    function closeRoles(uint64 task, uint32 round, Conduct[] calldata conducts) external onlyRounds {
        uint64 executableAt = uint64(block.timestamp) + appealSeconds;
        uint256 slashesBefore = _slashes.length;
        for (uint256 i; i < conducts.length; ++i) {
            Conduct calldata conduct = conducts[i];
            Node storage node = _nodes[conduct.node];
            --node.openRounds;
            if (conduct.attendance == Attendance.Attended) {
                node.absences = 0;
            } else if (conduct.attendance == Attendance.Absent && node.absences != type(uint8).max) {
                ++node.absences;
            }
            if (conduct.fault != Fault.None) _recordFault(task, round, conduct, node, executableAt);
        }
        if (_slashes.length != slashesBefore) _executableAt[task][round] = executableAt;
    }

    /// @inheritdoc IRegistry
    function execute(uint256 slash) external nonReentrant {
        (Slash storage entry, address account, uint64 executableAt) = _pendingSlash(slash);
        if (block.timestamp < executableAt) revert AppealOpen(executableAt);
        uint256 amount = entry.amount;

        entry.status = SlashStatus.Executed;
        --_nodes[account].pendingSlashes;
        totalOwed -= amount;

        emit SlashExecuted(slash, account, entry.task, amount);

        // A fault may cost nothing, and some tokens refuse to move nothing.
        if (amount == 0) return;
        address tasks = IRounds(rounds).tasks();
        IERC20(token).forceApprove(tasks, amount);
        ITasks(tasks).topUp(entry.task, amount);
    }

    // ----------------------------------------------------------------------------------------------------- views

    /// @inheritdoc IRegistry
    function nodeOf(address node) external view returns (NodeView memory) {
        Node storage entry = _nodes[node];
        return NodeView({
            node: node,
            signer: entry.signer,
            group: entry.group,
            admitted: entry.admitted,
            stake: entry.stake,
            eligibleStake: eligibleStakeOf(node),
            unbonding: entry.unbonding.total(),
            openRounds: entry.openRounds,
            pendingSlashes: entry.pendingSlashes,
            absences: entry.absences
        });
    }

    /// @inheritdoc IRegistry
    function signerOf(address node) external view returns (address) {
        return _nodes[node].signer;
    }

    /// @inheritdoc IRegistry
    function eligibleStakeOf(address node) public view returns (uint256) {
        Node storage entry = _nodes[node];
        return entry.admitted && entry.absences < mostAbsences ? entry.stake : 0;
    }

    /// @inheritdoc IRegistry
    function nodes() external view returns (address[] memory) {
        return _known;
    }

    /// @inheritdoc IRegistry
    function unbondingOf(address node) external view returns (UnbondingView[] memory) {
        return _nodes[node].unbonding.entries();
    }

    /// @inheritdoc IRegistry
    function slashOf(uint256 slash) external view returns (SlashView memory) {
        Slash storage entry = _slash(slash);
        return SlashView({
            node: _known[entry.place],
            task: entry.task,
            round: entry.round,
            fault: entry.fault,
            status: entry.status,
            executableAt: _executableAt[entry.task][entry.round],
            amount: entry.amount
        });
    }

    /// @inheritdoc IRegistry
    function slashCount() external view returns (uint256) {
        return _slashes.length;
    }

    // ------------------------------------------------------------------------------------------------------ steps

    function _deposit(address node, uint256 amount) private {
        if (amount == 0) revert ZeroAmount();
        Node storage entry = _admitted(node);

        entry.stake += SafeCast.toUint96(amount);
        totalOwed += amount;

        emit StakeDeposited(node, amount, entry.stake);

        ExactTransfer.pull(IERC20(token), amount);
    }

    /// Takes what has matured off the books; a node that still owes something waits.
    function _takeMature(address account) private returns (uint256 amount) {
        Node storage node = _node(account);
        if (node.openRounds != 0) revert InOpenRounds(node.openRounds);
        if (node.pendingSlashes != 0) revert SlashesPending(node.pendingSlashes);

        amount = node.unbonding.popMature();
        if (amount == 0) revert NothingMature(account);
        totalOwed -= amount;
    }

    /// Sets the slash's amount aside: out of the stake, and then out of what is leaving, the latest first.
    function _recordFault(uint64 task, uint32 round, Conduct calldata conduct, Node storage node, uint64 executableAt)
        private
    {
        uint256 fromStake = Math.min(conduct.slash, node.stake);
        // forge-lint: disable-next-line(unsafe-typecast) at most the stake
        node.stake -= uint96(fromStake);
        uint256 amount = fromStake + node.unbonding.takeLatest(conduct.slash - fromStake);
        ++node.pendingSlashes;
        _slashes.push(
            Slash({
                place: node.place,
                task: task,
                round: round,
                fault: conduct.fault,
                status: SlashStatus.Pending,
                // forge-lint: disable-next-line(unsafe-typecast) at most the slash
                amount: uint96(amount)
            })
        );

        emit FaultRecorded(
            task, round, conduct.node, conduct.fault, _slashes.length - 1, amount, executableAt, node.stake
        );
    }

    // ----------------------------------------------------------------------------------------------------- checks

    function _node(address account) private view returns (Node storage node) {
        node = _nodes[account];
        if (node.signer == address(0)) revert NodeUnknown(account);
    }

    function _admitted(address account) private view returns (Node storage node) {
        node = _node(account);
        if (!node.admitted) revert NodeDismissed(account);
    }

    function _slash(uint256 slash) private view returns (Slash storage) {
        if (slash >= _slashes.length) revert SlashUnknown(slash);
        return _slashes[slash];
    }

    /// A slash that is neither waived nor executed, whose it is, and from when on it may be executed.
    function _pendingSlash(uint256 slash)
        private
        view
        returns (Slash storage entry, address account, uint64 executableAt)
    {
        entry = _slash(slash);
        if (entry.status != SlashStatus.Pending) revert SlashSettled(slash);
        account = _known[entry.place];
        executableAt = _executableAt[entry.task][entry.round];
    }

    /// The node that speaks by its own account.
    function _spokenByOwner(address account, bytes32 structHash, uint256 nonce, uint64 expiry, bytes calldata signature)
        private
        returns (Node storage node)
    {
        node = _node(account);
        _requireSpoken(account, account, structHash, nonce, expiry, signature);
    }

    /// Refuses a message that `speaker` did not give, gave before, or gave too long ago.
    function _requireSpoken(
        address account,
        address speaker,
        bytes32 structHash,
        uint256 nonce,
        uint64 expiry,
        bytes calldata signature
    ) private {
        Signatures.requireNotExpired(expiry);
        // Who sends for itself needs no nonce. With a stolen signing key a thief could use up the next one each time
        // before the owner's word arrives.
        if (msg.sender == speaker) {
            _useNonce(account);
            return;
        }
        _useCheckedNonce(account, nonce);
        Signatures.requireFrom(speaker, _hashTypedDataV4(structHash), signature);
    }
}
