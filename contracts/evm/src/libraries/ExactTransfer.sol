// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";

import {InexactTransfer} from "../Errors.sol";

/// Takes tokens in, and refuses a token that keeps a part of what it moves.
library ExactTransfer {
    using SafeERC20 for IERC20;

    /// Moves `amount` from the caller to this contract.
    function pull(IERC20 token, uint256 amount) internal {
        uint256 before = token.balanceOf(address(this));
        token.safeTransferFrom(msg.sender, address(this), amount);
        uint256 moved = token.balanceOf(address(this)) - before;
        if (moved != amount) revert InexactTransfer(amount, moved);
    }
}
