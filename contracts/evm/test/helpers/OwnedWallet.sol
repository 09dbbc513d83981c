// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";

import {Answer, ContractSigner} from "./ContractSigner.sol";

/// A wallet that has signed what its owner's key signed. The hub's tests deploy it on a real node.
contract OwnedWallet is ContractSigner {
    address public immutable owner;

    constructor(address owner_, Answer answer_) ContractSigner(0, answer_) {
        owner = owner_;
    }

    function _accepts(bytes32 digest, bytes calldata signature) internal view override returns (bool) {
        (address recovered,,) = ECDSA.tryRecoverCalldata(digest, signature);
        return recovered == owner;
    }
}
