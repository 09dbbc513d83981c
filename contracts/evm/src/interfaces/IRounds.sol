// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Phase, RoundView, TaskView} from "../Types.sol";
import {Approval, Proposal, Commit, Reveal, Attestation} from "../Messages.sol";

/// The rounds: phases, messages, tally. Every message may be sent by anyone who holds it.
interface IRounds {
    event Approved(uint64 indexed task, address indexed node, bytes32 policyDigest);
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
    event Drawn(uint64 indexed task, uint32 indexed round, bytes32 seed, address[] proposers, address[] voters);
    /// `deadline` is 0 where the phase has none.
    event PhaseChanged(
        uint64 indexed task, uint32 indexed round, Phase phase, bytes16 context, uint64 deadline
    );
    event Proposed(
        uint64 indexed task, uint32 indexed round, address indexed node, bytes32 adapterDigest, bytes32 reportDigest
    );
    event Committed(uint64 indexed task, uint32 indexed round, address indexed node, bytes32 commitment);
    event Revealed(uint64 indexed task, uint32 indexed round, address indexed node, int32[] scores, bytes32 salt);
    /// Arrays follow the round's proposals, ascending by node.
    event Tallied(
        uint64 indexed task,
        uint32 indexed round,
        address[] nodes,
        bool[] accepted,
        bool[] hasMedian,
        int32[] mediansMicronats
    );
    event Attested(
        uint64 indexed task, uint32 indexed round, address indexed node, bytes32 aggregateDigest, int32 score
    );
    /// `parentDigest` is what the next round starts from.
    event RoundClosed(uint64 indexed task, uint32 indexed round, Phase phase, bytes32 parentDigest);

    function approve(Approval calldata approval, bytes calldata signature) external;

    /// Opens the task's next round: freezes the eligible nodes and their stakes; anyone. Needs the last round closed.
    function requestRound(uint64 task) external returns (uint32 round);
    /// Moves the open round on if its phase is complete or past its deadline; anyone. Reverts `NotDue` otherwise.
    function advance(uint64 task) external returns (Phase phase);

    function propose(Proposal calldata proposal, bytes calldata signature) external;
    function commit(Commit calldata commit_, bytes calldata signature) external;
    function reveal(Reveal calldata reveal_) external;
    function attest(Attestation calldata attestation, bytes calldata signature) external;

    /// Whether `advance(task)` would move the open round now.
    function isDue(uint64 task) external view returns (bool);
    function taskOf(uint64 task) external view returns (TaskView memory);
    function roundOf(uint64 task, uint32 round) external view returns (RoundView memory);
    /// The next unused approval nonce of a node.
    function nonceOf(address node) external view returns (uint64);
}
