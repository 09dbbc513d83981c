// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IERC1271} from "@openzeppelin/contracts/interfaces/IERC1271.sol";

/// How a contract signer answers.
enum Answer {
    /// Accepts one digest, as ERC-1271 says.
    Honest,
    /// Burns what gas it is given.
    Burn,
    Revert,
    /// As Honest, and a hundred kilobytes more.
    Huge,
    /// Less than a word.
    Short,
    /// Another word than that of ERC-1271.
    OtherWord
}

/// A signer that is a contract.
contract ContractSigner is IERC1271 {
    bytes32 public accepted;
    Answer public answer;

    constructor(bytes32 accepted_, Answer answer_) {
        (accepted, answer) = (accepted_, answer_);
    }

    function isValidSignature(bytes32 digest, bytes calldata signature) external view returns (bytes4) {
        bytes32 word = _accepts(digest, signature) ? bytes32(IERC1271.isValidSignature.selector) : bytes32(0);
        if (answer == Answer.Revert) revert();
        while (answer == Answer.Burn) {}
        if (answer == Answer.OtherWord) word |= bytes32(uint256(1));
        uint256 size = answer == Answer.Huge ? 100_000 : answer == Answer.Short ? 4 : 32;
        assembly {
            mstore(0, word)
            return(0, size)
        }
    }

    function _accepts(bytes32 digest, bytes calldata) internal view virtual returns (bool) {
        return digest == accepted;
    }
}
