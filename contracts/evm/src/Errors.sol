// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Phase} from "./Types.sol";

/// Every way in which the contracts refuse a call.

// Wiring
/// The contracts given to a constructor do not belong together.
error WrongWiring();
/// Only the rounds contract may call this.
error OnlyRounds();
/// Only the tasks contract may call this.
error OnlyTasks();

// Registry
error ZeroAddress();
error ZeroGroup();
error ZeroAmount();
error NodeKnown(address node);
error NodeUnknown(address node);
error NodeDismissed(address node);
error InsufficientStake(uint256 stake);
/// The token moved another amount than it was asked to.
error InexactTransfer(uint256 asked, uint256 moved);
error NothingMature(address node);
/// The node has a seat in rounds that are not closed yet.
error InOpenRounds(uint256 openRounds);
error SlashesPending(uint256 pendingSlashes);
error SlashUnknown(uint256 slash);
/// The slash was waived or executed before.
error SlashSettled(uint256 slash);
error AppealOpen(uint64 until);
error AppealOver(uint64 since);
error WrongSuccessor(address expected);

// Anchors
/// An epoch has rows, and begins with the row behind the last epoch's.
error RowsOutOfOrder(uint64 expectedFirst);

// Tasks
error TaskUnknown(uint64 task);
/// `field` is the first field of the configuration that is out of bounds.
error InvalidConfig(string field);
error NothingToClaim(address node);
/// A round may not pay more than its reward.
error OverspentReward(uint256 reward, uint256 spent);
/// The task is paused.
error TaskPaused(uint64 task);
error TaskNotPaused(uint64 task);
/// The task was cancelled, or its last round is closed.
error TaskOver(uint64 task);
/// The task may still open rounds, so its pool stays with it.
error TaskNotOver(uint64 task);
error NothingToRefund(address funder);

// Approvals
error WrongSpecDigest(bytes32 expected);
error Expired(uint64 expiry);
error TooManyApproved();
error NotApproved(address node);

// Rounds
error RoundOpen(uint32 round);
/// The task's last round was requested before.
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
/// A batch takes messages of rounds only.
error NotRelayable(bytes4 selector);
