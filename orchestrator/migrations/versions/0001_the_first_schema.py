"""The first schema: the projection of the chain, and the hub's own records."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the change."""
    op.create_table(
        "api_tokens",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("role", sa.String(length=20), nullable=False),
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("expires_unix_s", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("token_hash"),
    )
    with op.batch_alter_table("api_tokens", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_api_tokens_name"), ["name"], unique=False)

    op.create_table(
        "chain_cursor",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.String(length=66), nullable=False),
        sa.Column("parent_hash", sa.String(length=66), nullable=False),
        sa.Column("timestamp_unix_s", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "chain_events",
        sa.Column("block_number", sa.BigInteger(), nullable=False),
        sa.Column("log_index", sa.BigInteger(), nullable=False),
        sa.Column("block_hash", sa.String(length=66), nullable=False),
        sa.Column("transaction_hash", sa.String(length=66), nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("payload", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("block_number", "log_index"),
    )
    with op.batch_alter_table("chain_events", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_chain_events_transaction_hash"), ["transaction_hash"], unique=False
        )

    op.create_table(
        "evaluations",
        sa.Column("task", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("round", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("digest", sa.String(length=66), nullable=False),
        sa.Column("records", sa.BigInteger(), nullable=False),
        sa.Column("correct", sa.BigInteger(), nullable=False),
        sa.Column("accuracy", sa.Float(), nullable=False),
        sa.Column("interval_low", sa.Float(), nullable=False),
        sa.Column("interval_high", sa.Float(), nullable=False),
        sa.Column("loss_nats", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("task", "round", "name"),
    )
    op.create_table(
        "event_stream",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_unix_s", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("task", sa.BigInteger(), nullable=True),
        sa.Column("round", sa.BigInteger(), nullable=True),
        sa.Column("node", sa.String(length=42), nullable=True),
        sa.Column("facts", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "flower_runs",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("task", sa.BigInteger(), nullable=False),
        sa.Column("round", sa.BigInteger(), nullable=False),
        sa.Column("run_id", sa.String(length=40), nullable=True),
        sa.Column("status", sa.String(length=12), nullable=False),
        sa.Column("changed_unix_s", sa.BigInteger(), nullable=False),
        sa.Column("error", sa.String(length=500), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("flower_runs", schema=None) as batch_op:
        batch_op.create_index("ix_flower_runs_round", ["task", "round"], unique=False)

    op.create_table(
        "node_names",
        sa.Column("node", sa.String(length=42), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.PrimaryKeyConstraint("node"),
    )
    op.create_table(
        "nodes",
        sa.Column("node", sa.String(length=42), nullable=False),
        sa.Column("signer", sa.String(length=42), nullable=False),
        sa.Column("group_number", sa.BigInteger(), nullable=False),
        sa.Column("stake", sa.String(length=78), nullable=False),
        sa.Column("earned", sa.String(length=78), nullable=False),
        sa.Column("claimed", sa.String(length=78), nullable=False),
        sa.PrimaryKeyConstraint("node"),
    )
    op.create_table(
        "outbox",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("key", sa.String(length=200), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("task", sa.BigInteger(), nullable=True),
        sa.Column("round", sa.BigInteger(), nullable=True),
        sa.Column("node", sa.String(length=42), nullable=True),
        sa.Column("payload", sa.JSON(), nullable=False),
        sa.Column("status", sa.String(length=10), nullable=False),
        sa.Column("attempts", sa.BigInteger(), nullable=False),
        sa.Column("created_unix_s", sa.BigInteger(), nullable=False),
        sa.Column("changed_unix_s", sa.BigInteger(), nullable=False),
        sa.Column("sender", sa.String(length=42), nullable=True),
        sa.Column("nonce", sa.BigInteger(), nullable=True),
        sa.Column("transaction_hash", sa.String(length=66), nullable=True),
        sa.Column("raw", sa.LargeBinary(), nullable=True),
        sa.Column("gas_used", sa.BigInteger(), nullable=False),
        sa.Column("block_number", sa.BigInteger(), nullable=True),
        sa.Column("error", sa.String(length=500), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("key", name="uq_outbox_key"),
        sa.UniqueConstraint("sender", "nonce", name="uq_outbox_sender_nonce"),
    )
    with op.batch_alter_table("outbox", schema=None) as batch_op:
        batch_op.create_index("ix_outbox_round", ["task", "round"], unique=False)
        batch_op.create_index("ix_outbox_status", ["status"], unique=False)

    op.create_table(
        "task_orders",
        sa.Column("spec_digest", sa.String(length=66), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("call_key", sa.String(length=200), nullable=False),
        sa.Column("pool", sa.String(length=78), nullable=False),
        sa.Column("created_unix_s", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("spec_digest"),
    )
    op.create_table(
        "tasks",
        sa.Column("task", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("spec_digest", sa.String(length=66), nullable=False),
        sa.Column("genesis_digest", sa.String(length=66), nullable=False),
        sa.Column("config", sa.JSON(), nullable=False),
        sa.Column("parent_digest", sa.String(length=66), nullable=False),
        sa.Column("pool", sa.String(length=78), nullable=False),
        sa.Column("rounds_requested", sa.BigInteger(), nullable=False),
        sa.Column("rounds_closed", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("task"),
    )
    with op.batch_alter_table("tasks", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_tasks_genesis_digest"), ["genesis_digest"], unique=False)
        batch_op.create_index(batch_op.f("ix_tasks_spec_digest"), ["spec_digest"], unique=False)

    op.create_table(
        "approvals",
        sa.Column("task", sa.BigInteger(), nullable=False),
        sa.Column("node", sa.String(length=42), nullable=False),
        sa.ForeignKeyConstraint(["task"], ["tasks.task"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("task", "node"),
    )
    op.create_table(
        "rounds",
        sa.Column("task", sa.BigInteger(), nullable=False),
        sa.Column("round", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("phase", sa.BigInteger(), nullable=False),
        sa.Column("parent_digest", sa.String(length=66), nullable=False),
        sa.Column("aggregate_digest", sa.String(length=66), nullable=True),
        sa.Column("context", sa.String(length=34), nullable=False),
        sa.Column("deadline_unix_s", sa.BigInteger(), nullable=False),
        sa.Column("seed_block", sa.BigInteger(), nullable=False),
        sa.Column("seed", sa.String(length=66), nullable=True),
        sa.Column("reward", sa.String(length=78), nullable=False),
        sa.ForeignKeyConstraint(["task"], ["tasks.task"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("task", "round"),
    )
    with op.batch_alter_table("rounds", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_rounds_aggregate_digest"), ["aggregate_digest"], unique=False)

    op.create_table(
        "attestations",
        sa.Column("node", sa.String(length=42), nullable=False),
        sa.Column("aggregate_digest", sa.String(length=66), nullable=False),
        sa.Column("score_micronats", sa.BigInteger(), nullable=False),
        sa.Column("task", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("round", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.ForeignKeyConstraint(["task", "round"], ["rounds.task", "rounds.round"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("node", "task", "round"),
    )
    with op.batch_alter_table("attestations", schema=None) as batch_op:
        batch_op.create_index("ix_attestations_aggregate_digest", ["aggregate_digest"], unique=False)

    op.create_table(
        "proposals",
        sa.Column("node", sa.String(length=42), nullable=False),
        sa.Column("adapter_digest", sa.String(length=66), nullable=False),
        sa.Column("report_digest", sa.String(length=66), nullable=False),
        sa.Column("accepted", sa.Boolean(), nullable=True),
        sa.Column("median_improvement_micronats", sa.BigInteger(), nullable=True),
        sa.Column("task", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("round", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.ForeignKeyConstraint(["task", "round"], ["rounds.task", "rounds.round"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("node", "task", "round"),
    )
    with op.batch_alter_table("proposals", schema=None) as batch_op:
        batch_op.create_index("ix_proposals_adapter_digest", ["adapter_digest"], unique=False)
        batch_op.create_index("ix_proposals_report_digest", ["report_digest"], unique=False)

    op.create_table(
        "rewards",
        sa.Column("node", sa.String(length=42), nullable=False),
        sa.Column("amount", sa.String(length=78), nullable=False),
        sa.Column("task", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("round", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.ForeignKeyConstraint(["task", "round"], ["rounds.task", "rounds.round"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("node", "task", "round"),
    )
    op.create_table(
        "round_members",
        sa.Column("role", sa.String(length=10), nullable=False),
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("node", sa.String(length=42), nullable=False),
        sa.Column("stake", sa.String(length=78), nullable=True),
        sa.Column("task", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("round", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.ForeignKeyConstraint(["task", "round"], ["rounds.task", "rounds.round"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("role", "position", "task", "round"),
    )
    op.create_table(
        "round_phases",
        sa.Column("phase", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("started_unix_s", sa.BigInteger(), nullable=False),
        sa.Column("task", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("round", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.ForeignKeyConstraint(["task", "round"], ["rounds.task", "rounds.round"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("phase", "task", "round"),
    )
    op.create_table(
        "votes",
        sa.Column("node", sa.String(length=42), nullable=False),
        sa.Column("commitment", sa.String(length=66), nullable=False),
        sa.Column("scores_micronats", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("task", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("round", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.ForeignKeyConstraint(["task", "round"], ["rounds.task", "rounds.round"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("node", "task", "round"),
    )


def downgrade() -> None:
    """Undo the change."""
    op.drop_table("votes")
    op.drop_table("round_phases")
    op.drop_table("round_members")
    op.drop_table("rewards")
    with op.batch_alter_table("proposals", schema=None) as batch_op:
        batch_op.drop_index("ix_proposals_report_digest")
        batch_op.drop_index("ix_proposals_adapter_digest")

    op.drop_table("proposals")
    with op.batch_alter_table("attestations", schema=None) as batch_op:
        batch_op.drop_index("ix_attestations_aggregate_digest")

    op.drop_table("attestations")
    with op.batch_alter_table("rounds", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_rounds_aggregate_digest"))

    op.drop_table("rounds")
    op.drop_table("approvals")
    with op.batch_alter_table("tasks", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_tasks_spec_digest"))
        batch_op.drop_index(batch_op.f("ix_tasks_genesis_digest"))

    op.drop_table("tasks")
    op.drop_table("task_orders")
    with op.batch_alter_table("outbox", schema=None) as batch_op:
        batch_op.drop_index("ix_outbox_status")
        batch_op.drop_index("ix_outbox_round")

    op.drop_table("outbox")
    op.drop_table("nodes")
    op.drop_table("node_names")
    with op.batch_alter_table("flower_runs", schema=None) as batch_op:
        batch_op.drop_index("ix_flower_runs_round")

    op.drop_table("flower_runs")
    op.drop_table("event_stream")
    op.drop_table("evaluations")
    with op.batch_alter_table("chain_events", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_chain_events_transaction_hash"))

    op.drop_table("chain_events")
    op.drop_table("chain_cursor")
    with op.batch_alter_table("api_tokens", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_api_tokens_name"))

    op.drop_table("api_tokens")
