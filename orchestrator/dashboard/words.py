"""What happened, in words: one sentence per line of the event stream, and the panels that it changes."""

from contracts.phase import Phase
from orchestrator.dashboard import text
from orchestrator.dashboard.rounds import FAULTS
from orchestrator.dashboard.view import EventRow, Tone
from orchestrator.domain.ports import StreamEvent

PANELS = ("header", "decisions", "accuracy", "nodes", "rounds", "rewards", "events")
"""The panels of the task page, by the name they are asked for."""

_SENTENCES = {
    "node.admitted": "{node} was admitted",
    "node.left": "{node} was dismissed by the council",
    "node.returned": "{node} is back",
    "node.absent_too_often": "{node} was absent {absences} times running and is not drawn any more",
    "node.exit_requested": "{node} takes {amount} tokens out of its stake",
    "node.withdrawn": "{node} was paid {amount} tokens of its stake",
    "node.migrated": "{node} moved {amount} tokens to the successor registry",
    "node.signer_rotated": "{node} changed its signing key",
    "node.stake_changed": "{node} now stakes {stake} tokens",
    "node.claimed": "{node} was paid {amount} tokens",
    "task.created": "The task was created on chain",
    "task.funded": "{amount} tokens were added to the pool",
    "task.topped_up": "{amount} tokens were added to the pool by a slash or a gift",
    "task.approved": "{node} approved the task",
    "task.revoked": "{node} took its approval back",
    "task.paused": "The council paused the task",
    "task.unpaused": "The council let the task go on",
    "task.cancelled": "The council cancelled the task",
    "task.ended": "The task is over; {refundable} tokens are left in its pool",
    "task.refunded": "{amount} tokens were refunded",
    "round.requested": "Round {round} was requested",
    "round.drawn": "Round {round}: proposers and voters were drawn",
    "round.phase": "Round {round}: {phase}",
    "round.proposed": "Round {round}: {node} proposed an adapter",
    "round.committed": "Round {round}: {node} committed to its scores",
    "round.revealed": "Round {round}: {node} revealed its scores",
    "round.tallied": "Round {round}: {accepted} of {proposals} proposals accepted",
    "round.attested": "Round {round}: {node} attested the aggregate",
    "round.rewarded": "Round {round}: {paid} tokens of reward credited",
    "fault.recorded": "Round {round}: {node} {fault}; {amount} tokens are set aside",
    "slash.waived": "Round {round}: the council waived the slash of {node}, {amount} tokens",
    "slash.executed": "Round {round}: the slash of {node}, {amount} tokens, went to the pool",
    "registry.successor_named": "The council named a registry that stakes may move to",
    "relay.skipped": "A message in a batch was refused by the chain",
    "evaluation.recorded": "{model} ({name}): {correct} of {records} test records right",
    "conductor.running": "Round {round}: its conductor is at work",
    "conductor.completed": "Round {round}: its conductor is done",
    "conductor.failed": "Round {round}: its conductor failed",
    "conductor.stopped": "Round {round}: its conductor was stopped",
    "conductor.lost": "Round {round}: its conductor is lost",
    "task.ordered": "The task was ordered",
    "intent.refused": "The chain refused a transaction ({kind}): {reason}",
    "chain.reorganised": "The chain was reorganised; this page was built again from it",
}
_PANELS_OF_SUBJECT: dict[str, tuple[str, ...]] = {
    "node": ("decisions", "nodes", "rewards", "events"),
    "task": ("header", "decisions", "nodes", "events"),
    "round": ("header", "decisions", "nodes", "rounds", "events"),
    "fault": ("decisions", "nodes", "rounds", "events"),
    "slash": ("header", "decisions", "nodes", "rounds", "events"),
    "registry": ("events",),
    "relay": ("events",),
    "evaluation": ("header", "accuracy", "events"),
    "conductor": ("decisions", "events"),
    "intent": ("decisions", "rounds", "events"),
}
_AMOUNTS = ("amount", "stake", "paid", "refundable")


def panels_of(kind: str) -> tuple[str, ...]:
    """The panels that an event of that kind changes; all of them for a kind that this page does not know."""
    if kind in ("round.rewarded", "round.closed"):
        return PANELS
    return _PANELS_OF_SUBJECT.get(kind.partition(".")[0], PANELS)


def says_twice(event: StreamEvent) -> bool:
    """Whether another line says the same: a closing phase is followed by the round's closing."""
    facts = event.announcement.facts
    return event.announcement.kind == "round.phase" and _phase(str(facts.get("phase", ""))).closed


def event_row(event: StreamEvent, node_name: str | None) -> EventRow:
    """One line of the recent events."""
    announcement = event.announcement
    words: dict[str, object] = {
        "node": node_name or "A node",
        "round": announcement.round,
        "model": f"Round {announcement.round}" if announcement.round else "Base model",
    }
    for key, value in announcement.facts.items():
        words[key] = text.tokens(int(str(value))) if key in _AMOUNTS else value
    if announcement.kind == "fault.recorded":
        words["fault"] = _fault(str(announcement.facts.get("fault", "")))
    phase = _phase(str(announcement.facts.get("phase", "")))
    if announcement.kind == "round.closed":
        sentence = (
            f"Round {announcement.round} is {text.phase_name(phase).lower()}: {text.phase_meaning(phase)}"
        )
    else:
        template = _SENTENCES.get(announcement.kind, _plain(announcement.kind))
        words["phase"] = text.phase_name(phase)
        sentence = template.format_map(_Words(words))
    return EventRow(
        id=event.id,
        when_unix_s=event.created_unix_s,
        text=sentence,
        tone=_tone(announcement.kind, phase),
        round=announcement.round,
    )


class _Words(dict[str, object]):
    """A sentence's words; one that is missing shows as a dash, so that an odd event never breaks the page."""

    def __missing__(self, key: str) -> str:
        """The dash."""
        return "—"


def _fault(name: str) -> str:
    return next((words for fault, words in FAULTS.items() if fault.name.lower() == name), "broke a rule")


def _phase(label: str) -> Phase:
    return next((phase for phase in Phase if phase.label == label), Phase.NONE)


def _plain(kind: str) -> str:
    """A kind that this page does not know, as it is called: ``run.failed`` → ``Run failed``."""
    return kind.replace(".", " ").replace("_", " ").capitalize().replace("{", "").replace("}", "")


def _tone(kind: str, phase: Phase) -> Tone:
    if kind.endswith((".refused", ".failed", ".lost")):
        return "bad"
    if kind == "round.closed":
        return {Phase.FINAL: "good", Phase.REJECTED: "warn"}.get(phase, "bad")  # type: ignore[return-value]
    if kind in ("fault.recorded", "node.absent_too_often", "node.left", "task.paused", "task.cancelled"):
        return "warn"
    return "live" if kind == "round.phase" else "calm"
