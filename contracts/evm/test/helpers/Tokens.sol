// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// Keeps a hundredth of what it moves.
contract FeeToken is ERC20 {
    bool public isFree = true;

    constructor() ERC20("Fee", "FEE") {}

    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    function charge() external {
        isFree = false;
    }

    function _update(address from, address to, uint256 amount) internal override {
        super._update(from, to, amount);
        if (!isFree && from != address(0) && to != address(0)) super._update(to, address(0), (amount + 99) / 100);
    }
}

/// Refuses to move nothing.
contract NoZeroToken is ERC20 {
    constructor() ERC20("No zero", "NZ") {}

    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    function _update(address from, address to, uint256 amount) internal override {
        require(amount != 0, "zero");
        super._update(from, to, amount);
    }
}

/// Calls back in the midst of a transfer.
contract ReentrantToken is ERC20 {
    address public target;
    bytes public message;
    bool public called;
    bool public taken;
    bytes public refusal;

    constructor() ERC20("Reentrant", "RE") {}

    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    /// Makes the next transfer call `target_` with `message_`.
    function arm(address target_, bytes calldata message_) external {
        (target, message, called) = (target_, message_, false);
    }

    function _update(address from, address to, uint256 amount) internal override {
        super._update(from, to, amount);
        if (target == address(0)) return;
        address once = target;
        (target, called) = (address(0), true);
        (taken, refusal) = once.call(message);
    }
}
