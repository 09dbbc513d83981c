// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {ILens} from "./interfaces/ILens.sol";
import {IRounds} from "./interfaces/IRounds.sol";
import {ITasks} from "./interfaces/ITasks.sol";
import {Signatures} from "./libraries/Signatures.sol";
import {Member, RoundHeader, Seat} from "./RoundState.sol";
import {AttestationView, ProposalView, RoundView, TaskView, VoteView} from "./Types.sol";

/// Whole tasks and rounds for readers, in one call each, and the check of a signature. It holds nothing.
contract Lens is ILens {
    /// @inheritdoc ILens
    IRounds public immutable rounds;

    constructor(IRounds rounds_) {
        rounds = rounds_;
    }

    /// @inheritdoc ILens
    function taskOf(uint64 task) external view returns (TaskView memory result) {
        ITasks tasks = ITasks(rounds.tasks());
        result.config = tasks.configOf(task);
        (result.roundsRequested, result.roundsClosed, result.parentDigest) = rounds.progressOf(task);
        result.approved = tasks.approvedOf(task);
        result.money = tasks.poolOf(task);
    }

    /// @inheritdoc ILens
    function roundOf(uint64 task, uint32 round) external view returns (RoundView memory result) {
        RoundHeader memory header = rounds.headerOf(task, round);
        result.phase = header.phase;
        result.parentDigest = header.parentDigest;
        result.aggregateDigest = header.aggregateDigest;
        result.requestBlock = header.requestBlock;
        result.seedBlock = header.seedBlock;
        result.seed = header.seed;
        result.context = header.context;
        result.deadline = header.deadline;
        result.reward = header.reward;
        (result.eligible, result.stakes) = _split(rounds.membersOf(task, round));
        (uint8[] memory proposers, uint8[] memory voters) = rounds.rolesOf(task, round);
        result.proposers = _nodesAt(result.eligible, proposers);
        result.voters = _nodesAt(result.eligible, voters);
        result.proposals = _proposals(task, round, header.proposalCount, result.eligible, proposers);
        (result.votes, result.attestations) = _votes(task, round, result.voters);
    }

    /// @inheritdoc ILens
    function isSignedBy(address account, bytes32 digest, bytes calldata signature) external view returns (bool) {
        return account != address(0) && Signatures.isBy(account, digest, signature);
    }

    function _split(Member[] memory members) private pure returns (address[] memory nodes, uint256[] memory stakes) {
        nodes = new address[](members.length);
        stakes = new uint256[](members.length);
        for (uint256 i; i < members.length; ++i) {
            (nodes[i], stakes[i]) = (members[i].node, members[i].stake);
        }
    }

    function _nodesAt(address[] memory eligible, uint8[] memory indices) private pure returns (address[] memory nodes) {
        nodes = new address[](indices.length);
        for (uint256 i; i < indices.length; ++i) {
            nodes[i] = eligible[indices[i]];
        }
    }

    /// The proposals that are there, ascending by node.
    function _proposals(uint64 task, uint32 round, uint256 count, address[] memory eligible, uint8[] memory proposers)
        private
        view
        returns (ProposalView[] memory proposals)
    {
        bool[] memory isProposer = new bool[](eligible.length);
        for (uint256 i; i < proposers.length; ++i) {
            isProposer[proposers[i]] = true;
        }
        proposals = new ProposalView[](count);
        uint256 next;
        for (uint256 i; next < count; ++i) {
            if (!isProposer[i]) continue;
            Seat memory seat = rounds.seatOf(task, round, eligible[i]);
            if (seat.adapterDigest == 0) continue;
            proposals[next++] = ProposalView({
                node: eligible[i],
                group: seat.group,
                adapterDigest: seat.adapterDigest,
                standing: seat.standing,
                medianMicronats: seat.medianMicronats,
                provenInvalid: seat.provenInvalid
            });
        }
    }

    function _votes(uint64 task, uint32 round, address[] memory voters)
        private
        view
        returns (VoteView[] memory votes, AttestationView[] memory attestations)
    {
        votes = new VoteView[](voters.length);
        attestations = new AttestationView[](voters.length);
        for (uint256 i; i < voters.length; ++i) {
            Seat memory seat = rounds.seatOf(task, round, voters[i]);
            votes[i] = VoteView({
                node: voters[i],
                group: seat.group,
                stake: seat.stake,
                commitment: seat.commitment,
                revealed: seat.scores.length != 0,
                scores: seat.scores
            });
            attestations[i] = AttestationView({
                node: voters[i],
                attested: seat.attestedDigest != 0,
                aggregateDigest: seat.attestedDigest,
                score: seat.attestedScoreMicronats
            });
        }
    }
}
