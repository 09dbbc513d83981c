// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Arrays} from "@openzeppelin/contracts/utils/Arrays.sol";

import {Sorting} from "../src/libraries/Sorting.sol";
import {bound, vm} from "./helpers/Vm.sol";

contract SortingTest {
    function testFuzz_AsOpenZeppelinSorts(address[] memory items) public pure {
        address[] memory copy = abi.decode(abi.encode(items), (address[]));
        vm.assertEq(Sorting.ascending(items), Arrays.sort(copy));
    }

    function testFuzz_NumbersAsOpenZeppelinSorts(uint256[] memory items) public pure {
        uint256[] memory copy = abi.decode(abi.encode(items), (uint256[]));
        vm.assertEq(Sorting.ascending(items), Arrays.sort(copy));
    }

    function testFuzz_RepeatedOnesStay(uint8[] memory small) public pure {
        address[] memory items = new address[](small.length);
        for (uint256 i; i < items.length; ++i) {
            items[i] = address(uint160(small[i] % 5));
        }
        address[] memory copy = abi.decode(abi.encode(items), (address[]));
        vm.assertEq(Sorting.ascending(items), Arrays.sort(copy));
    }

    /// Of every length up to the most nodes that may approve, in the order that costs a quicksort most.
    function testFuzz_WhatAscendsStays(uint256 length) public pure {
        address[] memory items = new address[](bound(length, 0, 256));
        for (uint256 i; i < items.length; ++i) {
            items[i] = address(uint160(i));
        }
        address[] memory copy = abi.decode(abi.encode(items), (address[]));
        vm.assertEq(Sorting.ascending(items), copy);
    }
}
