"""Replays stakes, approvals, the pool and claims: what each round had to freeze and to take."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from contracts import settlement
from contracts.verify import facts
from contracts.verify.comparison import Comparison, disagreement


@dataclass(frozen=True)
class ExpectedRequest:
    """What a round had to freeze at its request; ``eligible`` ascends, stakes are capped."""

    eligible: tuple[str, ...]
    stakes: tuple[int, ...]
    reward: int


@dataclass(frozen=True)
class Replay:
    """The ledger played through once."""

    requests: Mapping[int, ExpectedRequest]
    pool: int
    owed: Mapping[str, int]
    """Node → credited by any task and not yet claimed."""
    funding: tuple[tuple[int, int], ...]
    """(pool that follows from the ledger, pool that the log says) after each payment into the task."""


def replay(task: facts.TaskFacts) -> Replay:
    """Play the task's ledger through in the chain's order.

    Raises:
        Disagreement: more rounds were requested than the task has.
    """
    stakes: dict[str, int] = {}
    approved: set[str] = set()
    requests: dict[int, ExpectedRequest] = {}
    owed: dict[str, int] = {}
    funding: list[tuple[int, int]] = []
    pool = 0
    for entry in task.ledger:
        match entry:
            case facts.Staked(node, stake):
                stakes[node] = stake
            case facts.Approved(node):
                approved.add(node)
            case facts.Funded(amount, logged_pool):
                pool += amount
                funding.append((pool, logged_pool))
            case facts.Requested(number, reward):
                if len(requests) >= task.rules.rounds:
                    raise disagreement(
                        "the number of rounds requested",
                        expected=f"at most {task.rules.rounds}",
                        found="more",
                    )
                requests[number] = _expected_request(approved, stakes, pool, len(requests), task.rules)
                pool -= reward
            case facts.Returned(amount):
                pool += amount
            case facts.Credited(node, amount):
                owed[node] = owed.get(node, 0) + amount
            case facts.Claimed(node, amount):
                owed[node] = owed.get(node, 0) - amount
    return Replay(requests=requests, pool=pool, owed=owed, funding=tuple(funding))


def _expected_request(
    approved: set[str], stakes: Mapping[str, int], pool: int, requested_before: int, rules: settlement.Rules
) -> ExpectedRequest:
    eligible = settlement.ascending([node for node in approved if stakes.get(node, 0) > 0])
    return ExpectedRequest(
        eligible=eligible,
        stakes=tuple(settlement.frozen_stake(stakes[node], rules) for node in eligible),
        reward=settlement.round_reward(pool, requested_before, rules),
    )


def check_books(task: facts.TaskFacts, played: Replay, parents: Sequence[str], compare: Comparison) -> None:
    """Compare the task's totals: parent, pool, and what every node may still claim.

    ``parents`` are the digests that rounds started from, with the one that the next would start from last.

    Raises:
        Disagreement: the first total that is wrong.
    """
    compare.same("the task's parent", expected=parents[-1], found=task.parent_digest)
    closed = sum(1 for checked in task.rounds if checked.view.phase.closed)
    compare.same("the number of closed rounds", expected=closed, found=task.rounds_closed)
    for expected, logged in played.funding:
        compare.same("the pool after a payment into it", expected=expected, found=logged)
    compare.same("the task's pool", expected=played.pool, found=task.pool)
    for node in settlement.ascending(list(task.groups)):
        compare.same(
            "what may be claimed: rewards less claims",
            expected=played.owed.get(node, 0),
            found=task.claimable.get(node, 0),
            node=node,
        )
