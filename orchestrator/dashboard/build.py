"""From a task's facts to its page: one pure function per panel."""

import json

from orchestrator.dashboard import text
from orchestrator.dashboard.rounds import FAULTS, RoundSetting, round_card
from orchestrator.dashboard.view import (
    AccuracyPanel,
    AccuracyPoint,
    Decision,
    DecisionsPanel,
    EventsPanel,
    HeaderPanel,
    NodeRow,
    NodesPanel,
    OtherModel,
    Party,
    RewardRow,
    RewardsPanel,
    RoundsPanel,
    Step,
    TaskPage,
    Tone,
)
from orchestrator.dashboard.words import event_row, says_twice
from orchestrator.domain.outbox import Intent, subject_of
from orchestrator.domain.ports import EvaluationRecord
from orchestrator.domain.state import NodeState, SlashState, SlashStatus
from orchestrator.services.task_facts import TaskFacts

SHOWN_ROUNDS = 8
SILENT_CHAIN_S = 60
"""A chain that was not read for so long is worth a warning: the worker or the chain is down."""
LATE_ADVANCE_S = 30
"""An open round so far past its deadline is worth a warning: nobody advances it."""


def task_page(facts: TaskFacts, all_rounds: bool = False) -> TaskPage:
    """The whole page."""
    return TaskPage(
        header=header_panel(facts),
        decisions=decisions_panel(facts),
        accuracy=accuracy_panel(facts),
        nodes=nodes_panel(facts),
        rounds=rounds_panel(facts, all_rounds),
        rewards=rewards_panel(facts),
        events=events_panel(facts),
        last_event_id=facts.last_event_id,
    )


def header_panel(facts: TaskFacts) -> HeaderPanel:
    """The task in one look."""
    open_round = facts.open_round
    state, tone = _state(facts)
    deadline = open_round.deadline_unix_s if open_round and open_round.deadline_unix_s else None
    phases = {each.round: each.phase for each in facts.rounds}
    points = accuracy_panel(facts).points
    return HeaderPanel(
        task=facts.task.task,
        name=facts.name,
        state=state,
        tone=tone,
        steps=tuple(Step(number, phases.get(number)) for number in range(1, facts.task.config.rounds + 1)),
        open_round=open_round.round if open_round else None,
        open_phase=open_round.phase if open_round else None,
        seconds_left=None if deadline is None else deadline - facts.now_unix_s,
        deadline_unix_s=deadline,
        last_accuracy=points[-1].accuracy if points else None,
        base_accuracy=points[0].accuracy if points and points[0].round == 0 else None,
        pool=facts.task.pool,
        parent_digest=facts.task.parent_digest,
        spec_digest=facts.task.config.spec_digest,
        head_block=facts.head.number if facts.head else None,
        final_block=facts.final_block if facts.final_block >= 0 else None,
        is_settled=facts.task.changed_block <= facts.final_block,
    )


def decisions_panel(facts: TaskFacts) -> DecisionsPanel:
    """What waits for a person: who must approve, what was refused, what does not move."""
    found = (
        *_silent_chain(facts),
        *_late_round(facts),
        *_paused(facts),
        *_too_few_nodes(facts),
        *_absent_nodes(facts),
        *_pending_slashes(facts),
        *_empty_pool(facts),
        *_failed_run(facts),
        *(_refused(intent, facts) for intent in facts.refused if _still_matters(intent, facts)),
    )
    return DecisionsPanel(found)


def accuracy_panel(facts: TaskFacts) -> AccuracyPanel:
    """The base model and the federated model after each round; what else was tested stands apart."""
    aggregates = {each.round: each.aggregate_digest for each in facts.rounds}
    aggregates[0] = facts.task.config.genesis_digest
    points: dict[int, AccuracyPoint] = {}
    others: list[OtherModel] = []
    for record in facts.evaluations:
        if record.digest == aggregates.get(record.round) and record.round not in points:
            points[record.round] = _point(record)
        else:
            others.append(_other(record))
    ordered = tuple(points[number] for number in sorted(points))
    total = facts.task.config.rounds
    return AccuracyPanel(ordered, tuple(others), total, _accuracy_chart(points, total))


def nodes_panel(facts: TaskFacts) -> NodesPanel:
    """Every node ever admitted, its stake and what it may claim."""
    return NodesPanel(
        tuple(
            NodeRow(
                party=_party(facts, node.node),
                group=node.group,
                stake=node.stake,
                leaving=node.unbonding_total,
                claimable=node.claimable,
                approved=node.node in facts.task.approved,
                out_of_draws=_out_of_draws(node, facts),
                roles=_roles(facts, node.node),
                is_settled=node.changed_block <= facts.final_block,
            )
            for node in facts.nodes
        )
    )


def rounds_panel(facts: TaskFacts, all_rounds: bool = False) -> RoundsPanel:
    """The newest rounds, or all of them."""
    newest_first = sorted(facts.rounds, key=lambda each: -each.round)
    shown = newest_first if all_rounds else newest_first[:SHOWN_ROUNDS]
    return RoundsPanel(
        cards=tuple(
            round_card(
                state,
                RoundSetting(
                    config=facts.task.config,
                    names=facts.names,
                    gas=facts.gas.get(state.round, {}),
                    slashes=facts.slashes,
                    final_block=facts.final_block,
                    now_unix_s=facts.now_unix_s,
                ),
            )
            for state in shown
        ),
        earlier=len(newest_first) - len(shown),
    )


def rewards_panel(facts: TaskFacts) -> RewardsPanel:
    """What each node earned in each closed round of this task."""
    closed = [each for each in facts.rounds if each.phase.closed]
    paid = {each.round: {reward.node: reward.amount for reward in each.rewards} for each in closed}
    numbers = tuple(each.round for each in closed)
    rows = tuple(
        RewardRow(
            party=_party(facts, node.node),
            amounts=tuple(paid[number].get(node.node) for number in numbers),
            total=sum(paid[number].get(node.node, 0) for number in numbers),
        )
        for node in facts.nodes
    )
    provisional = frozenset(each.round for each in closed if each.changed_block > facts.final_block)
    return RewardsPanel(numbers, provisional, rows if closed else (), _rewards_chart(numbers, rows))


def events_panel(facts: TaskFacts) -> EventsPanel:
    """The newest events, newest first."""
    return EventsPanel(
        tuple(
            event_row(event, _party(facts, event.announcement.node).name if event.announcement.node else None)
            for event in facts.events
            if not says_twice(event)
        )
    )


def _party(facts: TaskFacts, node: str) -> Party:
    return Party(node, facts.names.get(node) or text.short(node))


def _roles(facts: TaskFacts, node: str) -> tuple[str, ...]:
    open_round = facts.open_round
    if open_round is None:
        return ()
    drawn = (("proposer", open_round.proposers), ("voter", open_round.voters))
    return tuple(role for role, nodes in drawn if node in nodes)


def _state(facts: TaskFacts) -> tuple[str, Tone]:
    if facts.task.is_over:
        return ("Cancelled", "warn") if facts.task.is_cancelled else ("All rounds done", "good")
    if facts.task.is_cancelled:
        return "Cancelled, last round open", "warn"
    if facts.task.is_paused:
        return "Paused", "warn"
    if facts.open_round is not None:
        return "Running", "live"
    if _too_few_nodes(facts):
        return "Waiting for approvals", "warn"
    return "Between rounds", "calm"


# What needs a decision


def _silent_chain(facts: TaskFacts) -> tuple[Decision, ...]:
    if facts.head is None:
        return (
            Decision(
                "chain",
                "bad",
                "The chain was not read yet",
                "No block has been indexed, so nothing on this page is newer than that.",
                "Start the worker:",
                "collegium worker",
            ),
        )
    silent_s = facts.now_unix_s - facts.head.timestamp_unix_s
    if silent_s < SILENT_CHAIN_S:
        return ()
    return (
        Decision(
            "chain",
            "bad",
            "The chain has gone silent",
            f"The last block that was read, {facts.head.number:,}, is {text.duration(silent_s)} old; "
            "this page shows the state at that block.",
            "Check that the worker runs, and that the chain's RPC address answers.",
        ),
    )


def _late_round(facts: TaskFacts) -> tuple[Decision, ...]:
    open_round = facts.open_round
    if open_round is None or not open_round.deadline_unix_s:
        return ()
    late_s = facts.now_unix_s - open_round.deadline_unix_s
    if late_s < LATE_ADVANCE_S:
        return ()
    return (
        Decision(
            "late",
            "warn",
            f"Round {open_round.round} is past its deadline",
            f"The phase {text.phase_name(open_round.phase)} ended {text.duration(late_s)} ago "
            "and nobody has advanced the round.",
            "Check that the worker runs; anyone may call advance on the rounds contract.",
        ),
    )


def _too_few_nodes(facts: TaskFacts) -> tuple[Decision, ...]:
    if not facts.task.may_open_rounds or facts.open_round is not None:
        return ()
    config = facts.task.config
    needed = max(config.proposers, config.voters)
    approved = [node for node in facts.nodes if node.node in facts.task.approved]
    ready = [node for node in approved if node.eligible_stake(facts.registry.terms) > 0]
    if len(ready) >= needed:
        return ()
    silent = [_party(facts, node.node).name for node in facts.nodes if node not in approved]
    unstaked = [_party(facts, node.node).name for node in approved if node.stake == 0]
    kept_out = [
        _party(facts, node.node).name for node in approved if node.stake > 0 and _out_of_draws(node, facts)
    ]
    detail = [f"{len(ready)} of {needed} nodes that a round needs have approved it and hold a stake."]
    if silent:
        detail.append(f"Not approved by: {', '.join(silent)}.")
    if unstaked:
        detail.append(f"Approved, without a stake: {', '.join(unstaked)}.")
    if kept_out:
        detail.append(f"Dismissed, or absent too often: {', '.join(kept_out)}.")
    if len(facts.nodes) < needed:
        detail.append(f"Only {len(facts.nodes)} are admitted.")
    return (
        Decision(
            "approvals",
            "warn",
            "The task waits for approvals",
            " ".join(detail),
            "An admin may admit further networks; a network approves with",
            "collegium node approve",
        ),
    )


def _paused(facts: TaskFacts) -> tuple[Decision, ...]:
    if not facts.task.is_paused or facts.task.is_over:
        return ()
    return (
        Decision(
            "paused",
            "warn",
            "The task is paused",
            "No round is opened until the council lifts the pause.",
            "An admin lets it go on with",
            f"collegium task unpause --task {facts.task.task}",
        ),
    )


def _out_of_draws(node: NodeState, facts: TaskFacts) -> str | None:
    if not node.admitted:
        return "dismissed"
    return "absent too often" if node.absences >= facts.registry.terms.most_absences else None


def _absent_nodes(facts: TaskFacts) -> tuple[Decision, ...]:
    if facts.task.is_over:
        return ()
    return tuple(
        Decision(
            f"absent-{node.node}",
            "warn",
            f"{_party(facts, node.node).name} was absent too often",
            f"It missed {node.absences} rounds in a row and is not drawn until it says that it is back.",
            "Its operator does so with",
            "collegium node return",
        )
        for node in facts.nodes
        if node.admitted and node.node in facts.task.approved and _out_of_draws(node, facts)
    )


def _pending_slashes(facts: TaskFacts) -> tuple[Decision, ...]:
    pending = [slash for slash in facts.slashes if slash.status is SlashStatus.PENDING]
    return tuple(_pending_slash(slash, facts) for slash in pending)


def _pending_slash(slash: SlashState, facts: TaskFacts) -> Decision:
    left_s = slash.executable_unix_s - facts.now_unix_s
    fault = FAULTS[slash.fault]
    detail = (
        f"In round {slash.round} it {fault}; {text.tokens(slash.amount)} tokens of its stake are set aside."
    )
    title = f"A fault of {_party(facts, slash.node).name} is recorded"
    key = f"slash-{slash.slash}"
    if left_s > 0:
        action = f"The council may waive it for another {text.duration(left_s)}:"
        return Decision(key, "warn", title, detail, action, f"collegium slash waive --slash {slash.slash}")
    action = "The time to waive it is over; it goes to the task's pool with"
    return Decision(key, "calm", title, detail, action, f"collegium slash execute --slash {slash.slash}")


def _empty_pool(facts: TaskFacts) -> tuple[Decision, ...]:
    if facts.task.pool > 0 or not facts.task.may_open_rounds:
        return ()
    return (
        Decision(
            "pool",
            "warn",
            "The pool is empty",
            "The next round would pay nobody.",
            "Fund the task; anyone may add to its pool.",
        ),
    )


def _failed_run(facts: TaskFacts) -> tuple[Decision, ...]:
    run = facts.run
    if run is None or run.status not in ("failed", "lost") or facts.open_round is None:
        return ()
    return (
        Decision(
            "run",
            "bad",
            f"The conductor of round {run.round} ended early",
            run.error or "Its Flower run did not finish.",
            "The worker starts it again until the deadline; look at the SuperLink's log if it repeats.",
        ),
    )


def _still_matters(intent: Intent, facts: TaskFacts) -> bool:
    """A refused message of a round that is over needs nobody's decision any more."""
    open_round = facts.open_round
    subject = subject_of(intent.call)
    return subject.round is None or (open_round is not None and subject.round == open_round.round)


def _refused(intent: Intent, facts: TaskFacts) -> Decision:
    subject = subject_of(intent.call)
    parts = [subject.kind.replace("_", " ").capitalize()]
    if subject.node:
        parts.append(f"of {_party(facts, subject.node).name}")
    if subject.round:
        parts.append(f"in round {subject.round}")
    return Decision(
        f"intent-{intent.id}",
        "bad",
        "The chain refused a transaction",
        f"{' '.join(parts)}: {intent.error or 'no reason given'}.",
        "A round goes on without it; a refused order of an admin is to be corrected and sent again.",
    )


# Charts


def _point(record: EvaluationRecord) -> AccuracyPoint:
    return AccuracyPoint(
        round=record.round,
        accuracy=record.accuracy,
        interval_low=record.interval_low,
        interval_high=record.interval_high,
        correct=record.correct,
        records=record.records,
    )


def _other(record: EvaluationRecord) -> OtherModel:
    return OtherModel(
        name=record.name,
        round=record.round,
        accuracy=record.accuracy,
        interval_low=record.interval_low,
        interval_high=record.interval_high,
        correct=record.correct,
        records=record.records,
    )


def _accuracy_chart(points: dict[int, AccuracyPoint], rounds_total: int) -> str:
    shown = [points.get(number) for number in range(rounds_total + 1)]
    return json.dumps(
        {
            "categories": ["Base", *(f"Round {number}" for number in range(1, rounds_total + 1))],
            "accuracy": [point and point.accuracy for point in shown],
            "low": [point and point.interval_low for point in shown],
            "high": [point and point.interval_high for point in shown],
        }
    )


def _rewards_chart(rounds: tuple[int, ...], rows: tuple[RewardRow, ...]) -> str:
    return json.dumps(
        {
            "nodes": [row.party.name for row in rows],
            "rounds": [
                {
                    "name": f"Round {number}",
                    "tokens": [_in_tokens(row.amounts[place]) for row in rows],
                }
                for place, number in enumerate(rounds)
            ],
        }
    )


def _in_tokens(amount: int | None) -> float:
    return (amount or 0) / text.TOKEN
