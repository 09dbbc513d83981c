// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IRegistry} from "../interfaces/IRegistry.sol";
import {Member, Round, RoundState, Seat} from "../RoundState.sol";
import {BASIS_POINTS, Phase, TaskConfig} from "../Types.sol";
import {SettlementMath} from "./SettlementMath.sol";

/// Draw, tally and pay of a stored round. Linked to the rounds contract and run in its storage, so that each stays far
/// below the size limit; the arithmetic itself is in `SettlementMath`.
library Settlement {
    using RoundState for Round;

    uint256 private constant PROPOSER_ROLE = 0;
    uint256 private constant VOTER_ROLE = 1;

    /// What was voted on, by whom (in the order of the draw), and the outcome.
    struct Tally {
        SettlementMath.Candidate[] candidates;
        SettlementMath.Voter[] voters;
        SettlementMath.Verdict[] verdicts;
    }

    /// Draws proposers and voters and gives them their seats; returns both in the order of the draw.
    function drawRoles(Round storage round, bytes32 seed, TaskConfig memory config, IRegistry registry)
        external
        returns (address[] memory proposers, address[] memory voters)
    {
        uint256 size = round.eligible.length;
        uint8[] memory drawnProposers = SettlementMath.draw(seed, PROPOSER_ROLE, size, config.proposers);
        uint8[] memory drawnVoters = SettlementMath.draw(seed, VOTER_ROLE, size, config.voters);
        round.seed = seed;
        round.proposers = drawnProposers;
        round.voters = drawnVoters;
        for (uint256 i; i < drawnProposers.length; ++i) {
            _seat(round, drawnProposers[i], registry).isProposer = true;
        }
        for (uint256 i; i < drawnVoters.length; ++i) {
            _seat(round, drawnVoters[i], registry).isVoter = true;
        }
        return (round.nodesAt(drawnProposers), round.nodesAt(drawnVoters));
    }

    /// Fixes the order of the proposals, ascending by node; returns them in it.
    function orderProposals(Round storage round)
        external
        returns (address[] memory nodes, bytes32[] memory adapterDigests)
    {
        uint8[] memory proposals = round.proposed();
        round.proposals = proposals;
        nodes = round.nodesAt(proposals);
        adapterDigests = new bytes32[](nodes.length);
        for (uint256 i; i < nodes.length; ++i) {
            adapterDigests[i] = round.seats[nodes[i]].adapterDigest;
        }
    }

    /// Tallies the revealed scores and writes the verdicts down; returns them in the proposals' order.
    function tally(Round storage round, TaskConfig memory config)
        external
        returns (
            address[] memory nodes,
            bool[] memory accepted,
            bool[] memory hasMedian,
            int32[] memory mediansMicronats
        )
    {
        SettlementMath.Verdict[] memory verdicts = _tally(round, config).verdicts;
        nodes = round.nodesAt(round.proposals);
        accepted = new bool[](nodes.length);
        hasMedian = new bool[](nodes.length);
        mediansMicronats = new int32[](nodes.length);
        for (uint256 i; i < nodes.length; ++i) {
            SettlementMath.Verdict memory verdict = verdicts[i];
            (accepted[i], hasMedian[i], mediansMicronats[i]) =
            (verdict.accepted, verdict.hasMedian, verdict.medianMicronats);
            Seat storage seat = round.seats[nodes[i]];
            seat.accepted = verdict.accepted;
            seat.hasMedian = verdict.hasMedian;
            seat.medianMicronats = verdict.medianMicronats;
        }
    }

    /// What the attestations agree on; see `SettlementMath.attested`.
    function attested(Round storage round, uint256 quorumBps)
        external
        view
        returns (bytes32 digest, int32 medianMicronats)
    {
        address[] memory nodes = round.nodesAt(round.voters);
        SettlementMath.Statement[] memory statements = new SettlementMath.Statement[](nodes.length);
        for (uint256 i; i < nodes.length; ++i) {
            Seat storage seat = round.seats[nodes[i]];
            statements[i] = SettlementMath.Statement({
                stake: seat.stake, aggregateDigest: seat.attestedDigest, scoreMicronats: seat.attestedScoreMicronats
            });
        }
        return SettlementMath.attested(statements, quorumBps);
    }

    /// What a round that ends as `outcome` pays: the nodes that earn something, ascending, and how much.
    ///
    /// Of the reward, `proposerShareBps` is the proposers', the rest the voters'. Final pays both, Rejected the voters
    /// only, Aborted those who revealed, by stake, from the voters' share.
    function payout(Round storage round, TaskConfig memory config, Phase outcome)
        external
        view
        returns (address[] memory nodes, uint256[] memory amounts)
    {
        uint256 proposersShare = uint256(round.reward) * config.proposerShareBps / BASIS_POINTS;
        uint256 votersShare = round.reward - proposersShare;
        uint256[] memory earned = new uint256[](round.eligible.length);
        if (outcome == Phase.Aborted) {
            _add(earned, round.voters, SettlementMath.stakeRewards(votersShare, _voters(round)));
        } else {
            // Tallied again from the same reveals: simpler than to store all that the rewards need.
            Tally memory votes = _tally(round, config);
            _add(
                earned,
                round.voters,
                SettlementMath.voterRewards(
                    votersShare, config.closenessRangeMicronats, votes.candidates, votes.voters, votes.verdicts
                )
            );
            if (outcome == Phase.Final) {
                uint256[] memory pay = SettlementMath.proposerRewards(proposersShare, votes.candidates, votes.verdicts);
                _add(earned, round.proposals, pay);
            }
        }
        return _onlyPaid(round, earned);
    }

    function _seat(Round storage round, uint8 index, IRegistry registry) private returns (Seat storage seat) {
        Member memory member = round.eligible[index];
        seat = round.seats[member.node];
        seat.stake = member.stake;
        seat.group = registry.groupOf(member.node);
    }

    function _tally(Round storage round, TaskConfig memory config) private view returns (Tally memory votes) {
        votes.candidates = _candidates(round);
        votes.voters = _voters(round);
        votes.verdicts = SettlementMath.tally(votes.candidates, votes.voters, config);
    }

    function _candidates(Round storage round) private view returns (SettlementMath.Candidate[] memory candidates) {
        address[] memory nodes = round.nodesAt(round.proposals);
        candidates = new SettlementMath.Candidate[](nodes.length);
        for (uint256 i; i < nodes.length; ++i) {
            Seat storage seat = round.seats[nodes[i]];
            candidates[i] = SettlementMath.Candidate({group: seat.group, adapterDigest: seat.adapterDigest});
        }
    }

    function _voters(Round storage round) private view returns (SettlementMath.Voter[] memory voters) {
        address[] memory nodes = round.nodesAt(round.voters);
        voters = new SettlementMath.Voter[](nodes.length);
        for (uint256 i; i < nodes.length; ++i) {
            Seat storage seat = round.seats[nodes[i]];
            voters[i] = SettlementMath.Voter({group: seat.group, stake: seat.stake, scores: seat.scores});
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
