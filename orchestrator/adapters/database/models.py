"""The tables. Those of the projection hold nothing that the chain could not tell again.

Amounts of token exceed 64 bits and are kept as decimal text; times are unix seconds.
"""

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Dialect,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    String,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator


class BaseUnits(TypeDecorator[int]):
    """A token amount: up to 78 decimal digits."""

    impl = String(78)
    cache_ok = True

    def process_bind_param(self, value: int | None, dialect: Dialect) -> str | None:
        """To the database."""
        return None if value is None else str(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> int | None:
        """From the database."""
        return None if value is None else int(value)


Address = String(42)
DigestText = String(66)
# SQLite numbers rows by itself only in a column of type INTEGER.
RowNumber = BigInteger().with_variant(Integer, "sqlite")


class Base(DeclarativeBase):
    """All tables."""

    type_annotation_map = {int: BigInteger, dict[str, Any]: JSON, list[int]: JSON}  # noqa: RUF012


# The projection: rebuilt from the chain.


class ChainCursorRow(Base):
    """The last indexed block; one row."""

    __tablename__ = "chain_cursor"

    id: Mapped[int] = mapped_column(primary_key=True)
    number: Mapped[int]
    hash: Mapped[str] = mapped_column(DigestText)
    parent_hash: Mapped[str] = mapped_column(DigestText)
    timestamp_unix_s: Mapped[int]
    final_number: Mapped[int]


class ChainBlockRow(Base):
    """The hash of one of the newest indexed blocks."""

    __tablename__ = "chain_blocks"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    hash: Mapped[str] = mapped_column(DigestText)


class ChainEventRow(Base):
    """An event as it was indexed."""

    __tablename__ = "chain_events"
    __table_args__ = (
        UniqueConstraint("transaction_hash", "block_hash", "log_index", name="uq_chain_events_log"),
    )

    block_number: Mapped[int] = mapped_column(primary_key=True)
    log_index: Mapped[int] = mapped_column(primary_key=True)
    block_hash: Mapped[str] = mapped_column(DigestText)
    transaction_hash: Mapped[str] = mapped_column(DigestText, index=True)
    block_unix_s: Mapped[int]
    kind: Mapped[str] = mapped_column(String(40))
    payload: Mapped[dict[str, Any]]


class RegistryRow(Base):
    """The registry; one row."""

    __tablename__ = "registry"

    id: Mapped[int] = mapped_column(primary_key=True)
    unbonding_s: Mapped[int]
    appeal_s: Mapped[int]
    most_absences: Mapped[int]
    successor: Mapped[str | None] = mapped_column(Address)


class NodeRow(Base):
    """A node."""

    __tablename__ = "nodes"

    node: Mapped[str] = mapped_column(Address, primary_key=True)
    signer: Mapped[str] = mapped_column(Address)
    group: Mapped[int] = mapped_column("group_number")
    admitted: Mapped[bool]
    stake: Mapped[int] = mapped_column(BaseUnits)
    open_rounds: Mapped[int]
    pending_slashes: Mapped[int]
    absences: Mapped[int]
    earned: Mapped[int] = mapped_column(BaseUnits)
    claimed: Mapped[int] = mapped_column(BaseUnits)
    withdrawn: Mapped[int] = mapped_column(BaseUnits)
    tasks_nonce: Mapped[int]
    registry_nonce: Mapped[int]
    changed_block: Mapped[int]


class UnbondingRow(Base):
    """An amount on its way out of a node's stake; ``position`` counts from the first to mature."""

    __tablename__ = "unbonding"

    node: Mapped[str] = mapped_column(Address, ForeignKey("nodes.node", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    matures_unix_s: Mapped[int]
    amount: Mapped[int] = mapped_column(BaseUnits)


class SlashRow(Base):
    """A fault, and the amount that was set aside for it."""

    __tablename__ = "slashes"
    __table_args__ = (Index("ix_slashes_task", "task"),)

    slash: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    node: Mapped[str] = mapped_column(Address)
    task: Mapped[int]
    round: Mapped[int]
    fault: Mapped[int]
    amount: Mapped[int] = mapped_column(BaseUnits)
    executable_unix_s: Mapped[int]
    status: Mapped[str] = mapped_column(String(10))
    changed_block: Mapped[int]


class TaskRow(Base):
    """A task."""

    __tablename__ = "tasks"

    task: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    spec_digest: Mapped[str] = mapped_column(DigestText, index=True)
    genesis_digest: Mapped[str] = mapped_column(DigestText, index=True)
    config: Mapped[dict[str, Any]]
    parent_digest: Mapped[str] = mapped_column(DigestText)
    pool: Mapped[int] = mapped_column(BaseUnits)
    open_reward: Mapped[int] = mapped_column(BaseUnits)
    contributed: Mapped[int] = mapped_column(BaseUnits)
    refunded: Mapped[int] = mapped_column(BaseUnits)
    rounds_requested: Mapped[int]
    rounds_closed: Mapped[int]
    pause_changes: Mapped[int]
    is_cancelled: Mapped[bool]
    is_over: Mapped[bool]
    changed_block: Mapped[int]


class ApprovalRow(Base):
    """A node's approval of a task."""

    __tablename__ = "approvals"

    task: Mapped[int] = mapped_column(ForeignKey("tasks.task", ondelete="CASCADE"), primary_key=True)
    node: Mapped[str] = mapped_column(Address, primary_key=True)


class RoundRow(Base):
    """A round."""

    __tablename__ = "rounds"

    task: Mapped[int] = mapped_column(ForeignKey("tasks.task", ondelete="CASCADE"), primary_key=True)
    round: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    phase: Mapped[int]
    parent_digest: Mapped[str] = mapped_column(DigestText)
    aggregate_digest: Mapped[str | None] = mapped_column(DigestText, index=True)
    context: Mapped[str] = mapped_column(String(34))
    deadline_unix_s: Mapped[int]
    seed_block: Mapped[int]
    seed: Mapped[str | None] = mapped_column(DigestText)
    reward: Mapped[int] = mapped_column(BaseUnits)
    changed_block: Mapped[int]


class _OfRound:
    """The two columns that name a round."""

    task: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    round: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)


def _round_key() -> ForeignKeyConstraint:
    return ForeignKeyConstraint(["task", "round"], ["rounds.task", "rounds.round"], ondelete="CASCADE")


class RoundMemberRow(_OfRound, Base):
    """A node's place in a round's list: eligible with its frozen stake, proposer or voter with its group."""

    __tablename__ = "round_members"
    __table_args__ = (_round_key(),)

    role: Mapped[str] = mapped_column(String(10), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    node: Mapped[str] = mapped_column(Address)
    stake: Mapped[int | None] = mapped_column(BaseUnits)
    group: Mapped[int | None] = mapped_column("group_number")


class RoundPhaseRow(_OfRound, Base):
    """When a phase began."""

    __tablename__ = "round_phases"
    __table_args__ = (_round_key(),)

    phase: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    started_unix_s: Mapped[int]


class ProposalRow(_OfRound, Base):
    """A proposal."""

    __tablename__ = "proposals"
    __table_args__ = (
        _round_key(),
        Index("ix_proposals_adapter_digest", "adapter_digest"),
        Index("ix_proposals_report_digest", "report_digest"),
    )

    node: Mapped[str] = mapped_column(Address, primary_key=True)
    adapter_digest: Mapped[str] = mapped_column(DigestText)
    report_digest: Mapped[str] = mapped_column(DigestText)
    standing: Mapped[int]
    median_improvement_micronats: Mapped[int | None]
    proven_invalid: Mapped[bool]


class VoteRow(_OfRound, Base):
    """A vote."""

    __tablename__ = "votes"
    __table_args__ = (_round_key(),)

    node: Mapped[str] = mapped_column(Address, primary_key=True)
    commitment: Mapped[str] = mapped_column(DigestText)
    # SQL NULL, not the JSON word null, while the vote is not revealed.
    scores_micronats: Mapped[list[int] | None] = mapped_column(JSON(none_as_null=True))


class AttestationRow(_OfRound, Base):
    """An attestation."""

    __tablename__ = "attestations"
    __table_args__ = (_round_key(), Index("ix_attestations_aggregate_digest", "aggregate_digest"))

    node: Mapped[str] = mapped_column(Address, primary_key=True)
    aggregate_digest: Mapped[str] = mapped_column(DigestText)
    score_micronats: Mapped[int]


class RewardRow(_OfRound, Base):
    """A reward."""

    __tablename__ = "rewards"
    __table_args__ = (_round_key(),)

    node: Mapped[str] = mapped_column(Address, primary_key=True)
    amount: Mapped[int] = mapped_column(BaseUnits)


# The hub's own records.


class NodeNameRow(Base):
    """A node's display name; kept when the projection is built again."""

    __tablename__ = "node_names"

    node: Mapped[str] = mapped_column(Address, primary_key=True)
    name: Mapped[str] = mapped_column(String(100))


class TaskOrderRow(Base):
    """A task as ordered."""

    __tablename__ = "task_orders"

    spec_digest: Mapped[str] = mapped_column(DigestText, primary_key=True)
    name: Mapped[str] = mapped_column(String(100))
    call_key: Mapped[str] = mapped_column(String(200))
    pool: Mapped[int] = mapped_column(BaseUnits)
    created_unix_s: Mapped[int]


class IntentRow(Base):
    """An intent of the outbox."""

    __tablename__ = "outbox"
    __table_args__ = (
        UniqueConstraint("key", name="uq_outbox_key"),
        UniqueConstraint("sender", "nonce", "position", name="uq_outbox_slot"),
        Index("ix_outbox_status", "status"),
        Index("ix_outbox_round", "task", "round"),
        Index("ix_outbox_block_number", "block_number"),
    )

    id: Mapped[int] = mapped_column(RowNumber, primary_key=True)
    key: Mapped[str] = mapped_column(String(200))
    kind: Mapped[str] = mapped_column(String(20))
    task: Mapped[int | None]
    round: Mapped[int | None]
    node: Mapped[str | None] = mapped_column(Address)
    payload: Mapped[dict[str, Any]]
    status: Mapped[str] = mapped_column(String(10))
    attempts: Mapped[int]
    created_unix_s: Mapped[int]
    changed_unix_s: Mapped[int]
    sender: Mapped[str | None] = mapped_column(Address)
    nonce: Mapped[int | None]
    position: Mapped[int | None]
    transaction_hash: Mapped[str | None] = mapped_column(DigestText)
    gas_used: Mapped[int]
    block_number: Mapped[int | None]
    block_hash: Mapped[str | None] = mapped_column(DigestText)
    is_final: Mapped[bool]
    error: Mapped[str | None] = mapped_column(String(500))
    correlation_id: Mapped[str | None] = mapped_column(String(64))


class TransactionRow(Base):
    """A transaction that was signed; stored before it was ever sent."""

    __tablename__ = "transactions"
    __table_args__ = (
        UniqueConstraint("hash", name="uq_transactions_hash"),
        Index("ix_transactions_slot", "sender", "nonce"),
    )

    id: Mapped[int] = mapped_column(RowNumber, primary_key=True)
    hash: Mapped[str] = mapped_column(DigestText)
    sender: Mapped[str] = mapped_column(Address)
    nonce: Mapped[int]
    raw: Mapped[bytes] = mapped_column(LargeBinary)
    most_wei: Mapped[int] = mapped_column(BaseUnits)
    tip_wei: Mapped[int] = mapped_column(BaseUnits)
    signed_unix_s: Mapped[int]


class LeaseRow(Base):
    """The worker's lease; one row."""

    __tablename__ = "worker_lease"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    holder: Mapped[str] = mapped_column(String(100))
    fence: Mapped[int]
    expires_unix_s: Mapped[int]


class WitnessRow(Base):
    """An RPC endpoint when it was last looked at."""

    __tablename__ = "chain_witnesses"

    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(String(40))
    head: Mapped[int | None]
    checked_unix_s: Mapped[int]
    fault: Mapped[str | None] = mapped_column(String(300))
    is_disputed: Mapped[bool]


class EvaluationRow(Base):
    """An evaluation."""

    __tablename__ = "evaluations"

    task: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    round: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    digest: Mapped[str] = mapped_column(DigestText)
    records: Mapped[int]
    correct: Mapped[int]
    accuracy: Mapped[float] = mapped_column(Float)
    interval_low: Mapped[float] = mapped_column(Float)
    interval_high: Mapped[float] = mapped_column(Float)
    loss_nats: Mapped[float] = mapped_column(Float)


class FlowerRunRow(Base):
    """A submission of a round's conductor."""

    __tablename__ = "flower_runs"
    __table_args__ = (Index("ix_flower_runs_round", "task", "round"),)

    id: Mapped[int] = mapped_column(RowNumber, primary_key=True)
    task: Mapped[int]
    round: Mapped[int]
    run_id: Mapped[str | None] = mapped_column(String(40))
    status: Mapped[str] = mapped_column(String(12))
    changed_unix_s: Mapped[int]
    error: Mapped[str | None] = mapped_column(String(500))


class StreamRow(Base):
    """One line of what happened."""

    __tablename__ = "event_stream"
    # A number is never given twice, also not after rows were removed: followers resume by it.
    __table_args__ = {"sqlite_autoincrement": True}  # noqa: RUF012

    id: Mapped[int] = mapped_column(RowNumber, primary_key=True)
    created_unix_s: Mapped[int]
    kind: Mapped[str] = mapped_column(String(40))
    task: Mapped[int | None]
    round: Mapped[int | None]
    node: Mapped[str | None] = mapped_column(Address)
    facts: Mapped[dict[str, Any]]


class IdempotencyRow(Base):
    """A request that carries an ``Idempotency-Key``; ``status`` is null while it has no answer."""

    __tablename__ = "idempotency_keys"

    scope: Mapped[str] = mapped_column(String(64), primary_key=True)
    token: Mapped[str] = mapped_column(String(32))
    fingerprint: Mapped[str] = mapped_column(String(64))
    claimed_unix_s: Mapped[int] = mapped_column(index=True)
    status: Mapped[int | None]
    headers: Mapped[dict[str, Any]]
    body: Mapped[bytes | None] = mapped_column(LargeBinary)


PROJECTION_TABLES = (
    RewardRow,
    AttestationRow,
    VoteRow,
    ProposalRow,
    RoundPhaseRow,
    RoundMemberRow,
    RoundRow,
    ApprovalRow,
    TaskRow,
    SlashRow,
    UnbondingRow,
    NodeRow,
    RegistryRow,
    ChainEventRow,
    ChainBlockRow,
    ChainCursorRow,
)
"""Rebuilt from the chain; in an order in which rows can be deleted."""
