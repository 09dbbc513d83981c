// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {DoubleEndedQueue} from "@openzeppelin/contracts/utils/structs/DoubleEndedQueue.sol";

import {TooManyExits} from "../Errors.sol";
import {UnbondingView} from "../Types.sol";

/// Amounts on their way out of a stake, in the order in which they mature.
library Unbonding {
    using DoubleEndedQueue for DoubleEndedQueue.Bytes32Deque;

    /// Bounds the loops over a queue.
    uint256 internal constant MOST_ENTRIES = 4;

    /// An entry is its time of maturity (64 bits) above its amount (192 bits).
    struct Queue {
        uint256 total;
        DoubleEndedQueue.Bytes32Deque packed;
    }

    /// Adds an amount that matures no earlier than those before it.
    function push(Queue storage queue, uint64 maturesAt, uint256 amount) internal {
        if (queue.packed.length() == MOST_ENTRIES) revert TooManyExits(MOST_ENTRIES);
        queue.total += amount;
        queue.packed.pushBack(_pack(maturesAt, amount));
    }

    /// Takes out all that has matured.
    function popMature(Queue storage queue) internal returns (uint256 amount) {
        while (!queue.packed.empty()) {
            (uint64 maturesAt, uint256 first) = _unpack(queue.packed.front());
            if (block.timestamp < maturesAt) break;
            queue.packed.popFront();
            amount += first;
        }
        queue.total -= amount;
    }

    /// Takes out up to `most`, from what matures last.
    function takeLatest(Queue storage queue, uint256 most) internal returns (uint256 taken) {
        while (taken < most && !queue.packed.empty()) {
            (uint64 maturesAt, uint256 last) = _unpack(queue.packed.popBack());
            uint256 missing = most - taken;
            if (last > missing) {
                queue.packed.pushBack(_pack(maturesAt, last - missing));
                last = missing;
            }
            taken += last;
        }
        queue.total -= taken;
    }

    /// All entries, the first to mature first.
    function entries(Queue storage queue) internal view returns (UnbondingView[] memory views) {
        views = new UnbondingView[](queue.packed.length());
        for (uint256 i; i < views.length; ++i) {
            (views[i].maturesAt, views[i].amount) = _unpack(queue.packed.at(i));
        }
    }

    function _pack(uint64 maturesAt, uint256 amount) private pure returns (bytes32) {
        return bytes32((uint256(maturesAt) << 192) | amount);
    }

    function _unpack(bytes32 entry) private pure returns (uint64 maturesAt, uint256 amount) {
        // forge-lint: disable-next-line(unsafe-typecast) the upper 64 of 256 bits
        maturesAt = uint64(uint256(entry) >> 192);
        amount = uint256(entry) & type(uint192).max;
    }
}
