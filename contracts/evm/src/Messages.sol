// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

/// The signed messages of the protocol (EIP-712). Field order and types are the wire format, shared with
/// `contracts/messages.py`.

struct Approval {
    address node;
    uint64 task;
    bytes32 specDigest;
    bytes32 policyDigest;
    uint64 nonce;
    uint64 expiry;
}

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
