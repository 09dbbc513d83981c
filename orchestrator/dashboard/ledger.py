"""From the ledger's facts to its page: transactions, faults, and what each node has earned."""

from orchestrator.dashboard import text
from orchestrator.dashboard.rounds import fault_row
from orchestrator.dashboard.view import (
    AccountRow,
    LedgerFault,
    LedgerPage,
    Party,
    Tone,
    TransactionRow,
)
from orchestrator.domain.outbox import Intent, IntentStatus, subject_of
from orchestrator.domain.state import NodeState, SlashState, SlashStatus
from orchestrator.services.ledger_facts import LedgerFacts

_STATES: dict[IntentStatus, tuple[str, Tone]] = {
    IntentStatus.QUEUED: ("queued", "calm"),
    IntentStatus.SIGNED: ("signed", "calm"),
    IntentStatus.SENT: ("sent", "live"),
    IntentStatus.MINED: ("in a block", "live"),
    IntentStatus.FINAL: ("in a block", "good"),
    IntentStatus.REORGED: ("lost its block", "warn"),
    IntentStatus.RESENT: ("sent again", "warn"),
    IntentStatus.REFUSED: ("refused", "bad"),
}
"""A transaction's status as people call it."""
_FILTERS = (
    (IntentStatus.QUEUED, "queued"),
    (IntentStatus.SENT, "sent"),
    (IntentStatus.MINED, "provisional"),
    (IntentStatus.FINAL, "settled"),
    (IntentStatus.RESENT, "sent again"),
    (IntentStatus.REFUSED, "refused"),
)


def ledger_page(facts: LedgerFacts, status: IntentStatus | None, is_newest: bool) -> LedgerPage:
    """The whole page; ``is_newest``: it shows the newest transactions."""
    return LedgerPage(
        transactions=tuple(_transaction(intent, facts) for intent in facts.transactions),
        older=facts.older,
        status=status,
        filters=_FILTERS,
        is_newest=is_newest,
        faults=tuple(_fault(slash, facts) for slash in facts.faults),
        accounts=tuple(_account(node, facts) for node in facts.nodes),
    )


def _transaction(intent: Intent, facts: LedgerFacts) -> TransactionRow:
    subject = subject_of(intent.call)
    state, tone = _STATES[intent.status]
    return TransactionRow(
        number=intent.id,
        kind=subject.kind.replace("_", " "),
        task=subject.task,
        round=subject.round,
        party=_party(subject.node, facts) if subject.node else None,
        state=state,
        tone=tone,
        is_settled=intent.is_final if intent.block_number is not None else None,
        block=intent.block_number,
        gas=intent.gas_used or None,
        transaction_hash=intent.transaction_hash,
        error=intent.error,
        when_unix_s=intent.changed_unix_s,
    )


def _fault(slash: SlashState, facts: LedgerFacts) -> LedgerFault:
    left_s = slash.executable_unix_s - facts.now_unix_s
    return LedgerFault(
        task=slash.task,
        round=slash.round,
        appeal_left_s=left_s if slash.status is SlashStatus.PENDING and left_s > 0 else None,
        row=fault_row(slash, _party(slash.node, facts), facts.final_block),
    )


def _account(node: NodeState, facts: LedgerFacts) -> AccountRow:
    return AccountRow(
        party=_party(node.node, facts),
        stake=node.stake,
        leaving=node.unbonding_total,
        withdrawable=node.mature(facts.now_unix_s),
        earned=node.earned,
        claimed=node.claimed,
        claimable=node.claimable,
        is_settled=node.changed_block <= facts.final_block,
    )


def _party(node: str, facts: LedgerFacts) -> Party:
    return Party(node, facts.names.get(node) or text.short(node))
