// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {
    Approval,
    Attestation,
    Commit,
    Exit,
    Migration,
    Proposal,
    Return,
    Reveal,
    Revocation,
    Rotation
} from "../Messages.sol";

/// EIP-712 struct hashes of the messages, and the commitment that a reveal opens.
library MessageHash {
    bytes32 internal constant APPROVAL_TYPEHASH = keccak256(
        "Approval(address node,uint64 task,bytes32 specDigest,bytes32 policyDigest,uint256 nonce,uint64 expiry)"
    );
    bytes32 internal constant REVOCATION_TYPEHASH =
        keccak256("Revocation(address node,uint64 task,uint256 nonce,uint64 expiry)");
    bytes32 internal constant ROTATION_TYPEHASH =
        keccak256("Rotation(address node,address signer,uint256 nonce,uint64 expiry)");
    bytes32 internal constant EXIT_TYPEHASH =
        keccak256("Exit(address node,uint256 amount,uint256 nonce,uint64 expiry)");
    bytes32 internal constant MIGRATION_TYPEHASH =
        keccak256("Migration(address node,address successor,uint256 nonce,uint64 expiry)");
    bytes32 internal constant RETURN_TYPEHASH = keccak256("Return(address node,uint256 nonce,uint64 expiry)");
    bytes32 internal constant PROPOSAL_TYPEHASH = keccak256(
        "Proposal(address node,uint64 task,uint32 round,bytes16 context,bytes32 parentDigest,bytes32 adapterDigest,bytes32 reportDigest)"
    );
    bytes32 internal constant COMMIT_TYPEHASH =
        keccak256("Commit(address node,uint64 task,uint32 round,bytes16 context,bytes32 commitment)");
    bytes32 internal constant ATTESTATION_TYPEHASH = keccak256(
        "Attestation(address node,uint64 task,uint32 round,bytes16 context,bytes32 aggregateDigest,int32 score)"
    );

    function hash(Rotation calldata rotation) internal pure returns (bytes32) {
        return keccak256(abi.encode(ROTATION_TYPEHASH, rotation.node, rotation.signer, rotation.nonce, rotation.expiry));
    }

    function hash(Exit calldata exit) internal pure returns (bytes32) {
        return keccak256(abi.encode(EXIT_TYPEHASH, exit.node, exit.amount, exit.nonce, exit.expiry));
    }

    function hash(Migration calldata migration) internal pure returns (bytes32) {
        return keccak256(
            abi.encode(MIGRATION_TYPEHASH, migration.node, migration.successor, migration.nonce, migration.expiry)
        );
    }

    function hash(Return calldata message) internal pure returns (bytes32) {
        return keccak256(abi.encode(RETURN_TYPEHASH, message.node, message.nonce, message.expiry));
    }

    function hash(Revocation calldata revocation) internal pure returns (bytes32) {
        return keccak256(
            abi.encode(REVOCATION_TYPEHASH, revocation.node, revocation.task, revocation.nonce, revocation.expiry)
        );
    }

    function hash(Approval calldata approval) internal pure returns (bytes32) {
        return keccak256(
            abi.encode(
                APPROVAL_TYPEHASH,
                approval.node,
                approval.task,
                approval.specDigest,
                approval.policyDigest,
                approval.nonce,
                approval.expiry
            )
        );
    }

    function hash(Proposal calldata proposal) internal pure returns (bytes32) {
        return keccak256(
            abi.encode(
                PROPOSAL_TYPEHASH,
                proposal.node,
                proposal.task,
                proposal.round,
                proposal.context,
                proposal.parentDigest,
                proposal.adapterDigest,
                proposal.reportDigest
            )
        );
    }

    function hash(Commit calldata commit) internal pure returns (bytes32) {
        return keccak256(
            abi.encode(COMMIT_TYPEHASH, commit.node, commit.task, commit.round, commit.context, commit.commitment)
        );
    }

    function hash(Attestation calldata attestation) internal pure returns (bytes32) {
        return keccak256(
            abi.encode(
                ATTESTATION_TYPEHASH,
                attestation.node,
                attestation.task,
                attestation.round,
                attestation.context,
                attestation.aggregateDigest,
                attestation.score
            )
        );
    }

    /// keccak256(abi.encode(task, round, context, node, keccak256(scores, 32 bytes each), salt)).
    function commitment(Reveal calldata reveal) internal pure returns (bytes32) {
        bytes32 scoresHash = keccak256(abi.encodePacked(reveal.scores));
        return keccak256(abi.encode(reveal.task, reveal.round, reveal.context, reveal.node, scoresHash, reveal.salt));
    }
}
