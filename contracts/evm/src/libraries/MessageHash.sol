// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Approval, Attestation, Commit, Proposal, Reveal} from "../Messages.sol";

/// EIP-712 struct hashes of the messages, and the commitment that a reveal opens.
library MessageHash {
    bytes32 internal constant APPROVAL_TYPEHASH = keccak256(
        "Approval(address node,uint64 task,bytes32 specDigest,bytes32 policyDigest,uint64 nonce,uint64 expiry)"
    );
    bytes32 internal constant PROPOSAL_TYPEHASH = keccak256(
        "Proposal(address node,uint64 task,uint32 round,bytes16 context,bytes32 parentDigest,bytes32 adapterDigest,bytes32 reportDigest)"
    );
    bytes32 internal constant COMMIT_TYPEHASH =
        keccak256("Commit(address node,uint64 task,uint32 round,bytes16 context,bytes32 commitment)");
    bytes32 internal constant ATTESTATION_TYPEHASH = keccak256(
        "Attestation(address node,uint64 task,uint32 round,bytes16 context,bytes32 aggregateDigest,int32 score)"
    );

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
