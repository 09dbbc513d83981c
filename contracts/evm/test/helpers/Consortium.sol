// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {Nonces} from "@openzeppelin/contracts/utils/Nonces.sol";

import {ILens} from "../../src/interfaces/ILens.sol";
import {IRegistry} from "../../src/interfaces/IRegistry.sol";
import {IRounds} from "../../src/interfaces/IRounds.sol";
import {ITasks} from "../../src/interfaces/ITasks.sol";
import {
    Approval,
    Attestation,
    Commit,
    Exit,
    Migration,
    Proposal,
    Return,
    Reveal,
    Revocation,
    Rotation
} from "../../src/Messages.sol";
import {Phase, RoundView, TaskConfig} from "../../src/Types.sol";
import {vm} from "./Vm.sol";

interface IMintable is IERC20 {
    function mint(address to, uint256 amount) external;
}

/// A deployed consortium with admitted, staked nodes, and each step of a round as one call.
abstract contract Consortium {
    uint256 internal constant TOKEN = 1e18;
    bytes32 internal constant SPEC = keccak256("spec");
    bytes32 internal constant GENESIS = keccak256("genesis");
    bytes32 internal constant AGGREGATE = keccak256("aggregate");
    bytes32 internal constant SALT = keccak256("salt");
    uint32 internal constant UNBONDING_SECONDS = 14 days;
    uint32 internal constant APPEAL_SECONDS = 3 days;
    uint8 internal constant MOST_ABSENCES = 3;

    address internal council = address(0xC0);
    IMintable internal token;
    IRegistry internal registry;
    ITasks internal tasks;
    IRounds internal rounds;
    ILens internal lens;

    address[] internal admitted;
    /// Of the signing key, and of the node's own account.
    mapping(address node => uint256) internal keyOf;
    mapping(address node => uint256) internal ownerKeyOf;

    function deploy() internal {
        deployOn(IMintable(vm.deployCode("TestToken.sol:TestToken", abi.encode(council))));
    }

    /// The contracts around a token of the test's own choice.
    function deployOn(IMintable token_) internal {
        vm.roll(1000);
        vm.warp(1_800_000_000);
        token = token_;
        address randomness = vm.deployCode("BlockhashRandomness.sol:BlockhashRandomness");
        address futureRounds = vm.computeCreateAddress(address(this), vm.getNonce(address(this)) + 2);
        registry = deployRegistry(futureRounds);
        tasks = ITasks(vm.deployCode("Tasks.sol:Tasks", abi.encode(token, council, futureRounds)));
        rounds = IRounds(vm.deployCode("Rounds.sol:Rounds", abi.encode(registry, tasks, randomness)));
        lens = ILens(vm.deployCode("Lens.sol:Lens", abi.encode(rounds)));
        mint(address(this), 1e22 * TOKEN);
        token.approve(address(registry), type(uint256).max);
        token.approve(address(tasks), type(uint256).max);
    }

    function deployRegistry(address rounds_) internal returns (IRegistry) {
        bytes memory arguments = abi.encode(token, council, rounds_, UNBONDING_SECONDS, APPEAL_SECONDS, MOST_ABSENCES);
        return IRegistry(vm.deployCode("Registry.sol:Registry", arguments));
    }

    // ------------------------------------------------------------------------------------------------ set-up steps

    function mint(address to, uint256 amount) internal {
        vm.prank(council);
        token.mint(to, amount);
    }

    /// Admits a node with keys of its own, in a group of its own, and stakes for it.
    function admitNode(uint256 number, uint256 stake) internal returns (address) {
        return admitNode(number, stake, uint64(number));
    }

    function admitNode(uint256 number, uint256 stake, uint64 group) internal returns (address node) {
        node = vm.addr(number + 1e9);
        (keyOf[node], ownerKeyOf[node]) = (number, number + 1e9);
        vm.prank(council);
        registry.admit(node, vm.addr(number), group);
        if (stake != 0) registry.deposit(node, stake);
        admitted.push(node);
    }

    /// Four nodes with 100, 200, 300 and 400 tokens at stake.
    function admitFour() internal {
        for (uint256 i = 1; i <= 4; ++i) {
            admitNode(i, i * 100 * TOKEN);
        }
    }

    function demoConfig() internal pure returns (TaskConfig memory) {
        return TaskConfig({
            specDigest: SPEC,
            genesisDigest: GENESIS,
            rounds: 3,
            proposers: 3,
            voters: 4,
            minProposals: 2,
            minReveals: 3,
            minScorers: 2,
            attestationQuorumBps: 5000,
            proposerShareBps: 6000,
            absentBps: 100,
            unrevealedBps: 500,
            invalidBps: 2000,
            acceptanceThresholdMicronats: -250_000,
            closenessRangeMicronats: 1_000_000,
            trainingSeconds: 400,
            committingSeconds: 300,
            revealingSeconds: 100,
            attestingSeconds: 200,
            stakeCap: uint96(1000 * TOKEN)
        });
    }

    function createTask(TaskConfig memory config, uint256 pool) internal returns (uint64 task) {
        vm.prank(council);
        task = tasks.createTask(config);
        if (pool != 0) tasks.fund(task, pool);
    }

    /// Four nodes, one funded demo task that all approve.
    function demo() internal returns (uint64 task) {
        admitFour();
        task = createTask(demoConfig(), 3000 * TOKEN);
        approveAll(task);
    }

    function approveAll(uint64 task) internal {
        for (uint256 i; i < admitted.length; ++i) {
            approve(task, admitted[i]);
        }
    }

    function approve(uint64 task, address node) internal {
        approve(approvalOf(task, node));
    }

    function approve(Approval memory approval) internal {
        tasks.approve(approval, signTo(address(tasks), keyOf[approval.node], hashOf(approval)));
    }

    function approvalOf(uint64 task, address node) internal view returns (Approval memory) {
        return Approval({
            node: node,
            task: task,
            specDigest: SPEC,
            policyDigest: keccak256("policy"),
            nonce: nonceAt(address(tasks), node),
            expiry: inAnHour()
        });
    }

    function revoke(uint64 task, address node) internal {
        Revocation memory revocation = revocationOf(task, node);
        tasks.revoke(revocation, signTo(address(tasks), keyOf[node], hashOf(revocation)));
    }

    function revocationOf(uint64 task, address node) internal view returns (Revocation memory) {
        return Revocation({node: node, task: task, nonce: nonceAt(address(tasks), node), expiry: inAnHour()});
    }

    /// A contract's next nonce for a node.
    function nonceAt(address verifyingContract, address node) internal view returns (uint256) {
        return Nonces(verifyingContract).nonces(node);
    }

    function inAnHour() internal view returns (uint64) {
        return uint64(block.timestamp + 1 hours);
    }

    // ------------------------------------------------------------------------------------------------- node steps

    function exitOf(address node, uint256 amount) internal view returns (Exit memory) {
        return Exit({node: node, amount: amount, nonce: nonceAt(address(registry), node), expiry: inAnHour()});
    }

    function exit(address node, uint256 amount) internal {
        exit(exitOf(node, amount));
    }

    function exit(Exit memory message) internal {
        registry.exit(message, signAsOwner(message.node, hashOf(message)));
    }

    function migrationOf(address node, address successor) internal view returns (Migration memory) {
        return
            Migration({node: node, successor: successor, nonce: nonceAt(address(registry), node), expiry: inAnHour()});
    }

    function migrate(Migration memory message) internal returns (uint256) {
        return registry.migrate(message, signAsOwner(message.node, hashOf(message)));
    }

    function rotationOf(address node, address signer) internal view returns (Rotation memory) {
        return Rotation({node: node, signer: signer, nonce: nonceAt(address(registry), node), expiry: inAnHour()});
    }

    function rotate(Rotation memory message) internal {
        registry.rotate(message, signAsOwner(message.node, hashOf(message)));
    }

    function rotate(address node, address signer) internal {
        rotate(rotationOf(node, signer));
    }

    function returnOf(address node) internal view returns (Return memory) {
        return Return({node: node, nonce: nonceAt(address(registry), node), expiry: inAnHour()});
    }

    function comeBack(Return memory message) internal {
        registry.comeBack(message, signTo(address(registry), keyOf[message.node], hashOf(message)));
    }

    function stakeOf(address node) internal view returns (uint256) {
        return registry.nodeOf(node).stake;
    }

    // ------------------------------------------------------------------------------------------------ round steps

    function viewOf(uint64 task) internal view returns (RoundView memory) {
        return lens.roundOf(task, lens.taskOf(task).roundsRequested);
    }

    /// Requests a round and draws it with `seed`.
    function openTraining(uint64 task, bytes32 seed) internal returns (RoundView memory) {
        rounds.requestRound(task);
        uint256 seedBlock = viewOf(task).seedBlock;
        vm.roll(seedBlock + 1);
        vm.setBlockhash(seedBlock, seed);
        rounds.advance(task);
        return viewOf(task);
    }

    function openTraining(uint64 task) internal returns (RoundView memory) {
        return openTraining(task, keccak256("seed"));
    }

    /// What a node trains in the round with this context.
    function adapterOf(address node, bytes16 context) internal pure returns (bytes32) {
        return keccak256(abi.encode("adapter", node, context));
    }

    function proposalOf(uint64 task, address node) internal view returns (Proposal memory) {
        RoundView memory round = viewOf(task);
        return Proposal({
            node: node,
            task: task,
            round: lens.taskOf(task).roundsRequested,
            context: round.context,
            parentDigest: round.parentDigest,
            adapterDigest: adapterOf(node, round.context),
            reportDigest: keccak256("report")
        });
    }

    function propose(Proposal memory proposal) internal {
        rounds.propose(proposal, sign(proposal.node, hashOf(proposal)));
    }

    /// All drawn proposers propose; the round moves on.
    function openCommitting(uint64 task) internal returns (RoundView memory) {
        address[] memory proposers = openTraining(task).proposers;
        for (uint256 i; i < proposers.length; ++i) {
            propose(proposalOf(task, proposers[i]));
        }
        rounds.advance(task);
        return viewOf(task);
    }

    function revealOf(uint64 task, address node, int32[] memory scores) internal view returns (Reveal memory) {
        return Reveal({
            node: node,
            task: task,
            round: lens.taskOf(task).roundsRequested,
            context: viewOf(task).context,
            scores: scores,
            salt: SALT
        });
    }

    function commitTo(Reveal memory reveal) internal pure returns (Commit memory) {
        bytes memory scores;
        for (uint256 i; i < reveal.scores.length; ++i) {
            scores = bytes.concat(scores, abi.encode(reveal.scores[i]));
        }
        return Commit({
            node: reveal.node,
            task: reveal.task,
            round: reveal.round,
            context: reveal.context,
            commitment: keccak256(
                abi.encode(reveal.task, reveal.round, reveal.context, reveal.node, keccak256(scores), reveal.salt)
            )
        });
    }

    function commit(Commit memory message) internal {
        rounds.commit(message, sign(message.node, hashOf(message)));
    }

    /// Every voter commits to `scores[v]`, reveals them, and the round moves on. An empty array is a silent voter.
    function vote(uint64 task, int32[][] memory scores) internal returns (RoundView memory) {
        commitAll(task, scores);
        address[] memory voters = viewOf(task).voters;
        for (uint256 v; v < voters.length; ++v) {
            if (scores[v].length != 0) rounds.reveal(revealOf(task, voters[v], scores[v]));
        }
        rounds.advance(task);
        return viewOf(task);
    }

    /// Every voter commits to `scores[v]` (unless empty), and the round moves on.
    function commitAll(uint64 task, int32[][] memory scores) internal {
        address[] memory voters = viewOf(task).voters;
        for (uint256 v; v < voters.length; ++v) {
            if (scores[v].length != 0) commit(commitTo(revealOf(task, voters[v], scores[v])));
        }
        if (!rounds.isDue(task)) passDeadline(task);
        rounds.advance(task);
    }

    function attestationOf(uint64 task, address node, bytes32 digest, int32 score)
        internal
        view
        returns (Attestation memory)
    {
        return Attestation({
            node: node,
            task: task,
            round: lens.taskOf(task).roundsRequested,
            context: viewOf(task).context,
            aggregateDigest: digest,
            score: score
        });
    }

    function attest(Attestation memory attestation) internal {
        rounds.attest(attestation, sign(attestation.node, hashOf(attestation)));
    }

    /// Every voter attests to the same aggregate, and the round closes.
    function attestAll(uint64 task, int32 score) internal returns (RoundView memory) {
        address[] memory voters = viewOf(task).voters;
        for (uint256 v; v < voters.length; ++v) {
            attest(attestationOf(task, voters[v], AGGREGATE, score));
        }
        rounds.advance(task);
        return viewOf(task);
    }

    /// A whole round in which all goes well.
    function finalRound(uint64 task) internal returns (RoundView memory) {
        openCommitting(task);
        vote(task, allScores(task, 50_000));
        return attestAll(task, 1);
    }

    /// Closes the open round of the demo task with faults of all its proposers: none proposes.
    function absentRound(uint64 task) internal returns (RoundView memory) {
        openTraining(task);
        return passAndAdvance(task);
    }

    function passAndAdvance(uint64 task) internal returns (RoundView memory) {
        passDeadline(task);
        rounds.advance(task);
        return viewOf(task);
    }

    function pause(uint64 task) internal {
        vm.prank(council);
        tasks.pause(task);
    }

    function unpause(uint64 task) internal {
        vm.prank(council);
        tasks.unpause(task);
    }

    function cancel(uint64 task) internal {
        vm.prank(council);
        tasks.cancel(task);
    }

    function dismiss(address node) internal {
        vm.prank(council);
        registry.dismiss(node);
    }

    /// Funds a task from an account of its own.
    function fundFrom(address funder, uint64 task, uint256 amount) internal {
        mint(funder, amount);
        vm.startPrank(funder);
        token.approve(address(tasks), amount);
        tasks.fund(task, amount);
        vm.stopPrank();
    }

    function assertPhase(uint64 task, Phase phase) internal view {
        vm.assertEq(uint256(viewOf(task).phase), uint256(phase));
    }

    function passDeadline(uint64 task) internal {
        uint256 deadline = viewOf(task).deadline;
        if (block.timestamp <= deadline) vm.warp(deadline + 1);
    }

    /// The same scores of every drawn voter on every proposal.
    function allScores(uint64 task, int32 score) internal view returns (int32[][] memory scores) {
        RoundView memory round = viewOf(task);
        scores = new int32[][](round.voters.length);
        for (uint256 v; v < scores.length; ++v) {
            scores[v] = new int32[](round.proposals.length);
            for (uint256 p; p < scores[v].length; ++p) {
                scores[v][p] = score;
            }
        }
    }

    // --------------------------------------------------------------------------- EIP-712, written out a second time

    /// A message of a round, by the node's signing key.
    function sign(address node, bytes32 structHash) internal view returns (bytes memory) {
        return signTo(address(rounds), keyOf[node], structHash);
    }

    /// A message to the registry, by the node's own account.
    function signAsOwner(address node, bytes32 structHash) internal view returns (bytes memory) {
        return signTo(address(registry), ownerKeyOf[node], structHash);
    }

    function signTo(address verifyingContract, uint256 key, bytes32 structHash) internal view returns (bytes memory) {
        return signWith(key, structHash, verifyingContract, block.chainid);
    }

    function signWith(uint256 key, bytes32 structHash, address verifyingContract, uint256 chainId)
        internal
        pure
        returns (bytes memory)
    {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digestOf(structHash, verifyingContract, chainId));
        return abi.encodePacked(r, s, v);
    }

    function digestOf(bytes32 structHash, address verifyingContract, uint256 chainId) internal pure returns (bytes32) {
        bytes32 domain = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256("Collegium"),
                keccak256("1"),
                chainId,
                verifyingContract
            )
        );
        return keccak256(abi.encodePacked("\x19\x01", domain, structHash));
    }

    function hashOf(Approval memory message) internal pure returns (bytes32) {
        return keccak256(
            bytes.concat(
                keccak256(
                    "Approval(address node,uint64 task,bytes32 specDigest,bytes32 policyDigest,uint256 nonce,uint64 expiry)"
                ),
                abi.encode(message)
            )
        );
    }

    function hashOf(Revocation memory message) internal pure returns (bytes32) {
        return keccak256(
            bytes.concat(
                keccak256("Revocation(address node,uint64 task,uint256 nonce,uint64 expiry)"), abi.encode(message)
            )
        );
    }

    function hashOf(Rotation memory message) internal pure returns (bytes32) {
        return keccak256(
            bytes.concat(
                keccak256("Rotation(address node,address signer,uint256 nonce,uint64 expiry)"), abi.encode(message)
            )
        );
    }

    function hashOf(Exit memory message) internal pure returns (bytes32) {
        return keccak256(
            bytes.concat(
                keccak256("Exit(address node,uint256 amount,uint256 nonce,uint64 expiry)"), abi.encode(message)
            )
        );
    }

    function hashOf(Migration memory message) internal pure returns (bytes32) {
        return keccak256(
            bytes.concat(
                keccak256("Migration(address node,address successor,uint256 nonce,uint64 expiry)"), abi.encode(message)
            )
        );
    }

    function hashOf(Return memory message) internal pure returns (bytes32) {
        return
            keccak256(bytes.concat(keccak256("Return(address node,uint256 nonce,uint64 expiry)"), abi.encode(message)));
    }

    function hashOf(Proposal memory message) internal pure returns (bytes32) {
        return keccak256(
            bytes.concat(
                keccak256(
                    "Proposal(address node,uint64 task,uint32 round,bytes16 context,bytes32 parentDigest,bytes32 adapterDigest,bytes32 reportDigest)"
                ),
                abi.encode(message)
            )
        );
    }

    function hashOf(Commit memory message) internal pure returns (bytes32) {
        return keccak256(
            bytes.concat(
                keccak256("Commit(address node,uint64 task,uint32 round,bytes16 context,bytes32 commitment)"),
                abi.encode(message)
            )
        );
    }

    function hashOf(Attestation memory message) internal pure returns (bytes32) {
        return keccak256(
            bytes.concat(
                keccak256(
                    "Attestation(address node,uint64 task,uint32 round,bytes16 context,bytes32 aggregateDigest,int32 score)"
                ),
                abi.encode(message)
            )
        );
    }
}

/// A test that starts with a deployed consortium without nodes or tasks.
abstract contract ConsortiumTest is Consortium {
    function setUp() public virtual {
        deploy();
    }
}
