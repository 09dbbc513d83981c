// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {AlreadySent, NotRelayable, WrongSignature} from "../src/Errors.sol";
import {IRounds} from "../src/interfaces/IRounds.sol";
import {Attestation, Commit, Proposal, Reveal} from "../src/Messages.sol";
import {Phase, RoundView} from "../src/Types.sol";
import {ConsortiumTest} from "./helpers/Consortium.sol";
import {Answer, ContractSigner} from "./helpers/ContractSigner.sol";
import {vm} from "./helpers/Vm.sol";

/// Many messages in one transaction.
contract RelayTest is ConsortiumTest {
    uint64 private task;
    address[] private proposers;
    address[] private voters;

    function setUp() public override {
        super.setUp();
        task = demo();
        RoundView memory round = openTraining(task);
        (proposers, voters) = (round.proposers, round.voters);
    }

    function testFuzz_AWholeRoundInFourTransactions(address relayer) public {
        _relay(relayer, _proposals());
        rounds.advance(task);
        int32[][] memory scores = allScores(task, 50_000);
        bytes[] memory commits = new bytes[](4);
        bytes[] memory reveals = new bytes[](4);
        for (uint256 v; v < 4; ++v) {
            Reveal memory reveal = revealOf(task, voters[v], scores[v]);
            Commit memory message = commitTo(reveal);
            commits[v] = abi.encodeCall(IRounds.commit, (message, sign(message.node, hashOf(message))));
            reveals[v] = abi.encodeCall(IRounds.reveal, (reveal));
        }
        _relay(relayer, commits);
        rounds.advance(task);
        _relay(relayer, reveals);
        rounds.advance(task);
        bytes[] memory attestations = new bytes[](4);
        for (uint256 v; v < 4; ++v) {
            Attestation memory message = attestationOf(task, voters[v], AGGREGATE, 1);
            attestations[v] = abi.encodeCall(IRounds.attest, (message, sign(message.node, hashOf(message))));
        }
        _relay(relayer, attestations);
        rounds.advance(task);
        assertPhase(task, Phase.Final);
    }

    function test_NothingIsABatchToo() public {
        rounds.relay(new bytes[](0));
    }

    function test_WhatWasSentBeforeIsSkippedAndTheRestTaken() public {
        bytes[] memory messages = _proposals();
        propose(proposalOf(task, proposers[1]));

        vm.expectEmit();
        emit IRounds.RelaySkipped(1, keccak256(messages[1]), AlreadySent.selector);
        rounds.relay(messages);

        vm.assertEq(viewOf(task).proposals.length, 3);
    }

    function test_TheSameTwiceIsTakenOnce() public {
        bytes[] memory messages = _proposals();
        messages[1] = messages[0];
        vm.expectEmit();
        emit IRounds.RelaySkipped(1, keccak256(messages[1]), AlreadySent.selector);
        rounds.relay(messages);
        vm.assertEq(viewOf(task).proposals.length, 2);
    }

    function testFuzz_WhatIsMalformedIsSkipped(bytes calldata garbage) public {
        bytes[] memory messages = _proposals();
        messages[0] = bytes.concat(IRounds.propose.selector, garbage);
        messages[1] = bytes.concat(IRounds.reveal.selector, garbage);
        rounds.relay(messages);
        vm.assertEq(viewOf(task).proposals.length, 1);
    }

    function test_AnAlteredItemIsSkipped() public {
        bytes[] memory messages = _proposals();
        Proposal memory altered = proposalOf(task, proposers[2]);
        bytes memory signature = sign(altered.node, hashOf(altered));
        altered.adapterDigest = keccak256("poison");
        messages[2] = abi.encodeCall(IRounds.propose, (altered, signature));
        vm.expectEmit();
        emit IRounds.RelaySkipped(2, keccak256(messages[2]), WrongSignature.selector);
        rounds.relay(messages);
        vm.assertEq(viewOf(task).proposals.length, 2);
    }

    /// Only messages of rounds go into a batch: it calls as the rounds contract itself.
    function testFuzz_OtherCallsAreRefused(bytes4 selector, bytes calldata rest) public {
        vm.assume(selector != IRounds.propose.selector && selector != IRounds.commit.selector);
        vm.assume(selector != IRounds.reveal.selector && selector != IRounds.attest.selector);
        bytes[] memory messages = _proposals();
        messages[2] = bytes.concat(selector, rest);
        vm.expectRevert(abi.encodeWithSelector(NotRelayable.selector, selector));
        rounds.relay(messages);
    }

    function test_TheMachineIsNotDrivenByABatch() public {
        bytes[] memory messages = new bytes[](1);
        messages[0] = abi.encodeCall(IRounds.abort, (task));
        _notRelayable(messages, IRounds.abort.selector);
        messages[0] = abi.encodeCall(IRounds.advance, (task));
        _notRelayable(messages, IRounds.advance.selector);
        messages[0] = abi.encodeCall(IRounds.relay, (new bytes[](0)));
        _notRelayable(messages, IRounds.relay.selector);
        messages[0] = hex"12";
        _notRelayable(messages, bytes4(0x12000000));
        messages[0] = "";
        _notRelayable(messages, 0);
    }

    /// In a batch the sender is the rounds contract: who relays for itself signs like the others.
    function test_AnUnsignedItemIsSkippedWhoeverRelays() public {
        Proposal memory own = proposalOf(task, proposers[0]);
        bytes[] memory messages = new bytes[](1);
        messages[0] = abi.encodeCall(IRounds.propose, (own, ""));
        address signer = registry.signerOf(own.node);
        vm.expectEmit();
        emit IRounds.RelaySkipped(0, keccak256(messages[0]), WrongSignature.selector);
        vm.prank(signer);
        rounds.relay(messages);
    }

    function test_AContractSignerCannotBurnTheBatchsGas() public {
        address burner = address(new ContractSigner(0, Answer.Burn));
        rotate(proposers[0], burner);
        bytes[] memory messages = _proposals();
        vm.expectEmit();
        emit IRounds.RelaySkipped(0, keccak256(messages[0]), WrongSignature.selector);
        uint256 before = gasleft();
        rounds.relay(messages);
        vm.assertLt(before - gasleft(), 450_000);
        vm.assertEq(viewOf(task).proposals.length, 2);
    }

    function test_WhatIsOfAnotherRoundIsSkipped() public {
        bytes[] memory messages = _proposals();
        passAndAdvance(task);
        openTraining(task, keccak256("another seed"));
        bytes[] memory old = new bytes[](1);
        old[0] = messages[0];
        rounds.relay(old);
        vm.assertEq(viewOf(task).proposals.length, 0);
    }

    function _proposals() private view returns (bytes[] memory messages) {
        messages = new bytes[](3);
        for (uint256 i; i < 3; ++i) {
            Proposal memory message = proposalOf(task, proposers[i]);
            messages[i] = abi.encodeCall(IRounds.propose, (message, sign(message.node, hashOf(message))));
        }
    }

    function _relay(address relayer, bytes[] memory messages) private {
        vm.prank(relayer);
        rounds.relay(messages);
    }

    function _notRelayable(bytes[] memory messages, bytes4 selector) private {
        vm.expectRevert(abi.encodeWithSelector(NotRelayable.selector, selector));
        rounds.relay(messages);
    }
}
