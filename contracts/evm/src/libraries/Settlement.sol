// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IRegistry} from "../interfaces/IRegistry.sol";
import {IRounds} from "../interfaces/IRounds.sol";
import {ITasks} from "../interfaces/ITasks.sol";
import {Member, OpenRound, Round, RoundState, StoredSeat} from "../RoundState.sol";
import {Attendance, BASIS_POINTS, Conduct, Fault, Phase, Standing, TaskConfig} from "../Types.sol";
import {Packed} from "./Packed.sol";
import {SettlementMath} from "./SettlementMath.sol";

/// Draw, tally, pay and faults of a stored round. Linked to the rounds contract and run in its storage and name, so that
/// each stays far below the size limit; the arithmetic itself is in `SettlementMath`.
library Settlement {
    using RoundState for Round;

    uint256 private constant PROPOSER_ROLE = 0;
    uint256 private constant VOTER_ROLE = 1;

    /// Draws proposers and voters and gives them their seats; returns the context of Training.
    function drawRoles(Round storage round, OpenRound memory open, bytes32 seed, IRegistry registry)
        external
        returns (bytes16 context)
    {
        _seatDrawn(round, open, seed);
        _openRoles(round, registry);
        (uint8[] memory drawnProposers, uint8[] memory drawnVoters) = round.roles();
        address[] memory proposers = round.nodesAt(drawnProposers);
        address[] memory voters = round.nodesAt(drawnVoters);

        _emitDrawn(round, open, proposers, voters);

        bytes memory header = abi.encode(
            block.chainid, address(this), open.task, open.number, round.header.parentDigest, seed, proposers, voters
        );
        return bytes16(keccak256(header));
    }

    /// Fixes the order of the proposals, ascending by node; returns the context of Committing.
    function orderProposals(Round storage round) external returns (bytes16 context) {
        uint8[] memory proposals = round.proposed();
        round.packedProposals = Packed.packIndices(proposals);
        address[] memory nodes = round.nodesAt(proposals);
        bytes32[] memory adapterDigests = new bytes32[](nodes.length);
        for (uint256 i; i < nodes.length; ++i) {
            adapterDigests[i] = round.seats[nodes[i]].adapterDigest;
        }
        return bytes16(keccak256(abi.encode(round.header.context, nodes, adapterDigests)));
    }

    /// Tallies the revealed scores and writes the verdicts down; returns the context of Attesting.
    function tally(Round storage round, OpenRound memory open) external returns (bool anyAccepted, bytes16 context) {
        (, uint8[] memory voters) = round.roles();
        SettlementMath.Verdict[] memory verdicts =
            SettlementMath.tally(_candidates(round), _voters(round, voters), open.config);
        address[] memory nodes = round.nodesAt(round.proposals());
        Standing[] memory standings = new Standing[](nodes.length);
        int32[] memory mediansMicronats = new int32[](nodes.length);
        bool[] memory provenInvalid = new bool[](nodes.length);
        for (uint256 i; i < nodes.length; ++i) {
            SettlementMath.Verdict memory verdict = verdicts[i];
            (standings[i], mediansMicronats[i], provenInvalid[i]) =
            (verdict.standing, verdict.medianMicronats, verdict.provenInvalid);
            if (verdict.standing == Standing.Accepted) anyAccepted = true;
            StoredSeat storage seat = round.seats[nodes[i]];
            seat.standing = verdict.standing;
            seat.medianMicronats = verdict.medianMicronats;
            seat.provenInvalid = verdict.provenInvalid;
        }

        emit IRounds.Tallied(open.task, open.number, nodes, standings, mediansMicronats, provenInvalid);

        context = bytes16(keccak256(abi.encode(round.header.context, standings, mediansMicronats)));
    }

    /// Frees the seats, records faults and pays, in a round that is closed; nodes answer for what they were asked for up
    /// to `lastPhase`.
    function settle(Round storage round, OpenRound memory open, Phase lastPhase, IRegistry registry, ITasks tasks)
        external
    {
        registry.closeRoles(open.task, open.number, _conducts(round, open.config, lastPhase));
        (address[] memory nodes, uint256[] memory amounts) = _payout(round, open.config);
        tasks.settleRound(open.task, open.number, nodes, amounts, open.number == open.config.rounds);
    }

    /// What the attestations agree on; see `SettlementMath.attested`.
    function attested(Round storage round, uint256 quorumBps)
        external
        view
        returns (bytes32 digest, int32 medianMicronats)
    {
        (, uint8[] memory voters) = round.roles();
        address[] memory nodes = round.nodesAt(voters);
        SettlementMath.Statement[] memory statements = new SettlementMath.Statement[](nodes.length);
        for (uint256 i; i < nodes.length; ++i) {
            StoredSeat storage seat = round.seats[nodes[i]];
            statements[i] = SettlementMath.Statement({
                stake: seat.stake,
                aggregateDigest: round.attestedDigest(seat),
                scoreMicronats: seat.attestedScoreMicronats
            });
        }
        return SettlementMath.attested(statements, quorumBps);
    }

    /// What a closed round pays: the nodes that earn something, ascending, and how much.
    ///
    /// Of the reward, `proposerShareBps` is the proposers', the rest the voters'. Final pays both, of the voters those
    /// who attested the aggregate; Rejected pays the voters who revealed; Aborted pays these by stake.
    function _payout(Round storage round, TaskConfig memory config)
        private
        view
        returns (address[] memory nodes, uint256[] memory amounts)
    {
        uint256 proposersShare = uint256(round.header.reward) * config.proposerShareBps / BASIS_POINTS;
        uint256 votersShare = round.header.reward - proposersShare;
        uint256[] memory earned = new uint256[](round.eligible.length);
        (, uint8[] memory indices) = round.roles();
        SettlementMath.Voter[] memory voters = _voters(round, indices);
        if (round.header.phase == Phase.Aborted) {
            _add(earned, indices, SettlementMath.stakeRewards(votersShare, voters));
        } else {
            SettlementMath.Candidate[] memory candidates = _candidates(round);
            SettlementMath.Verdict[] memory verdicts = _verdicts(round);
            _add(
                earned,
                indices,
                SettlementMath.voterRewards(votersShare, config.closenessRangeMicronats, candidates, voters, verdicts)
            );
            if (round.header.phase == Phase.Final) {
                _add(earned, round.proposals(), SettlementMath.proposerRewards(proposersShare, candidates, verdicts));
            }
        }
        return _onlyPaid(round, earned);
    }

    /// How every drawn node behaved in a round that ended in `lastPhase`, each node once. Who was not asked yet owes
    /// nothing.
    function _conducts(Round storage round, TaskConfig memory config, Phase lastPhase)
        private
        view
        returns (Conduct[] memory all)
    {
        address[] memory nodes = _drawn(round);
        all = new Conduct[](nodes.length);
        for (uint256 i; i < nodes.length; ++i) {
            StoredSeat storage seat = round.seats[nodes[i]];
            Conduct memory conduct = all[i];
            conduct.node = nodes[i];
            (conduct.attendance, conduct.fault) = SettlementMath.judge(_dutiesOf(seat, lastPhase));
            conduct.slash = SettlementMath.slashOf(conduct.fault, seat.stake, config);
        }
    }

    function _dutiesOf(StoredSeat storage seat, Phase lastPhase)
        private
        view
        returns (SettlementMath.Duties memory duties)
    {
        duties.owesProposal = seat.isProposer && lastPhase >= Phase.Training;
        duties.owesCommit = seat.isVoter && lastPhase >= Phase.Committing;
        // What a node does not owe is not read.
        duties.proposed = duties.owesProposal && seat.adapterDigest != 0;
        // Only a commitment is revealed.
        duties.revealed = duties.owesCommit && lastPhase >= Phase.Revealing && seat.packedScores.length != 0;
        duties.committed = duties.revealed || (duties.owesCommit && seat.commitment != 0);
        duties.owesReveal = duties.committed && lastPhase >= Phase.Revealing;
        duties.provenInvalid = seat.provenInvalid && lastPhase >= Phase.Revealing;
    }

    function _seatDrawn(Round storage round, OpenRound memory open, bytes32 seed) private {
        uint256 size = round.eligible.length;
        uint8[] memory proposers = SettlementMath.draw(seed, PROPOSER_ROLE, size, open.config.proposers);
        uint8[] memory voters = SettlementMath.draw(seed, VOTER_ROLE, size, open.config.voters);
        round.header.seed = seed;
        round.setRoles(proposers, voters);
        for (uint256 i; i < proposers.length; ++i) {
            _seat(round, proposers[i]).isProposer = true;
        }
        for (uint256 i; i < voters.length; ++i) {
            _seat(round, voters[i]).isVoter = true;
        }
    }

    function _emitDrawn(Round storage round, OpenRound memory open, address[] memory proposers, address[] memory voters)
        private
    {
        uint64[] memory proposerGroups = _groups(round, proposers);
        uint64[] memory voterGroups = _groups(round, voters);
        bytes32 seed = round.header.seed;

        emit IRounds.Drawn(open.task, open.number, seed, proposers, voters, proposerGroups, voterGroups);
    }

    function _seat(Round storage round, uint8 index) private returns (StoredSeat storage seat) {
        Member memory member = round.eligible[index];
        seat = round.seats[member.node];
        seat.stake = member.stake;
    }

    /// Tells the registry who has a seat, and notes the groups as they are now.
    function _openRoles(Round storage round, IRegistry registry) private {
        address[] memory nodes = _drawn(round);
        uint64[] memory groups = registry.openRoles(nodes);
        for (uint256 i; i < nodes.length; ++i) {
            round.seats[nodes[i]].group = groups[i];
        }
    }

    /// All nodes with a seat, each once: the proposers, then the voters that are not proposers too.
    function _drawn(Round storage round) private view returns (address[] memory nodes) {
        (uint8[] memory drawnProposers, uint8[] memory drawnVoters) = round.roles();
        address[] memory proposers = round.nodesAt(drawnProposers);
        address[] memory voters = round.nodesAt(drawnVoters);
        nodes = new address[](proposers.length + voters.length);
        uint256 count;
        for (; count < proposers.length; ++count) {
            nodes[count] = proposers[count];
        }
        for (uint256 i; i < voters.length; ++i) {
            if (!round.seats[voters[i]].isProposer) nodes[count++] = voters[i];
        }
        assembly ("memory-safe") {
            mstore(nodes, count)
        }
    }

    function _groups(Round storage round, address[] memory nodes) private view returns (uint64[] memory groups) {
        groups = new uint64[](nodes.length);
        for (uint256 i; i < nodes.length; ++i) {
            groups[i] = round.seats[nodes[i]].group;
        }
    }

    function _candidates(Round storage round) private view returns (SettlementMath.Candidate[] memory candidates) {
        address[] memory nodes = round.nodesAt(round.proposals());
        candidates = new SettlementMath.Candidate[](nodes.length);
        for (uint256 i; i < nodes.length; ++i) {
            StoredSeat storage seat = round.seats[nodes[i]];
            candidates[i] = SettlementMath.Candidate({group: seat.group, adapterDigest: seat.adapterDigest});
        }
    }

    function _verdicts(Round storage round) private view returns (SettlementMath.Verdict[] memory verdicts) {
        address[] memory nodes = round.nodesAt(round.proposals());
        verdicts = new SettlementMath.Verdict[](nodes.length);
        for (uint256 i; i < nodes.length; ++i) {
            StoredSeat storage seat = round.seats[nodes[i]];
            verdicts[i] = SettlementMath.Verdict({
                standing: seat.standing, medianMicronats: seat.medianMicronats, provenInvalid: seat.provenInvalid
            });
        }
    }

    function _voters(Round storage round, uint8[] memory indices)
        private
        view
        returns (SettlementMath.Voter[] memory voters)
    {
        address[] memory nodes = round.nodesAt(indices);
        bytes32 aggregateDigest = round.header.aggregateDigest;
        voters = new SettlementMath.Voter[](nodes.length);
        for (uint256 i; i < nodes.length; ++i) {
            StoredSeat storage seat = round.seats[nodes[i]];
            int32[] memory scores = Packed.unpackScores(seat.packedScores);
            voters[i] = SettlementMath.Voter({
                group: seat.group,
                stake: seat.stake,
                scores: scores,
                earns: scores.length != 0 && (aggregateDigest == 0 || round.attestedDigest(seat) == aggregateDigest)
            });
        }
    }

    /// Adds `pay` to the entries of `earned` at `indices`.
    function _add(uint256[] memory earned, uint8[] memory indices, uint256[] memory pay) private pure {
        for (uint256 i; i < pay.length; ++i) {
            earned[indices[i]] += pay[i];
        }
    }

    /// The eligible nodes that earned something, ascending.
    function _onlyPaid(Round storage round, uint256[] memory earned)
        private
        view
        returns (address[] memory nodes, uint256[] memory amounts)
    {
        uint256 count;
        for (uint256 i; i < earned.length; ++i) {
            if (earned[i] != 0) ++count;
        }
        nodes = new address[](count);
        amounts = new uint256[](count);
        for (uint256 i = earned.length; count != 0; --i) {
            if (earned[i - 1] == 0) continue;
            --count;
            (nodes[count], amounts[count]) = (round.eligible[i - 1].node, earned[i - 1]);
        }
    }
}
