"""Requests that carry an Idempotency-Key, and their answers."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the change."""
    op.create_table(
        "idempotency_keys",
        sa.Column("scope", sa.String(length=64), nullable=False),
        sa.Column("token", sa.String(length=32), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("claimed_unix_s", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.BigInteger(), nullable=True),
        sa.Column("headers", sa.JSON(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("scope"),
    )
    op.create_index("ix_idempotency_keys_claimed_unix_s", "idempotency_keys", ["claimed_unix_s"])


def downgrade() -> None:
    """Undo the change."""
    op.drop_index("ix_idempotency_keys_claimed_unix_s", "idempotency_keys")
    op.drop_table("idempotency_keys")
