"""What the control plane should do next for a task: a pure decision over what it knows.

It never decides on messages of nodes (those come by the API), only on what anyone may do: fund what was
ordered, request a round, advance it, and start the conductor of an open round.
"""

from dataclasses import dataclass
from typing import Protocol

from contracts.phase import Phase
from orchestrator.domain.chain import Advance, Call, FundTask, RequestRound
from orchestrator.domain.council import funding_refusal
from orchestrator.domain.outbox import Intent
from orchestrator.domain.state import TaskState

FIRST_RETRY_S = 1
LONGEST_RETRY_S = 30


class OpenRound(Protocol):
    """What a decision needs of a round."""

    @property
    def task(self) -> int: ...
    @property
    def round(self) -> int: ...
    @property
    def phase(self) -> Phase: ...
    @property
    def deadline_unix_s(self) -> int: ...


@dataclass(frozen=True)
class RunRecord:
    """The newest Flower run of a round; ``ended`` when it can do nothing any more."""

    ended: bool
    submissions: int
    changed_unix_s: int


@dataclass(frozen=True)
class Situation:
    """All that a decision about one task needs."""

    task: TaskState
    open_round: OpenRound | None
    eligible_nodes: int
    """Approved nodes whose stake counts in a draw; asked for only where no round is open."""
    is_due: bool
    pool_ordered: int
    """Base units that the admin ordered for the pool; 0 for a task made elsewhere."""
    fund_key: str
    is_funded: bool
    """Whether our payment into the pool is on chain. Pool and rounds do not tell: anybody may pay into a
    task, and anybody may request its rounds."""
    run: RunRecord | None


@dataclass(frozen=True)
class Send:
    """Put a call on chain, once per key."""

    key: str
    call: Call
    round: int | None = None


@dataclass(frozen=True)
class StartRun:
    """Start the conductor of a round."""

    task: int
    round: int


Action = Send | StartRun


def next_actions(situation: Situation, now_unix_s: int) -> tuple[Action, ...]:
    """What to do now; asking again before anything changed gives the same actions, and the same keys."""
    task, open_round = situation.task, situation.open_round
    actions: list[Action] = []
    if situation.pool_ordered > 0 and not situation.is_funded and funding_refusal(task) is None:
        actions.append(Send(situation.fund_key, FundTask(task.task, situation.pool_ordered)))
    if open_round is None:
        if not actions and _can_request(situation):
            next_round = task.rounds_requested + 1
            actions.append(Send(f"request:{task.task}:{next_round}", RequestRound(task.task), next_round))
        return tuple(actions)
    if situation.is_due:
        actions.append(Send(advance_key(open_round), Advance(task.task), open_round.round))
    if _wants_run(open_round, situation.run, now_unix_s):
        actions.append(StartRun(task.task, open_round.round))
    return tuple(actions)


def advance_key(open_round: OpenRound) -> str:
    """One advance for each phase of a round."""
    return f"advance:{open_round.task}:{open_round.round}:{open_round.phase.label}"


def may_ask_again(intent: Intent, now_unix_s: int) -> bool:
    """Whether a refused intent may be queued again: ever more slowly, so that a firm no costs little."""
    if not intent.may_be_asked_again:
        return False
    return now_unix_s >= intent.changed_unix_s + retry_delay_s(intent.attempts)


def retry_delay_s(attempts: int) -> int:
    """Seconds to wait after that many attempts: doubling, from one second to half a minute."""
    return min(FIRST_RETRY_S << min(max(attempts - 1, 0), 16), LONGEST_RETRY_S)


def _can_request(situation: Situation) -> bool:
    task = situation.task
    if not task.may_open_rounds:
        return False
    return situation.eligible_nodes >= max(task.config.proposers, task.config.voters)


def _wants_run(open_round: OpenRound, run: RunRecord | None, now_unix_s: int) -> bool:
    if open_round.phase is Phase.NONE or open_round.phase.closed:
        return False
    past_deadline = 0 < open_round.deadline_unix_s < now_unix_s
    if past_deadline:
        return False
    if run is None:
        return True
    return run.ended and now_unix_s >= run.changed_unix_s + retry_delay_s(run.submissions)
