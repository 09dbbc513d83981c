// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

// A score: the sender holds bytes that match the digest, and they break the manifest.
int32 constant INVALID_SCORE = type(int32).min;
// A score: the sender could not get bytes that match the digest.
int32 constant UNAVAILABLE_SCORE = type(int32).min + 1;
// Scores are clipped to ±8 nats.
int32 constant SCORE_LIMIT_MICRONATS = 8_000_000;
// Bounds, so that no loop runs out of gas.
uint256 constant MAX_PROPOSERS = 16;
uint256 constant MAX_VOTERS = 64;
uint256 constant MAX_ELIGIBLE = 256;
uint256 constant BASIS_POINTS = 10_000;

/// The states of a round; see the protocol's state diagram. None: the round was never requested.
enum Phase {
    None,
    Requested,
    Training,
    Committing,
    Revealing,
    Attesting,
    Final,
    Rejected,
    Aborted
}

/// What is known of a seed: Pending until its block is sealed, Lost when it can no longer be read.
enum SeedStatus {
    Pending,
    Ready,
    Lost
}

/// What the council fixes for a task at its creation. Durations in seconds, shares in basis points. `proposers` and
/// `voters` are drawn in each round; `min…` are quorums; the attesting stake must be MORE than `attestationQuorumBps` of
/// the drawn voters' stake; `proposerShareBps` is the proposers' part of a round's reward; `closenessRangeMicronats` is
/// how far from the median a score still earns; `stakeCap` bounds a node's weight.
struct TaskConfig {
    bytes32 specDigest;
    bytes32 genesisDigest;
    uint32 rounds;
    uint8 proposers;
    uint8 voters;
    uint8 minProposals;
    uint8 minReveals;
    uint8 minScorers;
    uint16 attestationQuorumBps;
    uint16 proposerShareBps;
    int32 acceptanceThresholdMicronats;
    uint32 closenessRangeMicronats;
    uint32 trainingSeconds;
    uint32 committingSeconds;
    uint32 revealingSeconds;
    uint32 attestingSeconds;
    uint96 stakeCap;
}

struct NodeView {
    address node;
    address signer;
    uint64 group;
    bool admitted;
    uint256 stake;
}

struct TaskView {
    TaskConfig config;
    uint32 roundsRequested;
    uint32 roundsClosed;
    uint256 pool;
    bytes32 parentDigest;
    address[] approved;
}

struct ProposalView {
    address node;
    bytes32 adapterDigest;
    bool accepted;
    /// Whether enough voters scored it for a median.
    bool hasMedian;
    int32 medianMicronats;
}

struct VoteView {
    address node;
    bytes32 commitment;
    bool revealed;
    int32[] scores;
}

struct AttestationView {
    address node;
    bool attested;
    bytes32 aggregateDigest;
    int32 score;
}

/// A whole round, as one call. Arrays of nodes ascend by address except `proposers` and `voters`, which are in the
/// order of the draw. `votes` and `attestations` follow `voters`.
struct RoundView {
    Phase phase;
    bytes32 parentDigest;
    bytes32 aggregateDigest;
    uint64 requestBlock;
    uint64 seedBlock;
    bytes32 seed;
    bytes16 context;
    uint64 deadline;
    uint256 reward;
    address[] eligible;
    uint256[] stakes;
    address[] proposers;
    address[] voters;
    ProposalView[] proposals;
    VoteView[] votes;
    AttestationView[] attestations;
}
