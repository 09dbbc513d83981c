"""The audit log, and its epochs, whose roots are put on chain."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_TEXT = sa.String(length=200)
_DIGEST = sa.String(length=66)


def upgrade() -> None:
    """Apply the change."""
    op.create_table(
        "audit_log",
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("time_unix_s", sa.BigInteger(), nullable=False),
        sa.Column("principal", _TEXT, nullable=False),
        sa.Column("role", _TEXT, nullable=False),
        sa.Column("operation", _TEXT, nullable=False),
        sa.Column("task", sa.BigInteger(), nullable=True),
        sa.Column("round", sa.BigInteger(), nullable=True),
        sa.Column("node", sa.String(length=42), nullable=True),
        sa.Column("outcome", sa.String(length=10), nullable=False),
        sa.Column("reason", _TEXT, nullable=True),
        sa.Column("correlation_id", _TEXT, nullable=False),
        sa.Column("body_digest", _DIGEST, nullable=True),
        sa.Column("previous_hash", _DIGEST, nullable=False),
        sa.Column("hash", _DIGEST, nullable=False),
        sa.PrimaryKeyConstraint("number"),
        sa.UniqueConstraint("previous_hash", name="uq_audit_log_previous_hash"),
    )
    op.create_index("ix_audit_log_principal", "audit_log", ["principal"])
    op.create_index("ix_audit_log_task", "audit_log", ["task"])
    op.create_index("ix_audit_log_node", "audit_log", ["node"])
    op.create_table(
        "audit_epochs",
        sa.Column("first_row", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("last_row", sa.BigInteger(), nullable=False),
        sa.Column("root", _DIGEST, nullable=False),
        sa.Column("closed_unix_s", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("first_row"),
    )


def downgrade() -> None:
    """Undo the change."""
    op.drop_table("audit_epochs")
    op.drop_table("audit_log")
