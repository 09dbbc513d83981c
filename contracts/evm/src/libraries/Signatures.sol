// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IERC1271} from "@openzeppelin/contracts/interfaces/IERC1271.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";

import {Expired, WrongSignature} from "../Errors.sol";

/// Who spoke: the account itself as the sender, its key (ECDSA), or its contract (ERC-1271).
library Signatures {
    /// What a contract signer may spend on checking its signature.
    uint256 internal constant CONTRACT_SIGNATURE_GAS = 100_000;

    /// Refuses a digest that `account` neither sends itself nor has signed.
    function requireFrom(address account, bytes32 digest, bytes calldata signature) internal view {
        if (msg.sender == account || isBy(account, digest, signature)) return;
        revert WrongSignature(account);
    }

    /// Whether `account`, not the zero address, has signed the digest. ECDSA is tried first, so that an account with delegated
    /// code keeps its key.
    function isBy(address account, bytes32 digest, bytes calldata signature) internal view returns (bool) {
        (address recovered,,) = ECDSA.tryRecoverCalldata(digest, signature);
        return recovered == account || (account.code.length != 0 && _contractSigned(account, digest, signature));
    }

    /// Refuses a message whose time is over.
    function requireNotExpired(uint64 expiry) internal view {
        if (block.timestamp > expiry) revert Expired(expiry);
    }

    /// OpenZeppelin's SignatureChecker has no gas cap; a relayer must not pay for whatever a signer's contract does. The
    /// answer is read into one word, so that a long one costs nothing.
    function _contractSigned(address account, bytes32 digest, bytes calldata signature)
        private
        view
        returns (bool accepted)
    {
        bytes memory query = abi.encodeCall(IERC1271.isValidSignature, (digest, signature));
        bytes32 magic = bytes32(IERC1271.isValidSignature.selector);
        assembly ("memory-safe") {
            mstore(0, 0)
            let answered := staticcall(CONTRACT_SIGNATURE_GAS, account, add(query, 0x20), mload(query), 0, 0x20)
            accepted := and(and(answered, gt(returndatasize(), 0x1f)), eq(mload(0), magic))
        }
    }
}
