// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {WrongWiring, ZeroAddress, ZeroAmount} from "../src/Errors.sol";
import {ConsortiumTest} from "./helpers/Consortium.sol";
import {vm} from "./helpers/Vm.sol";

/// What constructors refuse, and what the contracts know of one another.
contract WiringTest is ConsortiumTest {
    function test_TheContractsKnowOneAnother() public view {
        vm.assertEq(rounds.registry(), address(registry));
        vm.assertEq(rounds.tasks(), address(tasks));
        vm.assertEq(registry.rounds(), address(rounds));
        vm.assertEq(tasks.rounds(), address(rounds));
        vm.assertEq(registry.token(), address(token));
        vm.assertEq(tasks.token(), address(token));
        vm.assertEq(registry.unbondingSeconds(), UNBONDING_SECONDS);
        vm.assertEq(registry.appealSeconds(), APPEAL_SECONDS);
        vm.assertEq(registry.mostAbsences(), MOST_ABSENCES);
    }

    function test_ARegistryNeedsATokenRoundsAndAnAbsence() public {
        _refused("Registry.sol:Registry", abi.encode(address(0), council, address(1), 1, 1, 1), ZeroAddress.selector);
        _refused("Registry.sol:Registry", abi.encode(token, council, address(0), 1, 1, 1), ZeroAddress.selector);
        _refused("Registry.sol:Registry", abi.encode(token, council, address(1), 1, 1, 0), ZeroAmount.selector);
    }

    function test_TasksNeedATokenAndRounds() public {
        _refused("Tasks.sol:Tasks", abi.encode(address(0), council, address(1)), ZeroAddress.selector);
        _refused("Tasks.sol:Tasks", abi.encode(token, council, address(0)), ZeroAddress.selector);
    }

    function test_ContractsThatDoNotBelongTogetherAreRefused() public {
        address randomness = rounds.randomness();
        _refused("Rounds.sol:Rounds", abi.encode(registry, tasks, randomness), WrongWiring.selector);

        // Both name the rounds that come, and only one of them the same token.
        address future = vm.computeCreateAddress(address(this), vm.getNonce(address(this)) + 2);
        bytes memory arguments = abi.encode(address(token), council, future, 1, 1, 1);
        address otherRegistry = vm.deployCode("Registry.sol:Registry", arguments);
        address otherTasks = vm.deployCode("Tasks.sol:Tasks", abi.encode(address(2), council, future));
        _refused("Rounds.sol:Rounds", abi.encode(otherRegistry, otherTasks, randomness), WrongWiring.selector);
    }

    function test_ARegistryOfOtherRoundsIsRefused() public {
        address randomness = rounds.randomness();
        address future = vm.computeCreateAddress(address(this), vm.getNonce(address(this)) + 1);
        address otherTasks = vm.deployCode("Tasks.sol:Tasks", abi.encode(token, council, future));
        _refused("Rounds.sol:Rounds", abi.encode(registry, otherTasks, randomness), WrongWiring.selector);
    }

    function _refused(string memory artifact, bytes memory arguments, bytes4 reason) private {
        bytes memory code = bytes.concat(vm.getCode(artifact), arguments);
        bytes memory refusal;
        assembly ("memory-safe") {
            let created := create(0, add(code, 0x20), mload(code))
            refusal := mload(0x40)
            let size := mul(iszero(created), returndatasize())
            mstore(refusal, size)
            returndatacopy(add(refusal, 0x20), 0, size)
            mstore(0x40, add(add(refusal, 0x40), size))
        }
        vm.assertEq(refusal, abi.encodeWithSelector(reason));
    }
}
