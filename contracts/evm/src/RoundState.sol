// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Phase, Standing, TaskConfig} from "./Types.sol";

// How a round is stored.

/// A node and its capped stake, as frozen at the request.
struct Member {
    address node;
    uint96 stake;
}

/// What a drawn node is, and all it has said in the round. The first eight fields share a slot, written at the draw.
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

/// `eligible` ascends. `proposers`, `voters` (in the order of the draw) and `proposals` (ascending, empty before the
/// end of Training) are indices into it.
struct Round {
    RoundHeader header;
    Member[] eligible;
    uint8[] proposers;
    uint8[] voters;
    uint8[] proposals;
    mapping(address node => Seat) seats;
}

/// The round that a call works on, and its task's parameters.
struct OpenRound {
    uint64 task;
    uint32 number;
    TaskConfig config;
}

/// Reads of a stored round that both the machine and the settlement need.
library RoundState {
    /// The nodes at `indices` of the eligible ones, in that order.
    function nodesAt(Round storage round, uint8[] memory indices) internal view returns (address[] memory nodes) {
        nodes = new address[](indices.length);
        for (uint256 i; i < indices.length; ++i) {
            nodes[i] = round.eligible[indices[i]].node;
        }
    }

    /// Indices of the drawn proposers that have proposed, ascending.
    function proposed(Round storage round) internal view returns (uint8[] memory indices) {
        uint8[] memory proposers = round.proposers;
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
