// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Packed} from "./libraries/Packed.sol";
import {Phase, Standing, TaskConfig} from "./Types.sol";

// How a round is stored.

/// A node and its capped stake, as frozen at the request.
struct Member {
    address node;
    uint96 stake;
}

/// What a drawn node is, and all it has said in the round.
struct Seat {
    uint96 stake;
    uint64 group;
    bool isProposer;
    bool isVoter;
    Standing standing;
    bool provenInvalid;
    int32 medianMicronats;
    int32 attestedScoreMicronats;
    bytes32 adapterDigest;
    bytes32 commitment;
    bytes32 attestedDigest;
    int32[] scores;
}

/// A seat as it is stored. The first eight fields share a slot, written at the draw; up to seven scores take one more.
struct StoredSeat {
    uint96 stake;
    uint64 group;
    bool isProposer;
    bool isVoter;
    Standing standing;
    bool provenInvalid;
    int32 medianMicronats;
    int32 attestedScoreMicronats;
    bytes32 adapterDigest;
    bytes32 commitment;
    bytes32 attestedDigest;
    bytes packedScores;
}

/// Where a round stands. The first eight fields share a slot.
struct RoundHeader {
    Phase phase;
    uint64 requestBlock;
    uint64 seedBlock;
    uint64 deadline;
    uint8 proposalCount;
    uint8 commitCount;
    uint8 revealCount;
    uint8 attestationCount;
    bytes16 context;
    uint128 reward;
    bytes32 parentDigest;
    bytes32 aggregateDigest;
    bytes32 seed;
}

/// `eligible` ascends. The rest are indices into it, one byte each: `packedRoles` the number of proposers, the proposers
/// and the voters, both in the order of the draw; `packedProposals` ascends and is empty before the end of Training.
struct Round {
    RoundHeader header;
    Member[] eligible;
    bytes packedRoles;
    bytes packedProposals;
    mapping(address node => StoredSeat) seats;
}

/// The round that a call works on, and its task's parameters.
struct OpenRound {
    uint64 task;
    uint32 number;
    TaskConfig config;
}

/// Reads of a stored round that both the machine and the settlement need.
library RoundState {
    function setRoles(Round storage round, uint8[] memory proposers, uint8[] memory voters) internal {
        // forge-lint: disable-next-line(unsafe-typecast) at most 16
        bytes1 count = bytes1(uint8(proposers.length));
        round.packedRoles = bytes.concat(count, Packed.packIndices(proposers), Packed.packIndices(voters));
    }

    /// Both empty before the draw.
    function roles(Round storage round) internal view returns (uint8[] memory proposers, uint8[] memory voters) {
        bytes memory packed = round.packedRoles;
        if (packed.length == 0) return (proposers, voters);
        uint256 middle = 1 + uint256(uint8(packed[0]));
        proposers = Packed.unpackIndices(packed, 1, middle);
        voters = Packed.unpackIndices(packed, middle, packed.length);
    }

    /// The proposers that have proposed, ascending; empty before the end of Training.
    function proposals(Round storage round) internal view returns (uint8[] memory) {
        bytes memory packed = round.packedProposals;
        return Packed.unpackIndices(packed, 0, packed.length);
    }

    function seat(Round storage round, address node) internal view returns (Seat memory) {
        StoredSeat storage stored = round.seats[node];
        return Seat({
            stake: stored.stake,
            group: stored.group,
            isProposer: stored.isProposer,
            isVoter: stored.isVoter,
            standing: stored.standing,
            provenInvalid: stored.provenInvalid,
            medianMicronats: stored.medianMicronats,
            attestedScoreMicronats: stored.attestedScoreMicronats,
            adapterDigest: stored.adapterDigest,
            commitment: stored.commitment,
            attestedDigest: stored.attestedDigest,
            scores: Packed.unpackScores(stored.packedScores)
        });
    }

    /// The nodes at `indices` of the eligible ones, in that order.
    function nodesAt(Round storage round, uint8[] memory indices) internal view returns (address[] memory nodes) {
        nodes = new address[](indices.length);
        for (uint256 i; i < indices.length; ++i) {
            nodes[i] = round.eligible[indices[i]].node;
        }
    }

    /// Indices of the drawn proposers that have proposed, ascending.
    function proposed(Round storage round) internal view returns (uint8[] memory indices) {
        (uint8[] memory proposers,) = roles(round);
        bool[] memory has = new bool[](round.eligible.length);
        for (uint256 i; i < proposers.length; ++i) {
            address node = round.eligible[proposers[i]].node;
            has[proposers[i]] = round.seats[node].adapterDigest != 0;
        }
        indices = new uint8[](round.header.proposalCount);
        uint256 next;
        for (uint256 i; next < indices.length; ++i) {
            // forge-lint: disable-next-line(unsafe-typecast) at most 256 nodes are eligible
            if (has[i]) indices[next++] = uint8(i);
        }
    }
}
