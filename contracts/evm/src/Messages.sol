// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

/// The signed messages of the protocol (EIP-712). Field order and types are the wire format, shared with
/// `contracts/messages.py`. Messages without a round carry the node's next nonce at the contract that takes them, and an
/// expiry (unix seconds). The nonce is not looked at when the speaker sends the message itself; it is used up all the
/// same.

// Of the registry. Signed by the node's own account, Return by its signing key.

/// Replaces the signing key.
struct Rotation {
    address node;
    address signer;
    uint256 nonce;
    uint64 expiry;
}

/// Sends an amount of the stake on its way out.
struct Exit {
    address node;
    uint256 amount;
    uint256 nonce;
    uint64 expiry;
}

/// Moves what has matured to the successor's stakes instead of to the node's account.
struct Migration {
    address node;
    address successor;
    uint256 nonce;
    uint64 expiry;
}

/// The node is back after too many absences.
struct Return {
    address node;
    uint256 nonce;
    uint64 expiry;
}

// Of the tasks. Signed by the signing key.

struct Approval {
    address node;
    uint64 task;
    bytes32 specDigest;
    bytes32 policyDigest;
    uint256 nonce;
    uint64 expiry;
}

/// Takes an approval back, from the next round on.
struct Revocation {
    address node;
    uint64 task;
    uint256 nonce;
    uint64 expiry;
}

// Of the rounds. Signed by the signing key; a reveal by nobody.

struct Proposal {
    address node;
    uint64 task;
    uint32 round;
    bytes16 context;
    bytes32 parentDigest;
    bytes32 adapterDigest;
    bytes32 reportDigest;
}

struct Commit {
    address node;
    uint64 task;
    uint32 round;
    bytes16 context;
    bytes32 commitment;
}

/// Not signed: the commitment is its proof.
struct Reveal {
    address node;
    uint64 task;
    uint32 round;
    bytes16 context;
    int32[] scores;
    bytes32 salt;
}

struct Attestation {
    address node;
    uint64 task;
    uint32 round;
    bytes16 context;
    bytes32 aggregateDigest;
    int32 score;
}
