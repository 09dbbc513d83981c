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

/// What the votes say of a proposal: Unscored when too few voters gave it a number, so that it has no median.
enum Standing {
    None,
    Unscored,
    Refused,
    Accepted
}

/// What a drawn node owed a round and did not give, from light to grave: it sent nothing, it committed and did not
/// reveal, its adapter was proven INVALID.
enum Fault {
    None,
    Absent,
    Unrevealed,
    Invalid
}

/// Whether a drawn node sent what it was asked for. NotAsked: the round ended before its turn came.
enum Attendance {
    NotAsked,
    Attended,
    Absent
}

/// Pending until the council waives it within the appeal window, or anyone executes it afterwards.
enum SlashStatus {
    Pending,
    Waived,
    Executed
}

/// What the council fixes for a task at its creation. Durations in seconds, shares in basis points. `proposers` and
/// `voters` are drawn in each round; `min…` are quorums; the attesting stake must be MORE than `attestationQuorumBps` of
/// the drawn voters' stake; `proposerShareBps` is the proposers' part of a round's reward; `absentBps`, `unrevealedBps`
/// and `invalidBps` are what a fault costs of the stake that was frozen; `trainingSeconds` bounds
/// the wait for the draw too; `closenessRangeMicronats` is how far from the
/// median a score still earns; `stakeCap` bounds a node's weight.
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
    uint16 absentBps;
    uint16 unrevealedBps;
    uint16 invalidBps;
    int32 acceptanceThresholdMicronats;
    uint32 closenessRangeMicronats;
    uint32 trainingSeconds;
    uint32 committingSeconds;
    uint32 revealingSeconds;
    uint32 attestingSeconds;
    uint96 stakeCap;
}

/// How a drawn node behaved in a round, and what it costs.
struct Conduct {
    address node;
    Attendance attendance;
    Fault fault;
    uint96 slash;
}

/// `eligibleStake` is the stake that counts in draws: 0 while the node is dismissed, or absent too many times running.
/// `unbonding` is on its way out; `absences` run since the node last attended.
struct NodeView {
    address node;
    address signer;
    uint64 group;
    bool admitted;
    uint256 stake;
    uint256 eligibleStake;
    uint256 unbonding;
    uint256 openRounds;
    uint256 pendingSlashes;
    uint256 absences;
}

/// An amount that leaves the stake; it can be withdrawn from `maturesAt` on.
struct UnbondingView {
    uint64 maturesAt;
    uint256 amount;
}

/// Also how a slash is stored, in two slots.
struct SlashView {
    address node;
    uint64 task;
    uint32 round;
    Fault fault;
    SlashStatus status;
    /// From then on it cannot be waived any more, and anyone may execute it.
    uint64 executableAt;
    uint96 amount;
}

/// `isOver`: no round will ever be opened again, and what is left of the pool goes back to the funders.
struct PoolView {
    uint256 pool;
    uint256 openReward;
    uint256 contributed;
    uint256 refunded;
    bool isPaused;
    bool isCancelled;
    bool isOver;
}

struct TaskView {
    TaskConfig config;
    uint32 roundsRequested;
    uint32 roundsClosed;
    bytes32 parentDigest;
    address[] approved;
    PoolView money;
}

struct ProposalView {
    address node;
    uint64 group;
    bytes32 adapterDigest;
    Standing standing;
    /// 0 where there is none.
    int32 medianMicronats;
    /// Whether two thirds of the stake that may score it call it INVALID.
    bool provenInvalid;
}

struct VoteView {
    address node;
    uint64 group;
    uint256 stake;
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
