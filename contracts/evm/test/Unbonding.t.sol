// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Unbonding} from "../src/libraries/Unbonding.sol";
import {UnbondingView} from "../src/Types.sol";
import {vm} from "./helpers/Vm.sol";

/// Any sequence of steps, against lists of times and amounts that nothing packs.
contract UnbondingTest {
    using Unbonding for Unbonding.Queue;

    Unbonding.Queue private queue;
    uint64[] private times;
    uint256[] private amounts;

    function testFuzz_AsAPlainListWouldBe(uint256[32] calldata steps) public {
        for (uint256 i; i < steps.length; ++i) {
            uint256 value = steps[i] >> 8;
            if (steps[i] % 5 < 2) _push(uint96(value % (type(uint96).max / 32)) + 1);
            else if (steps[i] % 5 < 4) _take(_share(value));
            else _pop(value % 30);
            _agree();
        }
    }

    function _push(uint96 amount) private {
        uint64 maturesAt = uint64(block.timestamp) + 50;
        queue.push(maturesAt, amount);
        if (times.length == Unbonding.MOST_ENTRIES) {
            amount += uint96(amounts[amounts.length - 1]);
            times.pop();
            amounts.pop();
        }
        times.push(maturesAt);
        amounts.push(amount);
    }

    function _take(uint256 most) private {
        uint256 expected;
        while (expected < most && times.length != 0) {
            uint256 last = amounts.length - 1;
            uint256 part = amounts[last] < most - expected ? amounts[last] : most - expected;
            expected += part;
            amounts[last] -= part;
            if (amounts[last] != 0) continue;
            times.pop();
            amounts.pop();
        }
        vm.assertEq(queue.takeLatest(most), expected);
    }

    function _pop(uint256 secondsLater) private {
        vm.warp(block.timestamp + secondsLater);
        uint256 expected;
        while (times.length != 0 && times[0] <= block.timestamp) {
            expected += amounts[0];
            for (uint256 i = 1; i < times.length; ++i) {
                (times[i - 1], amounts[i - 1]) = (times[i], amounts[i]);
            }
            times.pop();
            amounts.pop();
        }
        vm.assertEq(queue.popMature(), expected);
    }

    function _agree() private view {
        UnbondingView[] memory entries = queue.entries();
        vm.assertEq(entries.length, times.length);
        uint256 total;
        for (uint256 i; i < entries.length; ++i) {
            vm.assertEq(entries[i].maturesAt, times[i]);
            vm.assertEq(entries[i].amount, amounts[i]);
            total += amounts[i];
        }
        vm.assertEq(queue.total(), total);
    }

    /// Nothing, a part of what is there, exactly some of the entries, or more than all.
    function _share(uint256 value) private view returns (uint256) {
        uint256 total = queue.total();
        if (value % 7 == 0 || amounts.length == 0) return value % 3;
        if (value % 7 == 1) return total + value % 1000;
        if (value % 7 == 2) return amounts[amounts.length - 1];
        return value % (total + 1);
    }
}
