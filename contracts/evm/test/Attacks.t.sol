// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Nonces} from "@openzeppelin/contracts/utils/Nonces.sol";

import {NoOpenRound, WrongCommitment, WrongContext, WrongPhase, WrongSignature} from "../src/Errors.sol";
import {SettlementMath} from "../src/libraries/SettlementMath.sol";
import {Attestation, Commit, Exit, Proposal, Reveal, Rotation} from "../src/Messages.sol";
import {INVALID_SCORE, Phase, RoundView, Standing, TaskConfig} from "../src/Types.sol";
import {ConsortiumTest} from "./helpers/Consortium.sol";
import {bound, vm} from "./helpers/Vm.sol";

/// The attacks of the protocol's table that the chain is meant to stop and that no verb's own file has; see README.md.
contract AttacksTest is ConsortiumTest {
    uint64 private task;

    function setUp() public override {
        super.setUp();
        task = demo();
    }

    // ------------------------------------------------------------------------------------------------- a network

    function test_APoisonedAdapterIsVotedOutAndEarnsNothingForItsMaker() public {
        RoundView memory round = openCommitting(task);
        int32[][] memory scores = allScores(task, 90_000);
        for (uint256 v; v < 4; ++v) {
            // Its maker praises it, and is not heard.
            scores[v][1] = round.voters[v] == round.proposals[1].node ? int32(8_000_000) : -2_200_000;
        }
        RoundView memory tallied = vote(task, scores);
        vm.assertEq(uint256(tallied.proposals[1].standing), uint256(Standing.Refused));
        vm.assertEq(tallied.proposals[1].medianMicronats, -2_200_000);
        attestAll(task, 1);
        assertPhase(task, Phase.Final);
        uint256 byStakeAndCloseness = 400 * TOKEN * keyOf[round.proposals[1].node] / 10;
        vm.assertEq(tasks.claimableOf(round.proposals[1].node), byStakeAndCloseness);
        vm.assertEq(registry.slashCount(), 0);
    }

    /// Voters with less than two thirds of the stake that may score an adapter never get its maker slashed.
    function testFuzz_LessThanTwoThirdsNeverProveAnAdapterInvalid(uint96[8] memory stakes, uint8 liars) public pure {
        SettlementMath.Voter[] memory voters = new SettlementMath.Voter[](8);
        uint256 total;
        uint256 lying;
        for (uint256 v; v < 8; ++v) {
            uint256 stake = bound(stakes[v], 1, 1e28);
            bool lies = (liars >> v) & 1 != 0;
            int32[] memory scores = new int32[](1);
            scores[0] = lies ? INVALID_SCORE : int32(50_000);
            voters[v] = SettlementMath.Voter({group: uint64(v + 2), stake: stake, scores: scores, earns: true});
            total += stake;
            if (lies) lying += stake;
        }
        SettlementMath.Candidate[] memory candidates = new SettlementMath.Candidate[](1);
        candidates[0].group = 1;
        bool proven = SettlementMath.tally(candidates, voters, demoConfig())[0].provenInvalid;
        vm.assertEq(proven, lying != 0 && 3 * lying >= 2 * total);
    }

    /// Copies of one adapter earn together what it earns alone.
    function test_ACopiedAdapterBringsNothing() public {
        RoundView memory round = openTraining(task);
        for (uint256 i; i < 3; ++i) {
            Proposal memory proposal = proposalOf(task, round.proposers[i]);
            if (i != 0) proposal.adapterDigest = keccak256("copied");
            propose(proposal);
        }
        rounds.advance(task);
        vote(task, allScores(task, 50_000));
        attestAll(task, 1);
        uint256[3] memory earned;
        for (uint256 i; i < 3; ++i) {
            address node = round.proposers[i];
            earned[i] = tasks.claimableOf(node) - 40 * TOKEN * keyOf[node];
        }
        vm.assertEq(earned[0], 300 * TOKEN);
        vm.assertEq(earned[1], 150 * TOKEN);
        vm.assertEq(earned[2], 150 * TOKEN);
    }

    // --------------------------------------------------------------------------------------------------- a voter

    function test_AlwaysHighOrAlwaysLowEarnsLess() public {
        RoundView memory round = openCommitting(task);
        int32[][] memory scores = allScores(task, 50_000);
        address liar = admitted[0];
        for (uint256 v; v < 4; ++v) {
            if (round.voters[v] != liar) continue;
            for (uint256 p; p < 3; ++p) {
                scores[v][p] = p == 0 ? int32(8_000_000) : -8_000_000;
            }
        }
        RoundView memory tallied = vote(task, scores);
        for (uint256 p; p < 3; ++p) {
            vm.assertEq(tallied.proposals[p].medianMicronats, 50_000);
        }
        // Rejected for want of attestations: voters' pay alone.
        passAndAdvance(task);
        vm.assertEq(tasks.claimableOf(liar), 20 * TOKEN);
        vm.assertEq(tasks.claimableOf(admitted[3]), 80 * TOKEN + uint256(200 * TOKEN) * 4 / 9);
    }

    function test_ACommitmentCannotBeTakenOverFromAnother() public {
        RoundView memory round = openCommitting(task);
        Reveal memory honest = revealOf(task, round.voters[0], allScores(task, 123)[0]);
        Commit memory copied = commitTo(honest);
        bytes32 commitment = copied.commitment;
        commit(copied);
        for (uint256 v = 1; v < 4; ++v) {
            copied.node = round.voters[v];
            commit(copied);
        }
        rounds.advance(task);
        rounds.reveal(honest);
        for (uint256 v = 1; v < 4; ++v) {
            Reveal memory theirs = honest;
            theirs.node = round.voters[v];
            vm.expectRevert(abi.encodeWithSelector(WrongCommitment.selector, commitment));
            rounds.reveal(theirs);
        }
    }

    // -------------------------------------------------------------------------------------------- sister networks

    /// However much they stake, sisters alone cannot carry their own adapter.
    function testFuzz_SistersCannotAcceptTheirOwn(uint96[3] memory stakes, int32 praise) public pure {
        praise = int32(int256(bound(uint256(uint32(praise)), 0, 8_000_000)));
        SettlementMath.Voter[] memory voters = new SettlementMath.Voter[](4);
        int32[] memory high = new int32[](1);
        int32[] memory low = new int32[](1);
        (high[0], low[0]) = (praise, -2_000_000);
        for (uint256 v; v < 3; ++v) {
            voters[v] = SettlementMath.Voter({group: 1, stake: stakes[v], scores: high, earns: true});
        }
        voters[3] = SettlementMath.Voter({group: 2, stake: 1, scores: low, earns: true});
        SettlementMath.Candidate[] memory candidates = new SettlementMath.Candidate[](1);
        candidates[0].group = 1;
        TaskConfig memory config = demoConfig();
        vm.assertEq(uint256(SettlementMath.tally(candidates, voters, config)[0].standing), uint256(Standing.Unscored));
        config.minScorers = 1;
        vm.assertEq(uint256(SettlementMath.tally(candidates, voters, config)[0].standing), uint256(Standing.Refused));
    }

    // ------------------------------------------------------------------------- orchestrator, relay, replay, reorg

    /// What was signed for one round, task, chain or contract is refused in every other.
    function test_NoMessageIsTakenWhereItWasNotMeant() public {
        RoundView memory first = openTraining(task);
        Proposal memory proposal = proposalOf(task, first.proposers[0]);
        bytes memory signature = sign(proposal.node, hashOf(proposal));
        _refused(proposal, signWith(keyOf[proposal.node], hashOf(proposal), address(rounds), block.chainid + 1));
        _refused(proposal, signWith(keyOf[proposal.node], hashOf(proposal), address(tasks), block.chainid));
        passAndAdvance(task);

        uint64 other = createTask(demoConfig(), 0);
        approveAll(other);
        openTraining(other);
        bytes16 context = viewOf(other).context;
        vm.assertTrue(context != first.context);
        vm.expectRevert(abi.encodeWithSelector(WrongPhase.selector, Phase.Aborted));
        rounds.propose(proposal, signature);
        Proposal memory moved = proposal;
        moved.task = other;
        vm.expectRevert(abi.encodeWithSelector(WrongContext.selector, context));
        rounds.propose(moved, signature);
        moved.context = context;
        if (rounds.seatOf(other, 1, moved.node).isProposer) _refused(moved, signature);
    }

    /// After a reorganisation that changes the draw, what was signed before it is void, though task and round agree.
    function testFuzz_AReorganisationVoidsWhatWasSignedBeforeIt(bytes32 seed, bytes32 otherSeed) public {
        vm.assume(seed != 0 && otherSeed != 0 && seed != otherSeed);
        rounds.requestRound(task);
        uint256 seedBlock = viewOf(task).seedBlock;
        vm.roll(seedBlock + 1);
        uint256 fork = vm.snapshotState();
        vm.setBlockhash(seedBlock, seed);
        rounds.advance(task);
        Proposal memory proposal = proposalOf(task, viewOf(task).proposers[0]);
        bytes memory signature = sign(proposal.node, hashOf(proposal));
        rounds.propose(proposal, signature);

        vm.revertToState(fork);
        vm.setBlockhash(seedBlock, otherSeed);
        rounds.advance(task);
        bytes16 context = viewOf(task).context;
        vm.expectRevert(abi.encodeWithSelector(WrongContext.selector, context));
        rounds.propose(proposal, signature);
    }

    /// After one that changes only a proposal, commits and reveals for the old candidates are void.
    function test_AReorganisationOfOneProposalVoidsTheVotes() public {
        address[] memory proposers = openTraining(task).proposers;
        uint256 fork = vm.snapshotState();
        _proposeAll(proposers, 0);
        Commit memory message = commitTo(revealOf(task, admitted[0], allScores(task, 1)[0]));
        bytes memory signature = sign(message.node, hashOf(message));
        rounds.commit(message, signature);

        vm.revertToState(fork);
        _proposeAll(proposers, keccak256("other"));
        bytes16 context = viewOf(task).context;
        vm.expectRevert(abi.encodeWithSelector(WrongContext.selector, context));
        rounds.commit(message, signature);
    }

    /// After one that changes only a score, attestations made for the old verdicts are void.
    function test_AReorganisationOfOneScoreVoidsTheAttestations() public {
        openCommitting(task);
        uint256 fork = vm.snapshotState();
        vote(task, allScores(task, 1));
        Attestation memory message = attestationOf(task, admitted[0], AGGREGATE, 1);
        bytes memory signature = sign(message.node, hashOf(message));
        rounds.attest(message, signature);

        vm.revertToState(fork);
        vote(task, allScores(task, 2));
        bytes16 context = viewOf(task).context;
        vm.expectRevert(abi.encodeWithSelector(WrongContext.selector, context));
        rounds.attest(message, signature);
    }

    // ---------------------------------------------------------------------------------- a thief of a signing key

    /// The stolen key can use the node's nonces up, so that nothing relayed for the owner arrives; what the owner sends
    /// itself does.
    function test_AStolenSigningKeyCannotKeepTheOwnerOut() public {
        address node = admitted[0];
        Rotation memory rotation = rotationOf(node, vm.addr(99));
        Exit memory leaving = exitOf(node, stakeOf(node));
        bytes memory signature = signAsOwner(node, hashOf(rotation));
        comeBack(returnOf(node));
        vm.expectRevert(abi.encodeWithSelector(Nonces.InvalidAccountNonce.selector, node, 1));
        registry.rotate(rotation, signature);

        vm.startPrank(node);
        registry.rotate(rotation, "");
        registry.exit(leaving, "");
        vm.stopPrank();
        vm.assertEq(registry.signerOf(node), vm.addr(99));
        vm.assertEq(stakeOf(node), 0);
        vm.assertEq(nonceAt(address(registry), node), 3);
    }

    /// A message that was sent itself is as used up as a relayed one.
    function test_WhatWasSentItselfCannotBeRelayedAgain() public {
        address node = admitted[0];
        Exit memory leaving = exitOf(node, 1);
        bytes memory signature = signAsOwner(node, hashOf(leaving));
        vm.prank(node);
        registry.exit(leaving, "");
        vm.expectRevert(abi.encodeWithSelector(Nonces.InvalidAccountNonce.selector, node, 1));
        registry.exit(leaving, signature);
    }

    // ------------------------------------------------------------------------------------------------ an outsider

    /// Dust staked for a node that leaves gives it seats again; it revokes, and leaves in the same time.
    /// Blocks may come as slowly as they like: a node that exits at a request is never drawn with what it has withdrawn.
    function testFuzz_WhatIsFrozenIsStillThereAtTheDraw(uint256 later) public {
        address node = admitted[0];
        rounds.requestRound(task);
        exit(node, stakeOf(node));
        vm.warp(block.timestamp + bound(later, 0, 2 * uint256(UNBONDING_SECONDS)));
        vm.roll(viewOf(task).seedBlock + 1);
        vm.setBlockhash(viewOf(task).seedBlock, keccak256("seed"));
        try registry.withdraw(node) {} catch {}
        rounds.advance(task);
        if (viewOf(task).phase == Phase.Training) vm.assertEq(registry.nodeOf(node).unbonding, 100 * TOKEN);
    }

    function test_DustDoesNotKeepALeavingNodeIn() public {
        address node = admitted[3];
        uint256 leaves = block.timestamp;
        exit(node, stakeOf(node));
        registry.deposit(node, 1);
        openTraining(task);
        revoke(task, node);
        passAndAdvance(task);
        registry.deposit(node, 1);
        vm.assertEq(tasks.approvedOf(task).length, 3);
        vm.warp(leaves + UNBONDING_SECONDS);
        for (uint256 i; i < registry.slashCount(); ++i) {
            registry.execute(i);
        }
        vm.assertLe(400 * TOKEN - 4 * TOKEN, registry.withdraw(node) + 1);
    }

    /// And if it does nothing at all, it is out after as many silent rounds as make a node ineligible.
    function test_DustGivesASilentNodeAFewSeatsAtMost() public {
        TaskConfig memory config = demoConfig();
        (config.rounds, config.proposers) = (100, 4);
        uint64 long = createTask(config, 0);
        approveAll(long);
        address node = admitted[3];
        exit(node, stakeOf(node));
        uint256 served;
        while (registry.nodeOf(node).absences < MOST_ABSENCES) {
            registry.deposit(node, 1);
            absentRound(long);
            for (uint256 i; i < 3; ++i) {
                comeBack(returnOf(admitted[i]));
            }
            ++served;
        }
        vm.assertEq(served, MOST_ABSENCES);
        registry.deposit(node, 1);
        vm.assertEq(registry.eligibleStakeOf(node), 0);
        vm.warp(block.timestamp + UNBONDING_SECONDS);
        for (uint256 i; i < registry.slashCount(); ++i) {
            registry.execute(i);
        }
        vm.assertLe(400 * TOKEN - 4 * TOKEN, registry.withdraw(node));
    }

    /// Tokens sent without a call belong to nobody, and change nothing.
    function testFuzz_TokensSentPastTheBooksChangeNothing(uint256 amount) public {
        amount = bound(amount, 1, 1e30);
        uint256 owed = tasks.totalOwed();
        token.transfer(address(tasks), amount);
        token.transfer(address(registry), amount);
        vm.assertEq(tasks.totalOwed(), owed);
        vm.assertEq(registry.totalOwed(), 1000 * TOKEN);
        registry.deposit(admitted[0], 5);
        vm.assertEq(stakeOf(admitted[0]), 100 * TOKEN + 5);
    }

    /// Nobody can hold a task up by keeping a round open: anyone closes it in bounded time.
    function test_ARoundThatEverybodyLeavesEnds() public {
        openTraining(task);
        vm.warp(viewOf(task).deadline + 365 days);
        vm.prank(address(0xBEEF));
        rounds.advance(task);
        assertPhase(task, Phase.Aborted);
        vm.expectRevert(NoOpenRound.selector);
        rounds.advance(task);
    }

    function _proposeAll(address[] memory proposers, bytes32 first) private {
        for (uint256 i; i < 3; ++i) {
            Proposal memory proposal = proposalOf(task, proposers[i]);
            if (i == 0 && first != 0) proposal.adapterDigest = first;
            propose(proposal);
        }
        rounds.advance(task);
    }

    function _refused(Proposal memory proposal, bytes memory signature) private {
        bytes memory reason = abi.encodeWithSelector(WrongSignature.selector, registry.signerOf(proposal.node));
        vm.expectRevert(reason);
        rounds.propose(proposal, signature);
    }
}
