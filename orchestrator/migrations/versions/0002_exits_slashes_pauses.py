"""Exits, absences, slashes, pauses, cancellations and standings.

The tables of the projection change and are emptied: the worker builds them again from the chain.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_AMOUNT = sa.String(length=78)
_ADDRESS = sa.String(length=42)
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
    "nodes",
    "chain_events",
    "chain_cursor",
)
"""In an order in which rows can be deleted."""


def upgrade() -> None:
    """Apply the change."""
    _empty_projection()
    op.create_table(
        "registry",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("unbonding_s", sa.BigInteger(), nullable=False),
        sa.Column("appeal_s", sa.BigInteger(), nullable=False),
        sa.Column("most_absences", sa.BigInteger(), nullable=False),
        sa.Column("successor", _ADDRESS, nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "slashes",
        sa.Column("slash", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("node", _ADDRESS, nullable=False),
        sa.Column("task", sa.BigInteger(), nullable=False),
        sa.Column("round", sa.BigInteger(), nullable=False),
        sa.Column("fault", sa.BigInteger(), nullable=False),
        sa.Column("amount", _AMOUNT, nullable=False),
        sa.Column("executable_unix_s", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.String(length=10), nullable=False),
        sa.PrimaryKeyConstraint("slash"),
    )
    with op.batch_alter_table("slashes", schema=None) as batch_op:
        batch_op.create_index("ix_slashes_task", ["task"], unique=False)

    with op.batch_alter_table("nodes", schema=None) as batch_op:
        batch_op.add_column(sa.Column("admitted", sa.Boolean(), nullable=False))
        batch_op.add_column(sa.Column("open_rounds", sa.BigInteger(), nullable=False))
        batch_op.add_column(sa.Column("pending_slashes", sa.BigInteger(), nullable=False))
        batch_op.add_column(sa.Column("absences", sa.BigInteger(), nullable=False))
        batch_op.add_column(sa.Column("withdrawn", _AMOUNT, nullable=False))
        batch_op.add_column(sa.Column("tasks_nonce", sa.BigInteger(), nullable=False))
        batch_op.add_column(sa.Column("registry_nonce", sa.BigInteger(), nullable=False))

    op.create_table(
        "unbonding",
        sa.Column("node", _ADDRESS, nullable=False),
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("matures_unix_s", sa.BigInteger(), nullable=False),
        sa.Column("amount", _AMOUNT, nullable=False),
        sa.ForeignKeyConstraint(["node"], ["nodes.node"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("node", "position"),
    )
    with op.batch_alter_table("tasks", schema=None) as batch_op:
        batch_op.add_column(sa.Column("open_reward", _AMOUNT, nullable=False))
        batch_op.add_column(sa.Column("contributed", _AMOUNT, nullable=False))
        batch_op.add_column(sa.Column("refunded", _AMOUNT, nullable=False))
        batch_op.add_column(sa.Column("pause_changes", sa.BigInteger(), nullable=False))
        batch_op.add_column(sa.Column("is_cancelled", sa.Boolean(), nullable=False))
        batch_op.add_column(sa.Column("is_over", sa.Boolean(), nullable=False))

    with op.batch_alter_table("round_members", schema=None) as batch_op:
        batch_op.add_column(sa.Column("group_number", sa.BigInteger(), nullable=True))

    with op.batch_alter_table("proposals", schema=None) as batch_op:
        batch_op.drop_column("accepted")
        batch_op.add_column(sa.Column("standing", sa.BigInteger(), nullable=False))
        batch_op.add_column(sa.Column("proven_invalid", sa.Boolean(), nullable=False))


def downgrade() -> None:
    """Undo the change."""
    op.drop_table("unbonding")
    with op.batch_alter_table("slashes", schema=None) as batch_op:
        batch_op.drop_index("ix_slashes_task")

    op.drop_table("slashes")
    op.drop_table("registry")
    _empty_projection()
    with op.batch_alter_table("proposals", schema=None) as batch_op:
        batch_op.drop_column("proven_invalid")
        batch_op.drop_column("standing")
        batch_op.add_column(sa.Column("accepted", sa.Boolean(), nullable=True))

    with op.batch_alter_table("round_members", schema=None) as batch_op:
        batch_op.drop_column("group_number")

    with op.batch_alter_table("tasks", schema=None) as batch_op:
        for column in ("is_over", "is_cancelled", "pause_changes", "refunded", "contributed", "open_reward"):
            batch_op.drop_column(column)

    with op.batch_alter_table("nodes", schema=None) as batch_op:
        for column in (
            *("registry_nonce", "tasks_nonce", "withdrawn"),
            *("absences", "pending_slashes", "open_rounds", "admitted"),
        ):
            batch_op.drop_column(column)


def _empty_projection() -> None:
    for table in _PROJECTION:
        op.execute(sa.delete(sa.table(table)))
