// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";

import {
    AlreadySent,
    DeadlinePassed,
    NoOpenRound,
    NoRoundsLeft,
    NotCommitted,
    NotDrawn,
    NotDue,
    NotEnoughEligible,
    NotRelayable,
    OnlyTasks,
    RepeatsAccepted,
    RepeatsParent,
    RoundOpen,
    ScoreOutOfRange,
    WrongCommitment,
    WrongContext,
    WrongParent,
    WrongPhase,
    WrongScoreCount,
    WrongWiring,
    ZeroDigest
} from "./Errors.sol";
import {IRandomness} from "./interfaces/IRandomness.sol";
import {IRegistry} from "./interfaces/IRegistry.sol";
import {IRounds} from "./interfaces/IRounds.sol";
import {ITasks} from "./interfaces/ITasks.sol";
import {MessageHash} from "./libraries/MessageHash.sol";
import {Packed} from "./libraries/Packed.sol";
import {Settlement} from "./libraries/Settlement.sol";
import {Signatures} from "./libraries/Signatures.sol";
import {Attestation, Commit, Proposal, Reveal} from "./Messages.sol";
import {DigestChoice, Member, OpenRound, Round, RoundHeader, RoundState, Seat, StoredSeat} from "./RoundState.sol";
import {
    INVALID_SCORE,
    Phase,
    SCORE_LIMIT_MICRONATS,
    SeedStatus,
    Standing,
    TaskConfig,
    UNAVAILABLE_SCORE
} from "./Types.sol";

/// The round machine: phases, messages, tally and settlement. It has no owner.
contract Rounds is IRounds, EIP712 {
    using MessageHash for Proposal;
    using MessageHash for Commit;
    using MessageHash for Reveal;
    using MessageHash for Attestation;
    using RoundState for Round;
    using Settlement for Round;

    struct TaskState {
        uint32 roundsRequested;
        uint32 roundsClosed;
        mapping(bytes32 adapterDigest => bool) isAccepted;
    }

    /// Blocks between a request and the block whose hash is the seed: the requester cannot know it.
    uint64 private constant SEED_DELAY_BLOCKS = 1;

    IRegistry private immutable _registry;
    ITasks private immutable _tasksContract;
    IRandomness private immutable _randomness;

    mapping(uint64 task => TaskState) private _tasks;
    mapping(uint64 task => mapping(uint32 round => Round)) private _rounds;

    constructor(IRegistry registry_, ITasks tasks_, IRandomness randomness_) EIP712("Collegium", "1") {
        bool isWired = tasks_.rounds() == address(this) && registry_.rounds() == address(this);
        if (!isWired || tasks_.token() != registry_.token()) revert WrongWiring();
        _registry = registry_;
        _tasksContract = tasks_;
        _randomness = randomness_;
    }

    // -------------------------------------------------------------------------------------------------- machine

    /// @inheritdoc IRounds
    function requestRound(uint64 task) external returns (uint32 number) {
        TaskState storage state = _tasks[task];
        TaskConfig memory config = _configOf(task);
        if (state.roundsRequested != state.roundsClosed) revert RoundOpen(state.roundsRequested);
        if (state.roundsRequested == config.rounds) revert NoRoundsLeft();
        (address[] memory nodes, uint256[] memory stakes) = _eligible(task, config.stakeCap);
        uint256 needed = Math.max(config.proposers, config.voters);
        if (nodes.length < needed) revert NotEnoughEligible(nodes.length, needed);

        uint256 reward = _tasksContract.openRound(task, config.rounds - state.roundsRequested);
        bytes32 parentDigest =
            state.roundsRequested == 0 ? config.genesisDigest : _parentAfter(_rounds[task][state.roundsRequested]);
        number = ++state.roundsRequested;
        Round storage round = _rounds[task][number];
        round.header.phase = Phase.Requested;
        round.header.requestBlock = uint64(block.number);
        round.header.seedBlock = uint64(block.number) + SEED_DELAY_BLOCKS;
        // What a node takes out of its stake from now on must not have left when the draw finds it.
        round.header.deadline = uint64(block.timestamp) + config.trainingSeconds;
        round.header.reward = SafeCast.toUint128(reward);
        round.header.parentDigest = parentDigest;
        for (uint256 i; i < nodes.length; ++i) {
            // forge-lint: disable-next-line(unsafe-typecast) at most the cap
            round.eligible.push(Member({node: nodes[i], stake: uint96(stakes[i])}));
        }

        emit RoundRequested(task, number, parentDigest, round.header.seedBlock, reward, nodes, stakes);
    }

    /// @inheritdoc IRounds
    function advance(uint64 task) external returns (Phase) {
        (OpenRound memory open, Round storage round) = _openRound(task);
        if (!_isDue(round)) revert NotDue();

        Phase phase = round.header.phase;
        if (phase == Phase.Requested) _endRequested(open, round);
        else if (phase == Phase.Training) _endTraining(open, round);
        else if (phase == Phase.Committing) _endCommitting(open, round);
        else if (phase == Phase.Revealing) _endRevealing(open, round);
        else _endAttesting(open, round);
        return round.header.phase;
    }

    /// @inheritdoc IRounds
    function abort(uint64 task) external {
        if (msg.sender != address(_tasksContract)) revert OnlyTasks();
        (OpenRound memory open, Round storage round) = _openRound(task);

        // As if nobody had been asked for anything: the nodes are not to blame.
        _close(open, round, Phase.Aborted, Phase.Requested);
    }

    // ------------------------------------------------------------------------------------------------- messages

    /// @inheritdoc IRounds
    function propose(Proposal calldata proposal, bytes calldata signature) external {
        Round storage round = _rounds[proposal.task][proposal.round];
        _requireOpen(round, Phase.Training, proposal.context);
        if (proposal.parentDigest != round.header.parentDigest) revert WrongParent(round.header.parentDigest);
        StoredSeat storage seat = round.seats[proposal.node];
        if (!seat.isProposer) revert NotDrawn(proposal.node);
        if (seat.adapterDigest != 0) revert AlreadySent(proposal.node);
        if (proposal.adapterDigest == 0) revert ZeroDigest();
        if (proposal.adapterDigest == round.header.parentDigest) revert RepeatsParent();
        if (_tasks[proposal.task].isAccepted[proposal.adapterDigest]) revert RepeatsAccepted();
        _requireSigned(proposal.node, proposal.hash(), signature);

        seat.adapterDigest = proposal.adapterDigest;
        ++round.header.proposalCount;

        emit Proposed(proposal.task, proposal.round, proposal.node, proposal.adapterDigest, proposal.reportDigest);
    }

    /// @inheritdoc IRounds
    function commit(Commit calldata message, bytes calldata signature) external {
        Round storage round = _rounds[message.task][message.round];
        _requireOpen(round, Phase.Committing, message.context);
        if (message.commitment == 0) revert ZeroDigest();
        StoredSeat storage seat = round.seats[message.node];
        if (!seat.isVoter) revert NotDrawn(message.node);
        if (seat.commitment != 0) revert AlreadySent(message.node);
        _requireSigned(message.node, message.hash(), signature);

        seat.commitment = message.commitment;
        ++round.header.commitCount;

        emit Committed(message.task, message.round, message.node, message.commitment);
    }

    /// @inheritdoc IRounds
    function reveal(Reveal calldata message) external {
        Round storage round = _rounds[message.task][message.round];
        _requireOpen(round, Phase.Revealing, message.context);
        StoredSeat storage seat = round.seats[message.node];
        if (!seat.isVoter) revert NotDrawn(message.node);
        if (seat.commitment == 0) revert NotCommitted(message.node);
        if (seat.packedScores.length != 0) revert AlreadySent(message.node);
        if (message.commitment() != seat.commitment) revert WrongCommitment(seat.commitment);
        _requireScores(message.scores, round.header.proposalCount);

        seat.packedScores = Packed.packScores(message.scores);
        ++round.header.revealCount;

        emit Revealed(message.task, message.round, message.node, message.scores, message.salt);
    }

    /// @inheritdoc IRounds
    function attest(Attestation calldata attestation, bytes calldata signature) external {
        Round storage round = _rounds[attestation.task][attestation.round];
        _requireOpen(round, Phase.Attesting, attestation.context);
        if (attestation.aggregateDigest == 0) revert ZeroDigest();
        if (!_isNumber(attestation.score)) revert ScoreOutOfRange(attestation.score);
        StoredSeat storage seat = round.seats[attestation.node];
        if (!seat.isVoter) revert NotDrawn(attestation.node);
        if (seat.attested != DigestChoice.None) revert AlreadySent(attestation.node);
        _requireSigned(attestation.node, attestation.hash(), signature);

        round.setAttestedDigest(seat, attestation.aggregateDigest);
        // forge-lint: disable-next-line(unsafe-typecast) within ±8 nats
        seat.attestedScoreMicronats = int24(attestation.score);
        ++round.header.attestationCount;

        emit Attested(
            attestation.task, attestation.round, attestation.node, attestation.aggregateDigest, attestation.score
        );
    }

    /// @inheritdoc IRounds
    function relay(bytes[] calldata messages) external {
        for (uint256 i; i < messages.length; ++i) {
            bytes4 selector = bytes4(messages[i]);
            bool isRelayable = selector == this.propose.selector || selector == this.commit.selector
                || selector == this.reveal.selector || selector == this.attest.selector;
            if (!isRelayable) revert NotRelayable(selector);
            (bool taken, bytes memory reason) = address(this).call(messages[i]);
            if (!taken) emit RelaySkipped(i, keccak256(messages[i]), bytes4(reason));
        }
    }

    // ---------------------------------------------------------------------------------------------------- views

    /// @inheritdoc IRounds
    function isDue(uint64 task) external view returns (bool) {
        TaskState storage state = _tasks[task];
        return state.roundsRequested != state.roundsClosed && _isDue(_rounds[task][state.roundsRequested]);
    }

    /// @inheritdoc IRounds
    function progressOf(uint64 task) external view returns (uint32 requested, uint32 closed, bytes32 parentDigest) {
        TaskState storage state = _tasks[task];
        (requested, closed) = (state.roundsRequested, state.roundsClosed);
        parentDigest = requested == 0 ? _configOf(task).genesisDigest : _parentAfter(_rounds[task][requested]);
    }

    /// @inheritdoc IRounds
    function headerOf(uint64 task, uint32 number) external view returns (RoundHeader memory) {
        return _rounds[task][number].header;
    }

    /// @inheritdoc IRounds
    function membersOf(uint64 task, uint32 number) external view returns (Member[] memory) {
        return _rounds[task][number].eligible;
    }

    /// @inheritdoc IRounds
    function rolesOf(uint64 task, uint32 number) external view returns (uint8[] memory, uint8[] memory) {
        return _rounds[task][number].roles();
    }

    /// @inheritdoc IRounds
    function seatOf(uint64 task, uint32 number, address node) external view returns (Seat memory) {
        return _rounds[task][number].seat(node);
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

    function _endRequested(OpenRound memory open, Round storage round) private {
        (SeedStatus status, bytes32 seed) = _randomness.seedOf(round.header.seedBlock);
        if (status != SeedStatus.Ready || block.timestamp > round.header.deadline) {
            return _close(open, round, Phase.Aborted, Phase.Requested);
        }

        bytes16 context = round.drawRoles(open, seed, _registry);
        _enter(open, round, Phase.Training, context, open.config.trainingSeconds);
    }

    function _endTraining(OpenRound memory open, Round storage round) private {
        if (round.header.proposalCount < open.config.minProposals) {
            return _close(open, round, Phase.Aborted, Phase.Training);
        }

        _enter(open, round, Phase.Committing, round.orderProposals(), open.config.committingSeconds);
    }

    function _endCommitting(OpenRound memory open, Round storage round) private {
        // With too few commits there can never be enough reveals.
        if (round.header.commitCount < open.config.minReveals) {
            return _close(open, round, Phase.Aborted, Phase.Committing);
        }

        _enter(open, round, Phase.Revealing, round.header.context, open.config.revealingSeconds);
    }

    function _endRevealing(OpenRound memory open, Round storage round) private {
        if (round.header.revealCount < open.config.minReveals) {
            return _close(open, round, Phase.Aborted, Phase.Revealing);
        }

        (bool anyAccepted, bytes16 context) = round.tally(open);
        if (!anyAccepted) return _close(open, round, Phase.Rejected, Phase.Revealing);
        _enter(open, round, Phase.Attesting, context, open.config.attestingSeconds);
    }

    function _endAttesting(OpenRound memory open, Round storage round) private {
        (bytes32 digest, int32 median) = round.attested(open.config.attestationQuorumBps);
        if (digest == 0 || median < 0) return _close(open, round, Phase.Rejected, Phase.Attesting);

        round.header.aggregateDigest = digest;
        _rememberAccepted(open.task, round);
        _close(open, round, Phase.Final, Phase.Attesting);
    }

    /// Adapters that made it into a parent cannot be proposed again.
    function _rememberAccepted(uint64 task, Round storage round) private {
        uint8[] memory proposals = round.proposals();
        for (uint256 i; i < proposals.length; ++i) {
            StoredSeat storage seat = round.seats[round.eligible[proposals[i]].node];
            if (seat.standing == Standing.Accepted) _tasks[task].isAccepted[seat.adapterDigest] = true;
        }
    }

    function _enter(OpenRound memory open, Round storage round, Phase phase, bytes16 context, uint32 durationSeconds)
        private
    {
        round.header.phase = phase;
        round.header.context = context;
        round.header.deadline = uint64(block.timestamp) + durationSeconds;

        emit PhaseChanged(open.task, open.number, phase, context, round.header.deadline);
    }

    /// Ends the round as `outcome`; nodes answer for what they were asked for up to `lastPhase`.
    function _close(OpenRound memory open, Round storage round, Phase outcome, Phase lastPhase) private {
        TaskState storage state = _tasks[open.task];
        round.header.phase = outcome;
        round.header.deadline = 0;
        ++state.roundsClosed;

        emit PhaseChanged(open.task, open.number, outcome, round.header.context, 0);
        emit RoundClosed(open.task, open.number, outcome, _parentAfter(round));

        round.settle(open, lastPhase, _registry, _tasksContract);
    }

    // ---------------------------------------------------------------------------------------------------- reads

    /// What the round after this one starts from: only a final round has an aggregate.
    function _parentAfter(Round storage round) private view returns (bytes32) {
        bytes32 aggregateDigest = round.header.aggregateDigest;
        return aggregateDigest == 0 ? round.header.parentDigest : aggregateDigest;
    }

    function _configOf(uint64 task) private view returns (TaskConfig memory) {
        return _tasksContract.configOf(task);
    }

    function _openRound(uint64 task) private view returns (OpenRound memory open, Round storage round) {
        TaskState storage state = _tasks[task];
        uint32 number = state.roundsRequested;
        if (number == state.roundsClosed) revert NoOpenRound();
        round = _rounds[task][number];
        open = OpenRound({task: task, number: number, config: _configOf(task)});
    }

    /// Approved nodes with stake, ascending, and their stakes under the cap.
    function _eligible(uint64 task, uint96 stakeCap)
        private
        view
        returns (address[] memory nodes, uint256[] memory stakes)
    {
        nodes = _tasksContract.approvedOf(task);
        stakes = new uint256[](nodes.length);
        uint256 count;
        for (uint256 i; i < nodes.length; ++i) {
            uint256 stake = _registry.eligibleStakeOf(nodes[i]);
            if (stake == 0) continue;
            (nodes[count], stakes[count]) = (nodes[i], Math.min(stake, stakeCap));
            ++count;
        }
        assembly ("memory-safe") {
            mstore(nodes, count)
            mstore(stakes, count)
        }
    }

    // --------------------------------------------------------------------------------------------------- checks

    function _isDue(Round storage round) private view returns (bool) {
        if (block.timestamp > round.header.deadline) return true;
        Phase phase = round.header.phase;
        if (phase == Phase.Requested) {
            (SeedStatus status,) = _randomness.seedOf(round.header.seedBlock);
            return status != SeedStatus.Pending;
        }
        if (phase == Phase.Revealing) return round.header.revealCount == round.header.commitCount;
        (uint8[] memory proposers, uint8[] memory voters) = round.roles();
        if (phase == Phase.Training) return round.header.proposalCount == proposers.length;
        if (phase == Phase.Committing) return round.header.commitCount == voters.length;
        return round.header.attestationCount == voters.length;
    }

    /// Refuses a message that the round does not take now.
    function _requireOpen(Round storage round, Phase phase, bytes16 context) private view {
        if (round.header.phase != phase) revert WrongPhase(round.header.phase);
        if (block.timestamp > round.header.deadline) revert DeadlinePassed(round.header.deadline);
        if (round.header.context != context) revert WrongContext(round.header.context);
    }

    function _requireScores(int32[] calldata scores, uint256 expected) private pure {
        if (scores.length != expected) revert WrongScoreCount(expected);
        for (uint256 i; i < expected; ++i) {
            int32 score = scores[i];
            if (score == INVALID_SCORE || score == UNAVAILABLE_SCORE) continue;
            if (!_isNumber(score)) revert ScoreOutOfRange(score);
        }
    }

    function _isNumber(int32 score) private pure returns (bool) {
        return score >= -SCORE_LIMIT_MICRONATS && score <= SCORE_LIMIT_MICRONATS;
    }

    /// Refuses a struct that the signing key of a node with a seat neither sent nor signed.
    function _requireSigned(address node, bytes32 structHash, bytes calldata signature) private view {
        Signatures.requireFrom(_registry.signerOf(node), _hashTypedDataV4(structHash), signature);
    }
}
