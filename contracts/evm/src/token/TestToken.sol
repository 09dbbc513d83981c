// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {ERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";

/// A token for demonstrations and tests: its owner mints at will. It has no place on a chain of value.
contract TestToken is ERC20, ERC20Permit, Ownable {
    constructor(address owner)
        ERC20("Collegium Test Token", "CTT")
        ERC20Permit("Collegium Test Token")
        Ownable(owner)
    {}

    function mint(address to, uint256 amount) external onlyOwner {
        _mint(to, amount);
    }
}
