// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Member, RoundHeader, Seat} from "../RoundState.sol";
import {Phase, Standing} from "../Types.sol";
import {Attestation, Commit, Proposal, Reveal} from "../Messages.sol";

/// The rounds: phases, messages, tally. EIP-712: domain `Collegium`, version `1`, this contract. Messages are signed by the node's signing key (an account, or an ERC-1271
/// contract that answers within 100,000 gas) and may be relayed by anyone; from the key's own account an empty signature
/// will do.
///
/// A phase's messages are accepted up to and including its deadline. `advance` moves the round on when all expected
/// messages are in or the deadline has passed:
///
/// - Requested: when the seed is known → Training; seed lost, or not drawn within the length of Training → Aborted.
/// - Training: all drawn proposers → Committing; fewer than `minProposals` → Aborted.
/// - Committing: all drawn voters → Revealing; fewer than `minReveals` commits → Aborted.
/// - Revealing: all who committed → Attesting; fewer than `minReveals` → Aborted; nothing accepted → Rejected.
/// - Attesting: all drawn voters → Final if more than the quorum's share of the drawn voters' stake names one digest and
///   the weighted median of the scores stated with it is at least 0; otherwise Rejected.
///
/// Messages carry the round's `context`, 16 bytes: the head of keccak256(abi.encode(…)) of
///
/// - Training: uint256 chain id, address of this contract, uint64 task, uint32 round, bytes32 parent digest, bytes32
///   seed, address[] proposers, address[] voters, both in the order of the draw;
/// - Committing and Revealing: bytes16 context of Training, address[] nodes, bytes32[] adapter digests of the proposals,
///   ascending by node;
/// - Attesting: bytes16 context of Committing, uint8[] standings, int32[] medians (0 where there is none), in the same
///   order.
///
/// It is 0 while Requested, and a closed round keeps its last one.
interface IRounds {
    /// The stakes are already capped; `eligible` ascends.
    event RoundRequested(
        uint64 indexed task,
        uint32 indexed round,
        bytes32 parentDigest,
        uint64 seedBlock,
        uint256 reward,
        address[] eligible,
        uint256[] stakes
    );
    /// The groups are those that count in this round.
    event Drawn(
        uint64 indexed task,
        uint32 indexed round,
        bytes32 seed,
        address[] proposers,
        address[] voters,
        uint64[] proposerGroups,
        uint64[] voterGroups
    );
    /// At every change after Requested, closing ones included. `deadline` is 0 of a closed round.
    event PhaseChanged(uint64 indexed task, uint32 indexed round, Phase phase, bytes16 context, uint64 deadline);
    /// A drawn proposer has proposed; the report's digest is kept nowhere else.
    event Proposed(
        uint64 indexed task, uint32 indexed round, address indexed node, bytes32 adapterDigest, bytes32 reportDigest
    );
    /// A drawn voter has committed to scores.
    event Committed(uint64 indexed task, uint32 indexed round, address indexed node, bytes32 commitment);
    /// `scores` follow the proposals, ascending by node.
    event Revealed(uint64 indexed task, uint32 indexed round, address indexed node, int32[] scores, bytes32 salt);
    /// Arrays follow the round's proposals, ascending by node.
    event Tallied(
        uint64 indexed task,
        uint32 indexed round,
        address[] nodes,
        Standing[] standings,
        int32[] mediansMicronats,
        bool[] provenInvalid
    );
    /// A drawn voter has stated the aggregate, and what it adds to the parent in millionths of a nat.
    event Attested(
        uint64 indexed task, uint32 indexed round, address indexed node, bytes32 aggregateDigest, int32 score
    );
    /// `parentDigest` is what the next round starts from.
    event RoundClosed(uint64 indexed task, uint32 indexed round, Phase phase, bytes32 parentDigest);
    /// An item of a batch was refused; `reason` is the selector of its error.
    event RelaySkipped(uint256 indexed index, bytes32 indexed messageHash, bytes4 reason);

    /// Opens the task's next round: freezes the eligible nodes and their stakes, and takes the round's reward out of the
    /// pool; anyone. Needs the last round closed.
    function requestRound(uint64 task) external returns (uint32 round);

    /// Moves the open round on if its phase is complete or past its deadline; anyone. Reverts `NotDue` otherwise.
    function advance(uint64 task) external returns (Phase phase);

    /// Closes the open round as Aborted, without faults; the tasks contract only.
    function abort(uint64 task) external;

    /// Records a drawn proposer's adapter, by digest. It may not repeat the parent, nor what a final round of the task
    /// has accepted; equal digests within a round are taken, and count once.
    function propose(Proposal calldata proposal, bytes calldata signature) external;

    /// Binds a drawn voter to scores that it does not show yet.
    function commit(Commit calldata message, bytes calldata signature) external;

    /// Shows the scores behind a commitment: one per proposal, in the proposals' order, each within ±8 nats or a
    /// sentinel. What it says about its own group's proposals is ignored.
    function reveal(Reveal calldata message) external;

    /// Records a drawn voter's word on the aggregate.
    function attest(Attestation calldata attestation, bytes calldata signature) external;

    /// Relays many messages of rounds, each the ABI encoding of a call of `propose`, `commit`, `reveal` or `attest`. What is
    /// refused is skipped with an event, so that nobody can spoil a batch by sending one of its items first.
    function relay(bytes[] calldata messages) external;

    /// Whether `advance(task)` would move the open round now.
    function isDue(uint64 task) external view returns (bool);
    /// `parentDigest` is what the next round starts from.
    function progressOf(uint64 task) external view returns (uint32 requested, uint32 closed, bytes32 parentDigest);
    /// Empty (phase None) for a round that was never requested. The Lens shows a whole round in one call.
    function headerOf(uint64 task, uint32 round) external view returns (RoundHeader memory);
    /// The eligible nodes as frozen at the request, ascending.
    function membersOf(uint64 task, uint32 round) external view returns (Member[] memory);
    /// Indices into the eligible nodes, in the order of the draw.
    function rolesOf(uint64 task, uint32 round) external view returns (uint8[] memory proposers, uint8[] memory voters);
    /// Empty for a node that was not drawn.
    function seatOf(uint64 task, uint32 round, address node) external view returns (Seat memory);
    /// Where nodes and stakes are.
    function registry() external view returns (address);
    /// Where tasks and pools are.
    function tasks() external view returns (address);
    /// Where seeds come from.
    function randomness() external view returns (address);
}
