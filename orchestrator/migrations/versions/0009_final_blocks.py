"""What is final is shown, and a reorganisation is undone without reading the whole chain.

The tables of the projection change and are emptied: the worker builds them again from the chain.
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_CHANGED = ("nodes", "slashes", "tasks", "rounds")
"""The tables that say in which block a row changed."""
_PROJECTION = (
    "rewards",
    "attestations",
    "votes",
    "proposals",
    "round_phases",
    "round_members",
    "rounds",
    "approvals",
    "tasks",
    "slashes",
    "unbonding",
    "nodes",
    "registry",
    "chain_events",
    "chain_cursor",
)
"""In an order in which rows can be deleted."""


def upgrade() -> None:
    """Apply the change."""
    _empty_projection()
    op.create_table(
        "chain_blocks",
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("hash", sa.String(length=66), nullable=False),
        sa.PrimaryKeyConstraint("number"),
    )
    with op.batch_alter_table("chain_cursor", schema=None) as batch_op:
        batch_op.add_column(sa.Column("final_number", sa.BigInteger(), nullable=False))
    with op.batch_alter_table("chain_events", schema=None) as batch_op:
        batch_op.add_column(sa.Column("block_unix_s", sa.BigInteger(), nullable=False))
        batch_op.create_unique_constraint(
            "uq_chain_events_log", ["transaction_hash", "block_hash", "log_index"]
        )
    for table in _CHANGED:
        with op.batch_alter_table(table, schema=None) as batch_op:
            batch_op.add_column(sa.Column("changed_block", sa.BigInteger(), nullable=False))


def downgrade() -> None:
    """Undo the change."""
    _empty_projection()
    for table in _CHANGED:
        with op.batch_alter_table(table, schema=None) as batch_op:
            batch_op.drop_column("changed_block")
    with op.batch_alter_table("chain_events", schema=None) as batch_op:
        batch_op.drop_constraint("uq_chain_events_log", type_="unique")
        batch_op.drop_column("block_unix_s")
    with op.batch_alter_table("chain_cursor", schema=None) as batch_op:
        batch_op.drop_column("final_number")
    op.drop_table("chain_blocks")


def _empty_projection() -> None:
    for table in _PROJECTION:
        op.execute(sa.delete(sa.table(table)))
