// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IERC1271} from "@openzeppelin/contracts/interfaces/IERC1271.sol";
import {Arrays} from "@openzeppelin/contracts/utils/Arrays.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";

import {
    AlreadySent,
    DeadlinePassed,
    Expired,
    NoOpenRound,
    NoRoundsLeft,
    NodeUnknown,
    NotCommitted,
    NotDrawn,
    NotDue,
    NotEnoughEligible,
    RepeatsAccepted,
    RepeatsParent,
    RoundOpen,
    ScoreOutOfRange,
    TooManyApproved,
    WrongCommitment,
    WrongContext,
    WrongNonce,
    WrongParent,
    WrongPhase,
    WrongScoreCount,
    WrongSignature,
    WrongSpecDigest,
    WrongWiring,
    ZeroDigest
} from "./Errors.sol";
import {IRandomness} from "./interfaces/IRandomness.sol";
import {IRegistry} from "./interfaces/IRegistry.sol";
import {IRounds} from "./interfaces/IRounds.sol";
import {ITasks} from "./interfaces/ITasks.sol";
import {MessageHash} from "./libraries/MessageHash.sol";
import {Settlement} from "./libraries/Settlement.sol";
import {Approval, Attestation, Commit, Proposal, Reveal} from "./Messages.sol";
import {Member, Round, RoundState, Seat} from "./RoundState.sol";
import {
    AttestationView,
    INVALID_SCORE,
    MAX_ELIGIBLE,
    Phase,
    ProposalView,
    RoundView,
    SCORE_LIMIT_MICRONATS,
    SeedStatus,
    TaskConfig,
    TaskView,
    UNAVAILABLE_SCORE,
    VoteView
} from "./Types.sol";

/// The round machine: phases, messages, tally and settlement. It has no owner.
contract Rounds is IRounds, EIP712 {
    using MessageHash for Approval;
    using MessageHash for Proposal;
    using MessageHash for Commit;
    using MessageHash for Reveal;
    using MessageHash for Attestation;
    using RoundState for Round;
    using Settlement for Round;

    struct TaskState {
        uint32 roundsRequested;
        uint32 roundsClosed;
        bytes32 parentDigest;
        address[] approved;
        mapping(address node => bool) isApproved;
        mapping(bytes32 adapterDigest => bool) isAccepted;
    }

    /// The round that `advance` moves.
    struct Open {
        uint64 task;
        uint32 number;
        TaskConfig config;
    }

    /// Blocks between a request and the block whose hash is the seed: the requester cannot know it.
    uint64 private constant SEED_DELAY_BLOCKS = 1;
    /// What a contract signer may spend on checking its signature.
    uint256 private constant SIGNATURE_GAS = 100_000;

    IRegistry private immutable _registry;
    ITasks private immutable _tasksContract;
    IRandomness private immutable _randomness;

    mapping(uint64 task => TaskState) private _tasks;
    mapping(uint64 task => mapping(uint32 round => Round)) private _rounds;

    /// @inheritdoc IRounds
    mapping(address node => uint64) public nonceOf;

    constructor(IRegistry registry_, ITasks tasks_, IRandomness randomness_) EIP712("Collegium", "1") {
        if (tasks_.rounds() != address(this) || tasks_.token() != registry_.token()) revert WrongWiring();
        _registry = registry_;
        _tasksContract = tasks_;
        _randomness = randomness_;
    }

    // ------------------------------------------------------------------------------------------------- approvals

    /// @inheritdoc IRounds
    function approve(Approval calldata approval, bytes calldata signature) external {
        TaskState storage state = _tasks[approval.task];
        bytes32 specDigest = _tasksContract.configOf(approval.task).specDigest;
        if (approval.specDigest != specDigest) revert WrongSpecDigest(specDigest);
        if (approval.nonce != nonceOf[approval.node]) revert WrongNonce(nonceOf[approval.node]);
        if (block.timestamp > approval.expiry) revert Expired(approval.expiry);
        bool isNew = !state.isApproved[approval.node];
        if (isNew && state.approved.length == MAX_ELIGIBLE) revert TooManyApproved();
        _requireSigned(approval.node, approval.hash(), signature);

        ++nonceOf[approval.node];
        if (isNew) {
            state.isApproved[approval.node] = true;
            state.approved.push(approval.node);
        }

        emit Approved(approval.task, approval.node, approval.policyDigest);
    }

    // -------------------------------------------------------------------------------------------------- machine

    /// @inheritdoc IRounds
    function requestRound(uint64 task) external returns (uint32 number) {
        TaskState storage state = _tasks[task];
        TaskConfig memory config = _tasksContract.configOf(task);
        if (state.roundsRequested != state.roundsClosed) revert RoundOpen(state.roundsRequested);
        if (state.roundsRequested == config.rounds) revert NoRoundsLeft();
        (address[] memory nodes, uint256[] memory stakes) = _eligible(state, config.stakeCap);
        uint256 needed = Math.max(config.proposers, config.voters);
        if (nodes.length < needed) revert NotEnoughEligible(nodes.length, needed);

        uint256 reward = _tasksContract.openRound(task, config.rounds - state.roundsRequested);
        if (state.roundsRequested == 0) state.parentDigest = config.genesisDigest;
        number = ++state.roundsRequested;
        Round storage round = _rounds[task][number];
        round.phase = Phase.Requested;
        round.requestBlock = uint64(block.number);
        round.seedBlock = uint64(block.number) + SEED_DELAY_BLOCKS;
        round.reward = SafeCast.toUint128(reward);
        round.parentDigest = state.parentDigest;
        for (uint256 i; i < nodes.length; ++i) {
            round.eligible.push(Member({node: nodes[i], stake: uint96(stakes[i])}));
        }

        emit RoundRequested(task, number, round.parentDigest, round.seedBlock, reward, nodes, stakes);
    }

    /// @inheritdoc IRounds
    function advance(uint64 task) external returns (Phase) {
        uint32 number = _tasks[task].roundsRequested;
        if (number == _tasks[task].roundsClosed) revert NoOpenRound();
        Round storage round = _rounds[task][number];
        if (!_isDue(round)) revert NotDue();

        Open memory open = Open({task: task, number: number, config: _tasksContract.configOf(task)});
        Phase phase = round.phase;
        if (phase == Phase.Requested) _endRequested(open, round);
        else if (phase == Phase.Training) _endTraining(open, round);
        else if (phase == Phase.Committing) _endCommitting(open, round);
        else if (phase == Phase.Revealing) _endRevealing(open, round);
        else _endAttesting(open, round);
        return round.phase;
    }

    // ------------------------------------------------------------------------------------------------- messages

    /// @inheritdoc IRounds
    function propose(Proposal calldata proposal, bytes calldata signature) external {
        Round storage round = _rounds[proposal.task][proposal.round];
        _requireOpen(round, Phase.Training, proposal.context);
        if (proposal.parentDigest != round.parentDigest) revert WrongParent(round.parentDigest);
        Seat storage seat = round.seats[proposal.node];
        if (!seat.isProposer) revert NotDrawn(proposal.node);
        if (seat.adapterDigest != 0) revert AlreadySent(proposal.node);
        if (proposal.adapterDigest == 0) revert ZeroDigest();
        if (proposal.adapterDigest == round.parentDigest) revert RepeatsParent();
        if (_tasks[proposal.task].isAccepted[proposal.adapterDigest]) revert RepeatsAccepted();
        _requireSigned(proposal.node, proposal.hash(), signature);

        seat.adapterDigest = proposal.adapterDigest;
        ++round.proposalCount;

        emit Proposed(proposal.task, proposal.round, proposal.node, proposal.adapterDigest, proposal.reportDigest);
    }

    /// @inheritdoc IRounds
    function commit(Commit calldata message, bytes calldata signature) external {
        Round storage round = _rounds[message.task][message.round];
        _requireOpen(round, Phase.Committing, message.context);
        if (message.commitment == 0) revert ZeroDigest();
        Seat storage seat = round.seats[message.node];
        if (!seat.isVoter) revert NotDrawn(message.node);
        if (seat.commitment != 0) revert AlreadySent(message.node);
        _requireSigned(message.node, message.hash(), signature);

        seat.commitment = message.commitment;
        ++round.commitCount;

        emit Committed(message.task, message.round, message.node, message.commitment);
    }

    /// @inheritdoc IRounds
    function reveal(Reveal calldata message) external {
        Round storage round = _rounds[message.task][message.round];
        _requireOpen(round, Phase.Revealing, message.context);
        Seat storage seat = round.seats[message.node];
        if (!seat.isVoter) revert NotDrawn(message.node);
        if (seat.commitment == 0) revert NotCommitted(message.node);
        if (seat.scores.length != 0) revert AlreadySent(message.node);
        if (message.commitment() != seat.commitment) revert WrongCommitment(seat.commitment);
        _requireScores(message.scores, round.proposalCount);

        seat.scores = message.scores;
        ++round.revealCount;

        emit Revealed(message.task, message.round, message.node, message.scores, message.salt);
    }

    /// @inheritdoc IRounds
    function attest(Attestation calldata attestation, bytes calldata signature) external {
        Round storage round = _rounds[attestation.task][attestation.round];
        _requireOpen(round, Phase.Attesting, attestation.context);
        if (attestation.aggregateDigest == 0) revert ZeroDigest();
        if (!_isNumber(attestation.score)) revert ScoreOutOfRange(attestation.score);
        Seat storage seat = round.seats[attestation.node];
        if (!seat.isVoter) revert NotDrawn(attestation.node);
        if (seat.attestedDigest != 0) revert AlreadySent(attestation.node);
        _requireSigned(attestation.node, attestation.hash(), signature);

        seat.attestedDigest = attestation.aggregateDigest;
        seat.attestedScoreMicronats = attestation.score;
        ++round.attestationCount;

        emit Attested(
            attestation.task, attestation.round, attestation.node, attestation.aggregateDigest, attestation.score
        );
    }

    // ---------------------------------------------------------------------------------------------------- views

    /// @inheritdoc IRounds
    function isDue(uint64 task) external view returns (bool) {
        TaskState storage state = _tasks[task];
        return state.roundsRequested != state.roundsClosed && _isDue(_rounds[task][state.roundsRequested]);
    }

    /// @inheritdoc IRounds
    function taskOf(uint64 task) external view returns (TaskView memory) {
        TaskState storage state = _tasks[task];
        TaskConfig memory config = _tasksContract.configOf(task);
        return TaskView({
            config: config,
            roundsRequested: state.roundsRequested,
            roundsClosed: state.roundsClosed,
            pool: _tasksContract.poolOf(task),
            parentDigest: state.roundsRequested == 0 ? config.genesisDigest : state.parentDigest,
            approved: Arrays.sort(state.approved)
        });
    }

    /// @inheritdoc IRounds
    function roundOf(uint64 task, uint32 number) external view returns (RoundView memory result) {
        Round storage round = _rounds[task][number];
        result.phase = round.phase;
        result.parentDigest = round.parentDigest;
        result.aggregateDigest = round.aggregateDigest;
        result.requestBlock = round.requestBlock;
        result.seedBlock = round.seedBlock;
        result.seed = round.seed;
        result.context = round.context;
        result.deadline = round.deadline;
        result.reward = round.reward;
        (result.eligible, result.stakes) = _members(round);
        result.proposers = round.nodesAt(round.proposers);
        result.voters = round.nodesAt(round.voters);
        result.proposals = _proposalViews(round);
        (result.votes, result.attestations) = _voterViews(round, result.voters);
    }

    /// @inheritdoc IRounds
    function registry() external view returns (address) {
        return address(_registry);
    }

    /// @inheritdoc IRounds
    function tasks() external view returns (address) {
        return address(_tasksContract);
    }

    /// @inheritdoc IRounds
    function randomness() external view returns (address) {
        return address(_randomness);
    }

    // ----------------------------------------------------------------------------------------- ends of phases

    function _endRequested(Open memory open, Round storage round) private {
        (SeedStatus status, bytes32 seed) = _randomness.seedOf(round.seedBlock);
        if (status == SeedStatus.Lost) return _close(open, round, Phase.Aborted);

        (address[] memory proposers, address[] memory voters) = round.drawRoles(seed, open.config, _registry);

        emit Drawn(open.task, open.number, seed, proposers, voters);

        bytes memory header = abi.encode(
            block.chainid, address(this), open.task, open.number, round.parentDigest, seed, proposers, voters
        );
        _enter(open, round, Phase.Training, bytes16(keccak256(header)), open.config.trainingSeconds);
    }

    function _endTraining(Open memory open, Round storage round) private {
        if (round.proposalCount < open.config.minProposals) return _close(open, round, Phase.Aborted);

        (address[] memory nodes, bytes32[] memory adapterDigests) = round.orderProposals();
        bytes16 context = bytes16(keccak256(abi.encode(round.context, nodes, adapterDigests)));
        _enter(open, round, Phase.Committing, context, open.config.committingSeconds);
    }

    function _endCommitting(Open memory open, Round storage round) private {
        // With too few commits there can never be enough reveals.
        if (round.commitCount < open.config.minReveals) return _close(open, round, Phase.Aborted);

        _enter(open, round, Phase.Revealing, round.context, open.config.revealingSeconds);
    }

    function _endRevealing(Open memory open, Round storage round) private {
        if (round.revealCount < open.config.minReveals) return _close(open, round, Phase.Aborted);

        (address[] memory nodes, bool[] memory accepted, bool[] memory hasMedian, int32[] memory medians) =
            round.tally(open.config);

        emit Tallied(open.task, open.number, nodes, accepted, hasMedian, medians);

        if (!_any(accepted)) return _close(open, round, Phase.Rejected);
        bytes16 context = bytes16(keccak256(abi.encode(round.context, accepted, medians)));
        _enter(open, round, Phase.Attesting, context, open.config.attestingSeconds);
    }

    function _endAttesting(Open memory open, Round storage round) private {
        (bytes32 digest, int32 median) = round.attested(open.config.attestationQuorumBps);
        if (digest == 0 || median < 0) return _close(open, round, Phase.Rejected);

        round.aggregateDigest = digest;
        _tasks[open.task].parentDigest = digest;
        _rememberAccepted(open.task, round);
        _close(open, round, Phase.Final);
    }

    /// Adapters that made it into a parent cannot be proposed again.
    function _rememberAccepted(uint64 task, Round storage round) private {
        address[] memory nodes = round.nodesAt(round.proposals);
        for (uint256 i; i < nodes.length; ++i) {
            Seat storage seat = round.seats[nodes[i]];
            if (seat.accepted) _tasks[task].isAccepted[seat.adapterDigest] = true;
        }
    }

    function _enter(Open memory open, Round storage round, Phase phase, bytes16 context, uint32 durationSeconds)
        private
    {
        round.phase = phase;
        round.context = context;
        round.deadline = uint64(block.timestamp) + durationSeconds;

        emit PhaseChanged(open.task, open.number, phase, context, round.deadline);
    }

    function _close(Open memory open, Round storage round, Phase phase) private {
        round.phase = phase;
        round.deadline = 0;
        ++_tasks[open.task].roundsClosed;

        emit PhaseChanged(open.task, open.number, phase, round.context, 0);
        emit RoundClosed(open.task, open.number, phase, _tasks[open.task].parentDigest);

        (address[] memory nodes, uint256[] memory amounts) = round.payout(open.config, phase);
        _tasksContract.settleRound(open.task, open.number, nodes, amounts);
    }

    // ---------------------------------------------------------------------------------------------------- reads

    /// Approved nodes with stake, ascending, and their stakes under the cap.
    function _eligible(TaskState storage state, uint96 stakeCap)
        private
        view
        returns (address[] memory nodes, uint256[] memory stakes)
    {
        nodes = Arrays.sort(state.approved);
        stakes = new uint256[](nodes.length);
        uint256 count;
        for (uint256 i; i < nodes.length; ++i) {
            uint256 stake = _registry.stakeOf(nodes[i]);
            if (stake == 0) continue;
            (nodes[count], stakes[count]) = (nodes[i], Math.min(stake, stakeCap));
            ++count;
        }
        assembly ("memory-safe") {
            mstore(nodes, count)
            mstore(stakes, count)
        }
    }

    function _members(Round storage round) private view returns (address[] memory nodes, uint256[] memory stakes) {
        uint256 size = round.eligible.length;
        nodes = new address[](size);
        stakes = new uint256[](size);
        for (uint256 i; i < size; ++i) {
            Member memory member = round.eligible[i];
            (nodes[i], stakes[i]) = (member.node, member.stake);
        }
    }

    function _proposalViews(Round storage round) private view returns (ProposalView[] memory views) {
        // While they come in, proposals have no fixed order yet: show those that are there, ascending.
        address[] memory nodes = round.nodesAt(round.proposed());
        views = new ProposalView[](nodes.length);
        for (uint256 i; i < nodes.length; ++i) {
            Seat storage seat = round.seats[nodes[i]];
            views[i] = ProposalView({
                node: nodes[i],
                adapterDigest: seat.adapterDigest,
                accepted: seat.accepted,
                hasMedian: seat.hasMedian,
                medianMicronats: seat.medianMicronats
            });
        }
    }

    function _voterViews(Round storage round, address[] memory nodes)
        private
        view
        returns (VoteView[] memory votes, AttestationView[] memory attestations)
    {
        votes = new VoteView[](nodes.length);
        attestations = new AttestationView[](nodes.length);
        for (uint256 i; i < nodes.length; ++i) {
            Seat storage seat = round.seats[nodes[i]];
            votes[i] = VoteView({
                node: nodes[i], commitment: seat.commitment, revealed: seat.scores.length != 0, scores: seat.scores
            });
            attestations[i] = AttestationView({
                node: nodes[i],
                attested: seat.attestedDigest != 0,
                aggregateDigest: seat.attestedDigest,
                score: seat.attestedScoreMicronats
            });
        }
    }

    // --------------------------------------------------------------------------------------------------- checks

    function _isDue(Round storage round) private view returns (bool) {
        Phase phase = round.phase;
        if (phase == Phase.Requested) {
            (SeedStatus status,) = _randomness.seedOf(round.seedBlock);
            return status != SeedStatus.Pending;
        }
        if (block.timestamp > round.deadline) return true;
        if (phase == Phase.Training) return round.proposalCount == round.proposers.length;
        if (phase == Phase.Committing) return round.commitCount == round.voters.length;
        if (phase == Phase.Revealing) return round.revealCount == round.commitCount;
        return round.attestationCount == round.voters.length;
    }

    /// Refuses a message that the round does not take now.
    function _requireOpen(Round storage round, Phase phase, bytes16 context) private view {
        if (round.phase != phase) revert WrongPhase(round.phase);
        if (block.timestamp > round.deadline) revert DeadlinePassed(round.deadline);
        if (round.context != context) revert WrongContext(round.context);
    }

    function _requireScores(int32[] calldata scores, uint256 expected) private pure {
        if (scores.length != expected) revert WrongScoreCount(expected);
        for (uint256 i; i < expected; ++i) {
            int32 score = scores[i];
            if (score == INVALID_SCORE || score == UNAVAILABLE_SCORE) continue;
            if (!_isNumber(score)) revert ScoreOutOfRange(score);
        }
    }

    function _any(bool[] memory flags) private pure returns (bool) {
        for (uint256 i; i < flags.length; ++i) {
            if (flags[i]) return true;
        }
        return false;
    }

    function _isNumber(int32 score) private pure returns (bool) {
        return score >= -SCORE_LIMIT_MICRONATS && score <= SCORE_LIMIT_MICRONATS;
    }

    /// Refuses a struct that the node's signing key did not sign: ECDSA first, then ERC-1271 with a gas cap, so that an
    /// account with delegated code keeps its key.
    function _requireSigned(address node, bytes32 structHash, bytes calldata signature) private view {
        address signer = _registry.signerOf(node);
        if (signer == address(0)) revert NodeUnknown(node);
        bytes32 digest = _hashTypedDataV4(structHash);
        (address recovered,,) = ECDSA.tryRecoverCalldata(digest, signature);
        if (recovered == signer) return;
        if (signer.code.length == 0 || !_contractSigned(signer, digest, signature)) revert WrongSignature(signer);
    }

    function _contractSigned(address signer, bytes32 digest, bytes calldata signature) private view returns (bool) {
        (bool answered, bytes memory answer) =
            signer.staticcall{gas: SIGNATURE_GAS}(abi.encodeCall(IERC1271.isValidSignature, (digest, signature)));
        return
            answered && answer.length >= 32
                && abi.decode(answer, (bytes32)) == bytes32(IERC1271.isValidSignature.selector);
    }
}
