"""The books that the events add up to: nodes and their stakes, slashes, tasks and their pools, claims."""

from dataclasses import dataclass, field

from contracts.digests import ZERO_DIGEST
from contracts.phase import Phase
from contracts.settlement import Conduct, Fault
from contracts.task_config import TaskConfig
from contracts.unbonding import UnbondingEntry, total, without_latest
from contracts.verify.facts import SlashStatus

NOBODY = "0x" + "00" * 20


@dataclass
class NodeAccount:
    """A node as the events leave it."""

    signer: str = NOBODY
    group: int = 0
    is_admitted: bool = False
    stake: int = 0
    absences: int = 0
    open_rounds: int = 0
    unbonding: tuple[UnbondingEntry, ...] = ()

    def take(self, most: int) -> int:
        """Take a slash out of the stake, and then out of what is leaving, the latest first."""
        from_stake = min(most, self.stake)
        self.stake -= from_stake
        leaving = total(self.unbonding)
        self.unbonding = without_latest(self.unbonding, most - from_stake)
        return from_stake + leaving - total(self.unbonding)

    def pop_mature(self, now_unix_s: int | None, stated: int) -> int:
        """Take out what may be withdrawn; without a time, the first entries up to what was ``stated``."""
        amount = 0
        while self.unbonding and (
            amount < stated if now_unix_s is None else self.unbonding[0].matures_unix_s <= now_unix_s
        ):
            amount += self.unbonding[0].amount
            self.unbonding = self.unbonding[1:]
        return amount


@dataclass
class SlashAccount:
    """A fault and what was set aside for it."""

    node: str
    task: int
    round: int
    fault: Fault
    executable_unix_s: int
    amount: int
    status: SlashStatus = SlashStatus.PENDING


@dataclass
class Contribution:
    """What one funder paid into a task and got back."""

    amount: int = 0
    refunded: int = 0


@dataclass
class TaskAccount:
    """A task, its pool and its open round."""

    config: TaskConfig
    approved: set[str] = field(default_factory=set)
    pool: int = 0
    open_reward: int = 0
    contributed: int = 0
    refunded: int = 0
    contributions: dict[str, Contribution] = field(default_factory=dict)
    is_paused: bool = False
    is_cancelled: bool = False
    is_over: bool = False
    requested: int = 0
    closed: int = 0
    has_open_round: bool = False
    phase: Phase = Phase.NONE
    parent: str = ZERO_DIGEST
    due_faults: list[Conduct] = field(default_factory=list)
    """Of the round that is being closed, in the order in which they are recorded."""
    ends_due: int = 0
    """Ends of the task that no event has told yet."""

    def refundable(self, funder: str) -> int:
        """What the funder may take back now."""
        contribution = self.contributions.get(funder, Contribution())
        if not self.is_over or contribution.amount == 0:
            return 0
        part = (self.pool + self.refunded) * contribution.amount // self.contributed
        return part - contribution.refunded


@dataclass
class Books:
    """Every account of a deployment."""

    most_absences: int
    nodes: dict[str, NodeAccount] = field(default_factory=dict)
    tasks: dict[int, TaskAccount] = field(default_factory=dict)
    slashes: list[SlashAccount] = field(default_factory=list)
    owed: dict[str, int] = field(default_factory=dict)
    """Rewards less claims, by node."""
    successor: str = NOBODY
    due_top_ups: list[tuple[int, int]] = field(default_factory=list)
    """(task, amount) of executed slashes that have not reached their pool yet."""

    def eligible_stake(self, address: str) -> int:
        """The stake that counts in a draw."""
        node = self.nodes.get(address, NodeAccount())
        counts = node.is_admitted and node.absences < self.most_absences
        return node.stake if counts else 0

    def pending_slashes(self, address: str) -> int:
        """How many slashes of the node are neither waived nor executed."""
        return sum(s.node == address and s.status is SlashStatus.PENDING for s in self.slashes)
