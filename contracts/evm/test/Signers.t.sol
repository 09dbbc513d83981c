// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {WrongSignature} from "../src/Errors.sol";
import {Attestation, Commit, Proposal} from "../src/Messages.sol";
import {ConsortiumTest} from "./helpers/Consortium.sol";
import {Answer, ContractSigner} from "./helpers/ContractSigner.sol";
import {bound, vm} from "./helpers/Vm.sol";

/// Who may speak for a node in a round, and how: by signature, by sending itself, by a contract.
contract SignersTest is ConsortiumTest {
    uint64 private task;
    address private node;
    Proposal private proposal;
    bytes32 private digest;

    function setUp() public override {
        super.setUp();
        task = demo();
        node = openTraining(task).proposers[0];
        proposal = proposalOf(task, node);
        digest = digestOf(hashOf(proposal), address(rounds), block.chainid);
    }

    // ------------------------------------------------------------------------------------------ sending directly

    function test_TheSigningKeySendsEveryMessageUnsigned() public {
        address[] memory proposers = viewOf(task).proposers;
        for (uint256 i; i < 3; ++i) {
            Proposal memory own = proposalOf(task, proposers[i]);
            vm.prank(_signer(own.node));
            rounds.propose(own, "");
        }
        rounds.advance(task);
        int32[][] memory scores = allScores(task, 50_000);
        address[] memory voters = viewOf(task).voters;
        for (uint256 v; v < 4; ++v) {
            Commit memory own = commitTo(revealOf(task, voters[v], scores[v]));
            vm.prank(_signer(own.node));
            rounds.commit(own, "");
        }
        rounds.advance(task);
        for (uint256 v; v < 4; ++v) {
            rounds.reveal(revealOf(task, voters[v], scores[v]));
        }
        rounds.advance(task);
        for (uint256 v; v < 4; ++v) {
            Attestation memory own = attestationOf(task, voters[v], AGGREGATE, 1);
            vm.prank(_signer(own.node));
            rounds.attest(own, "");
        }
        rounds.advance(task);
        vm.assertEq(lens.taskOf(task).parentDigest, AGGREGATE);
    }

    function testFuzz_NobodyElseSendsUnsigned(address sender) public {
        vm.assume(sender != _signer(node));
        _refused(sender, "");
    }

    /// Work is signed by the signing key; the account that holds the money is another one.
    function test_TheOwnersAccountDoesNotSpeakInRounds() public {
        _refused(node, "");
        _refused(address(this), signTo(address(rounds), ownerKeyOf[node], hashOf(proposal)));
    }

    // ----------------------------------------------------------------------------------------- contract signers

    function testFuzz_AContractThatAcceptsSpeaks(address relayer, bytes calldata signature) public {
        _signedBy(Answer.Honest, digest);
        vm.prank(relayer);
        rounds.propose(proposal, signature);
        vm.assertEq(viewOf(task).proposals.length, 1);
    }

    function test_AContractSendsItselfUnsigned() public {
        address signer = _signedBy(Answer.Revert, 0);
        vm.prank(signer);
        rounds.propose(proposal, "");
    }

    function testFuzz_AContractThatRefusesDoesNotSpeak(bytes32 other, bytes calldata signature) public {
        vm.assume(other != digest);
        _signedBy(Answer.Honest, other);
        _refused(address(this), signature);
    }

    function test_AnyOtherAnswerIsNone() public {
        Answer[3] memory answers = [Answer.Revert, Answer.Short, Answer.OtherWord];
        for (uint256 i; i < 3; ++i) {
            _signedBy(answers[i], digest);
            _refused(address(this), "");
        }
    }

    /// For who relays: the lens says beforehand what the contracts will say.
    function testFuzz_TheLensSaysWhatIsTaken(uint8 kind, bool isOther, bytes calldata signature) public {
        Answer answer = Answer(kind % 6);
        address signer = _signedBy(answer, isOther ? bytes32(uint256(1)) : digest);
        bool isSigned = lens.isSignedBy{gas: 400_000}(signer, digest, signature);
        vm.assertEq(isSigned, !isOther && (answer == Answer.Honest || answer == Answer.Huge));
        if (!isSigned) return _refused(address(this), signature);
        rounds.propose(proposal, signature);
        vm.assertEq(viewOf(task).proposals.length, 1);
    }

    function testFuzz_TheLensKnowsKeys(uint256 key, bytes32 signed, bytes32 other) public view {
        key = bound(key, 1, type(uint128).max);
        vm.assume(signed != other);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, signed);
        bytes memory signature = abi.encodePacked(r, s, v);
        vm.assertTrue(lens.isSignedBy(vm.addr(key), signed, signature));
        vm.assertFalse(lens.isSignedBy(vm.addr(key), other, signature));
        vm.assertFalse(lens.isSignedBy(vm.addr(key + 1), signed, signature));
        vm.assertFalse(lens.isSignedBy(address(0), signed, ""));
    }

    /// Of the relayer's gas a signer burns no more than its cap, whatever it does.
    function test_BurningOrAnsweringHugelyCostsNoMoreThanTheCap() public {
        Answer[2] memory answers = [Answer.Burn, Answer.Huge];
        for (uint256 i; i < 2; ++i) {
            _signedBy(answers[i], 0);
            uint256 before = gasleft();
            _refused(address(this), "");
            vm.assertLt(before - gasleft(), 200_000);
        }
        _signedBy(Answer.Huge, digest);
        uint256 start = gasleft();
        rounds.propose(proposal, "");
        vm.assertLt(start - gasleft(), 250_000);
    }

    /// An account with delegated code keeps its key, whatever its code answers.
    function test_AnAccountWithDelegatedCodeKeepsItsKey() public {
        ContractSigner refusing = new ContractSigner(0, Answer.Revert);
        vm.etch(_signer(node), address(refusing).code);
        propose(proposal);
        vm.assertEq(viewOf(task).proposals.length, 1);
    }

    function testFuzz_AnAccountWithoutCodeNeedsItsKey(bytes calldata signature, uint256 key) public {
        key = bound(key, 10, 1e60);
        _refused(address(this), signature);
        _refused(address(this), signTo(address(rounds), key, hashOf(proposal)));
    }

    /// The other of the two signatures that ECDSA knows for the same key is refused.
    function test_AMalleatedSignatureIsRefused() public {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(keyOf[node], digest);
        uint256 order = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141;
        _refused(address(this), abi.encodePacked(r, bytes32(order - uint256(s)), v == 27 ? uint8(28) : uint8(27)));
    }

    function _signer(address account) private view returns (address) {
        return registry.signerOf(account);
    }

    function _signedBy(Answer answer, bytes32 accepted) private returns (address signer) {
        signer = address(new ContractSigner(accepted, answer));
        rotate(node, signer);
    }

    function _refused(address sender, bytes memory signature) private {
        bytes memory reason = abi.encodeWithSelector(WrongSignature.selector, _signer(node));
        vm.expectRevert(reason);
        vm.prank(sender);
        rounds.propose(proposal, signature);
    }
}
