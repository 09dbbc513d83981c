// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Phase} from "./Types.sol";

/// Every way in which the contracts refuse a call.

// Wiring
/// The contracts given to a constructor do not belong together.
error WrongWiring();
/// Only the rounds contract may call this.
error OnlyRounds();

// Registry
error ZeroAddress();
error ZeroGroup();
error ZeroAmount();
error NodeKnown(address node);
error NodeUnknown(address node);
error InsufficientStake(uint256 stake);

// Tasks
error TaskUnknown(uint64 task);
/// `field` is the first field of the configuration that is out of bounds.
error InvalidConfig(string field);
error NothingToClaim(address node);
/// A round may not pay more than its reward.
error OverspentReward(uint256 reward, uint256 spent);

// Approvals
error WrongSpecDigest(bytes32 expected);
error WrongNonce(uint64 expected);
error Expired(uint64 expiry);
error TooManyApproved();

// Rounds
error RoundOpen(uint32 round);
error NoRoundsLeft();
error NoOpenRound();
error NotEnoughEligible(uint256 eligible, uint256 needed);
error NotDue();

// Messages
error WrongPhase(Phase actual);
error DeadlinePassed(uint64 deadline);
error WrongContext(bytes16 expected);
error WrongParent(bytes32 expected);
/// The node is not a proposer, or not a voter, of the round.
error NotDrawn(address node);
/// The node has sent this kind of message in this round before.
error AlreadySent(address node);
error WrongSignature(address signer);
error ZeroDigest();
/// An adapter that repeats its parent.
error RepeatsParent();
/// An adapter that a final round of the task has accepted before.
error RepeatsAccepted();
error NotCommitted(address node);
error WrongCommitment(bytes32 expected);
error WrongScoreCount(uint256 expected);
error ScoreOutOfRange(int32 score);
