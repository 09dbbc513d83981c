// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

import {UnbondingView} from "../Types.sol";

/// Amounts on their way out of a stake, in the order in which they mature.
library Unbonding {
    /// Bounds the loops over a queue.
    uint256 internal constant MOST_ENTRIES = 4;

    /// The entries from place 0 on; a place with no amount is free, and so are those after it. Two amounts share a slot,
    /// and the times have one of their own, which a slash leaves alone: it takes apart eighty queues in one transaction.
    struct Queue {
        uint96[MOST_ENTRIES] amounts;
        uint64[MOST_ENTRIES] maturesAt;
    }

    /// Adds an amount, not 0, that matures no earlier than those before it. When all places are taken it joins the last
    /// entry, which then matures with it: nobody is ever kept from leaving, and what matures earlier keeps its time.
    function push(Queue storage queue, uint64 maturesAt, uint96 amount) internal {
        uint256 place = Math.min(length(queue), MOST_ENTRIES - 1);
        queue.amounts[place] += amount;
        queue.maturesAt[place] = maturesAt;
    }

    /// Takes out all that has matured.
    function popMature(Queue storage queue) internal returns (uint256 amount) {
        uint256 size = length(queue);
        uint256 mature;
        while (mature < size && block.timestamp >= queue.maturesAt[mature]) {
            amount += queue.amounts[mature];
            ++mature;
        }
        if (mature == 0) return 0;
        for (uint256 i; i < size; ++i) {
            uint256 next = i + mature;
            bool stays = next < size;
            queue.amounts[i] = stays ? queue.amounts[next] : 0;
            queue.maturesAt[i] = stays ? queue.maturesAt[next] : 0;
        }
    }

    /// Takes out up to `most`, from what matures last.
    function takeLatest(Queue storage queue, uint256 most) internal returns (uint256 taken) {
        if (most == 0) return 0;
        uint96[MOST_ENTRIES] memory amounts = queue.amounts;
        for (uint256 i = MOST_ENTRIES; i != 0; --i) {
            uint256 part = Math.min(amounts[i - 1], most - taken);
            // forge-lint: disable-next-line(unsafe-typecast) at most the amount
            amounts[i - 1] -= uint96(part);
            taken += part;
        }
        queue.amounts = amounts;
    }

    /// How many amounts are on their way out.
    function length(Queue storage queue) internal view returns (uint256 size) {
        while (size < MOST_ENTRIES && queue.amounts[size] != 0) ++size;
    }

    /// All that is on its way out.
    function total(Queue storage queue) internal view returns (uint256 sum) {
        for (uint256 i; i < MOST_ENTRIES; ++i) {
            sum += queue.amounts[i];
        }
    }

    /// All entries, the first to mature first.
    function entries(Queue storage queue) internal view returns (UnbondingView[] memory views) {
        views = new UnbondingView[](length(queue));
        for (uint256 i; i < views.length; ++i) {
            (views[i].maturesAt, views[i].amount) = (queue.maturesAt[i], queue.amounts[i]);
        }
    }
}
